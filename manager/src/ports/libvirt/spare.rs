//! One spare: a virtual machine that has booted and is nobody yet. All that it is known by follows from a number that was
//! drawn when it was made.
//!
//! While it waits, its directory says for what; when it is given away that goes, before anything else is done with it: so
//! it is never given away twice, whoever dies in between.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use wire::PoolName;

use super::body::Body;
use super::control::Control;
use super::image::Image;
use super::metadata::NAMESPACE;
use super::qemu;
use crate::config::Hardware;
use crate::ports::hypervisor::HypervisorError;
use crate::ports::machine::directory::{FORMAT, write};
use crate::ports::machine::process::Process;

/// In its directory for as long as it waits.
const RECORD: &str = "spare.json";

/// What a spare is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Number(u32);

impl Number {
    /// A number that nobody has.
    pub(super) fn draw() -> io::Result<Self> {
        getrandom::u32().map(Number).map_err(io::Error::other)
    }

    /// What [`fmt::Display`] wrote.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let digits = text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        u32::from_str_radix(text, 16).ok().filter(|_| digits).map(Number)
    }

    pub(super) fn of_directory(path: &Path) -> Option<Self> {
        Self::parse(path.file_name()?.to_str()?)
    }

    /// The name of its domain on the host called `host`. No machine's name has a dot in it.
    pub(super) fn domain(self, host: &str) -> String {
        format!("{host}.spare-{self}")
    }

    pub(super) fn uuid(self, state_dir: &Path) -> Uuid {
        let name = format!("{}\nspare {self}", state_dir.display());
        Uuid::new_v5(&Uuid::new_v5(&Uuid::NAMESPACE_URL, NAMESPACE.as_bytes()), name.as_bytes())
    }

    /// The name of the host's end of its cable: unlike that of any machine (`hf` and eight digits).
    pub(super) fn port(self) -> String {
        format!("hfs{self}")
    }

    /// The MAC address that it never uses: its cable is plugged in when it has another one.
    pub(super) fn mac(self) -> [u8; 6] {
        let [a, b, c, d] = self.0.to_be_bytes();
        [0x02, 0x49, a, b, c, d]
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// What a spare was made for and of: only a machine of exactly that can be made of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kind {
    pub(super) service: PoolName,
    /// The image's id.
    image: String,
    memory_mib: u32,
    vcpus: u32,
}

impl Kind {
    /// Of the machines of `service` with `hardware`, whose image is `image`.
    pub(super) fn new(service: &PoolName, hardware: &Hardware, image: &Image) -> Self {
        let Hardware { memory_mib, vcpus, .. } = *hardware;
        Kind { service: service.clone(), image: image.id(), memory_mib, vcpus }
    }
}

#[derive(Serialize, Deserialize)]
struct Stored {
    format: u32,
    #[serde(flatten)]
    kind: Kind,
}

/// Says in `body` that it is a spare of `kind`, which waits.
pub(super) fn store(body: &Body, kind: &Kind) -> io::Result<()> {
    let stored = Stored { format: FORMAT, kind: kind.clone() };
    write(&body.path.join(RECORD), &serde_json::to_vec_pretty(&stored)?)
}

/// Which kind of spare waits in `body`; none where none does, or another version of the manager made it.
pub(super) fn stored(body: &Body) -> Option<Kind> {
    let stored: Stored = serde_json::from_slice(&fs::read(body.path.join(RECORD)).ok()?).ok()?;
    (stored.format == FORMAT).then_some(stored.kind)
}

/// What is in `body` waits no more.
pub(super) fn forget(body: &Body) -> io::Result<()> {
    fs::remove_file(body.path.join(RECORD))
}

/// A spare that boots or waits.
pub(super) struct Spare {
    pub(super) number: Number,
    pub(super) body: Body,
    pub(super) kind: Kind,
    pub(super) process: Process,
    pub(super) control: Control,
    /// When this manager made or found it.
    pub(super) since: Instant,
}

impl Spare {
    pub(super) fn new(number: Number, body: Body, kind: Kind, process: Process) -> Self {
        let control = Control::open(body.control_socket());
        Spare { number, body, kind, process, control, since: Instant::now() }
    }

    /// Whether its process runs.
    pub(super) fn runs(&self) -> bool {
        qemu::is(&self.process, &self.body.seed())
    }

    /// Whether it can be told which machine it is.
    pub(super) fn waits(&self) -> bool {
        self.control.has_booted() && self.runs()
    }
}

/// The image of a machine that can be made of a spare.
pub(super) fn image_of(hardware: &Hardware) -> Result<Image, HypervisorError> {
    match Image::load(&hardware.image)? {
        bundle @ Image::Bundle(_) => Ok(bundle),
        Image::Disk { .. } => Err(HypervisorError::Unsupported(format!(
            "a machine of {} cannot become another one, only those of our own images can: leave `spares` out, or have \
             standbys with `standby_mode = \"hot\"`",
            hardware.image.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_read_as_it_is_written() {
        for (number, text) in [(0, "00000000"), (0x1f3a_9c02, "1f3a9c02"), (u32::MAX, "ffffffff")] {
            assert_eq!(Number(number).to_string(), text);
            assert_eq!(Number::of_directory(&Path::new("/state/spares").join(text)), Some(Number(number)));
        }
        for odd in ["", "1f3a9c0", "1f3a9c023", "+1f3a9c0", "a-web-1", "1f3a9c0g"] {
            assert_eq!(Number::parse(odd), None, "{odd}");
        }
        // An interface's name has at most 15 bytes.
        assert!(Number(u32::MAX).port().len() <= 15);
    }

    #[test]
    fn a_spare_is_of_its_kind_until_it_is_given_away() {
        let directory = tempfile::tempdir().expect("a directory");
        let body = Body { path: directory.path().to_owned(), spare: Some(Number(7)) };
        assert_eq!(stored(&body), None);
        let kind = Kind { service: "web".into(), image: "12ab".to_owned(), memory_mib: 128, vcpus: 2 };
        store(&body, &kind).expect("stored");
        assert_eq!(stored(&body), Some(kind));
        let later = fs::read_to_string(directory.path().join(RECORD)).expect("read");
        forget(&body).expect("forgotten");
        assert_eq!(stored(&body), None);
        forget(&body).expect_err("given away twice");
        let later = later.replace("\"format\": 1", "\"format\": 2");
        fs::write(directory.path().join(RECORD), later).expect("written");
        assert_eq!(stored(&body), None, "of a later version");
    }
}

//! A spare: a machine that has booted and is nobody yet. It has no address, and nothing of any service, until its host
//! says over the control channel which machine it is.
//!
//! ```text
//!   configure ── the seed disk says that this is a spare: makes a named pipe
//!   run       ── there is no command yet: reads the pipe, in which nothing is
//!   channel   ── Ask::Become: the program's files, name, MAC, address, route; then the command, and a byte for `run`
//! ```
//!
//! What it was told is in its memory alone. One that starts anew has forgotten it, and is nobody again.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::sys::stat::Mode;
use nix::unistd::{mkfifo, sethostname};
use wire::seed::Seed;

use crate::channel::Told;
use crate::configure::settle;
use crate::places::Places;
use crate::program;

/// The file on a seed disk that says: this is a spare. It is empty.
pub const FILE: &str = "holdfast-spare";

/// Its host name while it is nobody.
pub const NAME: &str = "spare";

/// Its network card has been there since it booted.
const CARD_TIME: Duration = Duration::from_secs(1);

fn pipe(places: &Places) -> PathBuf {
    places.run.join("order")
}

/// Makes this machine a spare.
pub(crate) fn prepare(places: &Places) -> Result<()> {
    program::private_directory(&places.run)
        .with_context(|| format!("cannot make {}", places.run.display()))?;
    match mkfifo(&pipe(places), Mode::S_IRUSR | Mode::S_IWUSR) {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(error) => return Err(error).with_context(|| format!("cannot make {}", pipe(places).display())),
    }
    sethostname(NAME).with_context(|| format!("cannot set the host name {NAME}"))
}

/// On a spare, waits until it has been told which machine it is. On any other machine there is nothing to wait for.
///
/// # Errors
///
/// When the pipe cannot be read.
pub fn await_order(places: &Places) -> Result<()> {
    let pipe = pipe(places);
    let failed = || format!("cannot read {}", pipe.display());
    while !places.command().exists() {
        let mut opened = match File::open(&pipe) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            opened => opened.with_context(failed)?,
        };
        // Its writer may end without a word.
        opened.read(&mut [0]).with_context(failed)?;
    }
    Ok(())
}

/// What is kept of an order that was carried out.
pub(crate) struct Ordered {
    /// Of how long it took.
    pub(crate) told: Told,
    /// Were the pipe closed before `run` has come to open it, what is in it would be lost, and `run` wait for ever.
    pub(crate) pipe: File,
}

/// Makes this machine, which must be a spare that was told nothing yet, the one of `seed`, with the MAC address `mac`.
pub(crate) fn take_identity(places: &Places, seed: &Seed, mac: [u8; 6]) -> Result<Ordered> {
    let pipe = pipe(places);
    ensure!(pipe.exists(), "this machine is no spare");
    ensure!(!places.command().exists(), "this machine is somebody already");
    let began = Instant::now();
    let unpacked = settle(places, seed, Some(mac), CARD_TIME)?;
    let settled = began.elapsed();
    let pipe = wake(&pipe).with_context(|| format!("cannot write to {}", pipe.display()))?;
    let told =
        Told::Became { files_us: micros(unpacked), address_us: micros(settled.saturating_sub(unpacked)) };
    Ok(Ordered { told, pipe })
}

/// Puts a byte into the pipe for whoever reads it, now or later. Opened for both, it waits for nobody.
fn wake(pipe: &std::path::Path) -> io::Result<File> {
    let mut pipe = OpenOptions::new().read(true).write(true).open(pipe)?;
    pipe.write_all(b"\n")?;
    Ok(pipe)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

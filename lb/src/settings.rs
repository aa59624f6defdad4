//! The balancer's own TOML file.
//!
//! Most of it does not change while the balancer runs. What does (upstreams, routes, policies) a manager sends over the
//! admin interface, and it is kept in the state directory; without a manager it stands in the file too, which is read
//! anew on SIGHUP.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use kit::config::{ConfigError, Source};
use serde::Deserialize;
use toml::Spanned;
use wire::{HostName, MachineId};

#[cfg(test)]
mod broken;
mod change;
mod proxying;
mod taken;
mod vip;

pub use proxying::Proxying;
use proxying::{ConfigFile, UpstreamsFile};
pub use vip::{Notify, Vip};
use vip::{NotifyFile, VipFile};

/// The settings, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The file.
    source: Source,
    /// Why these are not those of the file as it is now, if they are not.
    refused: Option<String>,
    /// The machine's name.
    pub machine: MachineId,
    /// The machine's own address: admin binds here, VRRP speaks from here.
    pub address: IpAddr,
    /// The network interface the VIP is put on.
    pub interface: String,
    /// The zone it is in (the host it runs on): upstreams of the same zone are preferred. None: all are alike.
    pub zone: Option<HostName>,
    /// Where clients' requests are taken.
    pub listen: SocketAddr,
    /// Where the admin interface answers questions.
    pub admin: SocketAddr,
    /// Where the admin interface takes changes.
    pub admin_changes: SocketAddr,
    /// Who may make changes, besides this machine itself.
    pub managers: Vec<IpAddr>,
    /// Where accepted upstream sets and configurations are kept, and where the sockets between the
    /// three processes are.
    pub state_dir: PathBuf,
    /// It was not the file that said so.
    state_dir_given: bool,
    /// How many threads forward requests, each with its own runtime and listener.
    pub workers: usize,
    /// The virtual routers.
    pub vips: Vec<Vip>,
    /// Whom to tell of every change of a virtual router.
    pub notify: Vec<Notify>,
    /// What one client may use.
    pub limits: Limits,
    /// Where each request is written down, if it is.
    pub access_log: Option<AccessLog>,
    /// Routes, pools and upstreams, for what no manager says.
    pub proxying: Proxying,
}

/// The log of requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLog {
    /// Its file.
    pub path: PathBuf,
    /// A file of so many bytes is put aside and a new one begun.
    pub max_bytes: u64,
    /// So many old files are kept.
    pub keep: u32,
}

/// The limits on what one connection or request may use.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// The most client connections open at a time; above it new ones are closed at once.
    pub connections: usize,
    /// The largest request head, in bytes; above it the answer is 431.
    pub header_bytes: usize,
    /// The largest request body, in bytes; above it the answer is 413.
    pub body_bytes: u64,
    /// A request's head must be complete after so many milliseconds.
    pub header_timeout_ms: u64,
    /// A connection without a request is closed after so many milliseconds.
    pub idle_timeout_ms: u64,
    /// At an orderly stop, requests in progress have so many milliseconds.
    pub stop_timeout_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 50_000,
            header_bytes: 64 << 10,
            body_bytes: 1 << 30,
            header_timeout_ms: 10_000,
            idle_timeout_ms: 60_000,
            stop_timeout_ms: 5_000,
        }
    }
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    machine: MachineId,
    address: IpAddr,
    #[serde(default = "default_interface")]
    interface: String,
    #[serde(default)]
    zone: Option<HostName>,
    #[serde(default = "default_listen")]
    listen: SocketAddr,
    #[serde(default)]
    admin_port: Option<Spanned<u16>>,
    #[serde(default)]
    admin_changes_port: Option<Spanned<u16>>,
    #[serde(default)]
    managers: Vec<IpAddr>,
    #[serde(default = "default_state_dir")]
    state_dir: PathBuf,
    #[serde(default)]
    workers: Option<Spanned<usize>>,
    #[serde(default, rename = "vip")]
    vips: Vec<Spanned<VipFile>>,
    #[serde(default)]
    notify: Vec<Spanned<NotifyFile>>,
    #[serde(default)]
    limits: Limits,
    #[serde(default)]
    access_log: Option<AccessLogFile>,
    #[serde(default)]
    config: Option<ConfigFile>,
    #[serde(default)]
    upstreams: Option<UpstreamsFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AccessLogFile {
    path: Spanned<PathBuf>,
    #[serde(default)]
    max_bytes: Option<Spanned<u64>>,
    #[serde(default)]
    keep: Option<Spanned<u32>>,
}

/// The access log's file is put aside at this size unless told otherwise.
const DEFAULT_LOG_BYTES: u64 = 100 << 20;

/// Smaller files would be put aside all the time.
const MIN_LOG_BYTES: u64 = 64 << 10;

/// So many of them are kept unless told otherwise.
const DEFAULT_LOG_KEEP: u32 = 5;

impl Settings {
    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    ///
    /// At the first place that cannot be used, with line, column and what is expected.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::check(&Source::read(path)?, true)
    }

    /// The same without what is for clients: an address must not be lost for the sake of a route.
    ///
    /// # Errors
    ///
    /// As [`Self::load`].
    pub fn load_for_speaker(path: &Path) -> Result<Self, ConfigError> {
        Self::check(&Source::read(path)?, false)
    }

    fn check(source: &Source, for_clients: bool) -> Result<Self, ConfigError> {
        let File {
            machine,
            address,
            interface,
            zone,
            listen,
            admin_port,
            admin_changes_port,
            managers,
            state_dir,
            workers,
            vips,
            notify,
            limits,
            access_log,
            config,
            upstreams,
        } = source.parse()?;
        let admin_port_value = admin_port.as_ref().map_or(8080, |port| *port.as_ref());
        let changes_port_value = admin_changes_port.as_ref().map_or(8443, |port| *port.as_ref());
        if admin_port_value == changes_port_value {
            let span = admin_changes_port.as_ref().or(admin_port.as_ref()).map(Spanned::span);
            return Err(source.error_at(span, "admin_port and admin_changes_port must differ"));
        }
        if let Some(count) = workers.as_ref().filter(|count| !(1..=256).contains(count.as_ref())) {
            return Err(source.error_at(Some(count.span()), "expected 1 to 256 workers"));
        }
        let vips = vip::check(source, address, vips)?;
        let notify = vip::check_notifies(source, notify)?;
        Ok(Settings {
            source: source.clone(),
            refused: None,
            machine,
            address,
            interface,
            zone,
            listen,
            admin: SocketAddr::new(address, admin_port_value),
            admin_changes: SocketAddr::new(address, changes_port_value),
            managers,
            state_dir,
            state_dir_given: false,
            workers: workers.map_or_else(default_workers, Spanned::into_inner),
            vips,
            notify,
            limits,
            access_log: access_log.map(|file| file.check(source)).transpose()?,
            proxying: if for_clients {
                proxying::check(source, config, upstreams)?
            } else {
                Proxying::default()
            },
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.source.path()
    }

    /// Why these are not those of the file as it is now, if they are not.
    pub fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    /// Keeps everything in `directory`, whatever the file says.
    pub fn use_state_dir(&mut self, directory: &Path) {
        directory.clone_into(&mut self.state_dir);
        self.state_dir_given = true;
    }
}

impl AccessLogFile {
    fn check(self, source: &Source) -> Result<AccessLog, ConfigError> {
        let AccessLogFile { path, max_bytes, keep } = self;
        if !path.as_ref().is_absolute() {
            return Err(source.error_at(Some(path.span()), "expected a path that begins with a slash"));
        }
        if let Some(bytes) = max_bytes.as_ref().filter(|bytes| *bytes.as_ref() < MIN_LOG_BYTES) {
            return Err(source.error_at(Some(bytes.span()), "expected 65536 bytes or more"));
        }
        if let Some(keep) = keep.as_ref().filter(|keep| !(1..=1_000).contains(keep.as_ref())) {
            return Err(source.error_at(Some(keep.span()), "expected 1 to 1000 old files"));
        }
        Ok(AccessLog {
            path: path.into_inner(),
            max_bytes: max_bytes.map_or(DEFAULT_LOG_BYTES, Spanned::into_inner),
            keep: keep.map_or(DEFAULT_LOG_KEEP, Spanned::into_inner),
        })
    }
}

fn default_interface() -> String {
    "eth0".to_owned()
}

fn default_listen() -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], 80))
}

fn default_state_dir() -> PathBuf {
    PathBuf::from("/var/lib/lb")
}

fn default_workers() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = "machine = \"a-lb\"\naddress = \"192.168.10.10\"\n";

    fn check(text: &str) -> Result<Settings, String> {
        Settings::check(&Source::from_text("lb.toml", text), true).map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_are_those_of_the_design() {
        let settings = check(MINIMAL).expect("valid");
        assert_eq!(settings.admin.to_string(), "192.168.10.10:8080");
        assert_eq!(settings.admin_changes.to_string(), "192.168.10.10:8443");
        assert_eq!(settings.listen.to_string(), "0.0.0.0:80");
    }

    #[test]
    fn bad_values_are_refused_where_they_stand() {
        let cases = [
            ("[[vip]]\naddress = \"10.0.0.1\"\nvrid = 0\npriority = 240", "lb.toml:5:8: expected a vrid"),
            (
                "[[vip]]\naddress = \"10.0.0.1\"\nvrid = 1\npriority = 255",
                "lb.toml:6:12: expected a priority",
            ),
            (
                "[[vip]]\naddress = \"10.0.0.1\"\nvrid = 1\npriority = 240\nadvert_interval_ms = 25",
                "lb.toml:7:22: expected a multiple",
            ),
            (
                "[[vip]]\naddress = \"192.168.10.10\"\nvrid = 1\npriority = 240",
                "lb.toml:3:1: the VIP must not be",
            ),
            (
                "[[vip]]\naddress = \"224.0.0.1\"\nvrid = 1\npriority = 240",
                "lb.toml:4:11: expected an address",
            ),
            (
                "[[vip]]\naddress = \"10.0.0.1\"\nvrid = 1\npriority = 240\npreempt_delay_ms = 5",
                "lb.toml:7:20: preempt_delay_ms says nothing",
            ),
            (
                "[[vip]]\naddress = \"fd00::1\"\nvrid = 1\npriority = 240\nchecksum = \"message\"",
                "lb.toml:7:12: there is only one form",
            ),
            (
                "[[vip]]\naddress = \"fd00::1\"\nvrid = 1\npriority = 240\nunicast_peers = [\"fd00::2\"]",
                "lb.toml:7:18: expected a link-local",
            ),
            (
                "[[vip]]\naddress = \"10.0.0.1\"\nvrid = 1\npriority = 240\nunicast_peers = [\"192.168.10.10\"]",
                "lb.toml:7:18: a balancer is not its own peer",
            ),
            ("[[notify]]", "lb.toml:3:1: expected either"),
            ("[[notify]]\nurl = \"https://10.0.0.1/\"", "lb.toml:4:7: expected a URL"),
            ("[[notify]]\ncommand = \"notify\"", "lb.toml:4:11: expected the absolute path"),
            ("workers = 0", "lb.toml:3:11: expected 1 to 256"),
            ("admin_port = 8443", "lb.toml:3:14: admin_port and"),
            ("[access_log]\npath = \"log\"", "lb.toml:4:8: expected a path"),
            ("[access_log]\npath = \"/log\"\nkeep = 0", "lb.toml:5:8: expected 1 to 1000"),
            ("[limits]\nbody_byte = 1", "lb.toml:4:1: unknown field `body_byte`"),
        ];
        for (text, expected) in cases {
            let error = check(&format!("{MINIMAL}{text}\n")).expect_err(text);
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn a_virtual_router_has_the_defaults_of_the_design_and_takes_all_there_is_to_say() {
        let text = format!(
            "{MINIMAL}[[vip]]\naddress = \"10.0.0.1\"\nvrid = 1\npriority = 240\n\
             [[vip]]\naddress = \"fd00::1\"\nvrid = 1\npriority = 230\npreempt = true\npreempt_delay_ms = 500\n\
             unicast_peers = [\"fe80::2\"]\nvirtual_mac = true\n\
             [[vip]]\naddress = \"10.0.0.2\"\nvrid = 2\npriority = 230\nchecksum = \"message\"\n\
             [[notify]]\ncommand = \"/bin/true\"\n[[notify]]\nurl = \"http://10.0.0.1/vip\"\n"
        );
        let settings = check(&text).expect("valid");
        let [plain, other, third] = &settings.vips[..] else { panic!("three") };
        assert_eq!((plain.preempt, plain.virtual_mac, plain.unicast_peers.len()), (None, false, 0));
        assert_eq!(plain.checksum, vrrp::ChecksumForm::PseudoHeader);
        assert_eq!((other.preempt, other.virtual_mac), (Some(std::time::Duration::from_millis(500)), true));
        assert_eq!(third.checksum, vrrp::ChecksumForm::MessageOnly);
        assert_eq!(settings.notify.len(), 2);
    }
}

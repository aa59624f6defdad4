//! The balancer's own TOML file.
//!
//! Most of it does not change while the balancer runs. What does (upstreams, routes, policies) a manager sends over the
//! admin interface, and it is kept in the state directory; without a manager it stands in the file too, which is read
//! anew on SIGHUP.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use kit::config::{ConfigError, Source, Spanned};
pub use kit::notify::Notify;
use kit::notify::{NotifyFile, check_notifies};
use serde::Deserialize;
use wire::{HostName, MachineId};

mod bgp;
#[cfg(test)]
mod broken;
mod certificates;
mod change;
mod listener;
mod observed;
mod proxying;
#[cfg(test)]
mod reference;
mod taken;
mod upstream_tls;
mod vip;

pub use bgp::Bgp;
use bgp::BgpFile;
use listener::ListenerFile;
pub use listener::{ClientCertificates, Listener, ListenerTls, Protocol, ProxyProtocol, TlsVersion};
pub use observed::{Accept, AccessLog, LogFormat, Only, RequestIds, Tracing};
use observed::{AccessLogFile, RequestIdFile, TracingFile};
pub use proxying::Proxying;
use proxying::{ConfigFile, UpstreamsFile};
pub use vip::Vip;
use vip::VipFile;

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
    /// Where clients' requests are taken. The speaker knows none.
    pub listeners: Vec<Listener>,
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
    /// The addresses that all balancers have at the same time.
    pub bgp: Option<Bgp>,
    /// Whom to tell of every change of a virtual router.
    pub notify: Vec<Notify>,
    /// What one client may use.
    pub limits: Limits,
    /// Where each request is written down, if it is.
    pub access_log: Option<AccessLog>,
    /// How requests are named, if they are.
    pub request_id: Option<RequestIds>,
    /// Whether requests are followed from program to program, and where that is told.
    pub tracing: Option<Tracing>,
    /// Routes, pools and upstreams, for what no manager says.
    pub proxying: Proxying,
}

/// The limits on what one connection or request may use.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// The most client connections open at a time; above it new ones are closed at once.
    pub connections: usize,
    /// The most of them that one client may have, by its address; of IPv6 the first 64 bits count. 0: as many as there
    /// are. Behind the PROXY protocol it is the client that counts; proxies that are trusted to say who the client is
    /// (`trusted_proxies`) have no such limit.
    pub connections_per_client: u32,
    /// The largest request head, in bytes; above it the answer is 431.
    pub header_bytes: usize,
    /// The largest request body, in bytes; above it the answer is 413.
    pub body_bytes: u64,
    /// The longest request target, in bytes; above it the answer is 414.
    pub target_bytes: usize,
    /// The longest header field, in bytes; above it the answer is 431.
    pub field_bytes: usize,
    /// The most header fields, 200 at most; above it the answer is 431.
    pub header_fields: usize,
    /// A request's head must be complete after so many milliseconds.
    pub header_timeout_ms: u64,
    /// What comes ahead of requests, a header of the PROXY protocol and the handshake of TLS, must be done after so
    /// many milliseconds, both together.
    pub handshake_timeout_ms: u64,
    /// A request's body may be waited for in all for so many milliseconds; after that the answer is 408. The time
    /// in which an upstream does not take it does not count.
    pub body_timeout_ms: u64,
    /// For each so many milliseconds that a body is waited for …
    pub body_grace_ms: u64,
    /// … so many bytes per second of it have to come, and one at least; else the answer is 408.
    pub body_min_bytes_per_s: u64,
    /// For each so many milliseconds that a client is waited for to take an answer …
    pub send_timeout_ms: u64,
    /// … it has to take so many bytes per second, and one at least; else its connection is reset.
    pub send_min_bytes_per_s: u64,
    /// A client that has ended its side of the connection may wait for its answer all the same (RFC 9112, section
    /// 9.6), or be gone: only what it is sent tells. If for so many milliseconds it is sent nothing, its request is
    /// given up; with 0 it is at once.
    pub half_closed_ms: u64,
    /// A connection without a request is closed after so many milliseconds.
    pub idle_timeout_ms: u64,
    /// At an orderly stop, requests in progress have so many milliseconds.
    pub stop_timeout_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 50_000,
            connections_per_client: 0,
            header_bytes: 64 << 10,
            body_bytes: 1 << 30,
            target_bytes: 16 << 10,
            field_bytes: 32 << 10,
            header_fields: 128,
            header_timeout_ms: 10_000,
            handshake_timeout_ms: 10_000,
            body_timeout_ms: 3_600_000,
            body_grace_ms: 10_000,
            body_min_bytes_per_s: 512,
            send_timeout_ms: 60_000,
            send_min_bytes_per_s: 512,
            half_closed_ms: 5_000,
            idle_timeout_ms: 60_000,
            stop_timeout_ms: 5_000,
        }
    }
}

/// The file as it is written.
///
/// The comments of its keys are what `docs/configuration.md` says of them; so are those of the types it is made of.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct File {
    /// The machine's name.
    machine: MachineId,
    /// The machine's own address: the admin interface is there, and adverts are sent from there.
    address: IpAddr,
    /// The network interface that public addresses are put on.
    #[serde(default = "default_interface")]
    interface: String,
    /// The zone it is in, which is the host it runs on: upstreams of the same zone are preferred.
    #[serde(default)]
    zone: Option<HostName>,
    /// Where clients' requests are taken, without TLS. The default counts where there is no `[[listener]]` either.
    #[serde(default)]
    #[cfg_attr(test, schemars(extend("default" = default_listen())))]
    listen: Option<SocketAddr>,
    /// Further places where they are taken.
    #[serde(default, rename = "listener")]
    listeners: Vec<Spanned<ListenerFile>>,
    /// The port of the admin interface for questions.
    #[serde(default)]
    #[cfg_attr(test, schemars(extend("default" = DEFAULT_ADMIN_PORT)))]
    admin_port: Option<Spanned<u16>>,
    /// The port of the admin interface for changes; another one than `admin_port`.
    #[serde(default)]
    #[cfg_attr(test, schemars(extend("default" = DEFAULT_ADMIN_CHANGES_PORT)))]
    admin_changes_port: Option<Spanned<u16>>,
    /// The addresses that may make changes, besides the machine's own. Where `credentials.json` is in `state_dir`, only
    /// the manager of its host may, by certificate.
    #[serde(default)]
    managers: Vec<IpAddr>,
    /// Where accepted upstream sets and configurations are kept. `--state-dir` outranks it.
    #[serde(default = "default_state_dir")]
    state_dir: PathBuf,
    /// How many threads forward requests, 1 to 256; without it one for each processor.
    #[serde(default)]
    workers: Option<Spanned<usize>>,
    /// The public addresses.
    #[serde(default, rename = "vip")]
    vips: Vec<Spanned<VipFile>>,
    /// Public addresses that all balancers have at the same time, announced by a BGP daemon.
    #[serde(default)]
    bgp: Option<BgpFile>,
    /// Whom to tell of every change of a public address.
    #[serde(default)]
    notify: Vec<Spanned<NotifyFile>>,
    /// What one client may use.
    #[serde(default)]
    limits: Option<Spanned<Limits>>,
    /// Where each request is written down; without it none is.
    #[serde(default)]
    access_log: Option<AccessLogFile>,
    /// By what requests are found again; without it they have no ids of ours.
    #[serde(default)]
    request_id: Option<RequestIdFile>,
    /// How requests are followed from program to program; without it what clients say of that is passed on as it is.
    #[serde(default)]
    tracing: Option<TracingFile>,
    /// Routes and how pools are treated, for a balancer without a manager. Read anew on SIGHUP.
    #[serde(default)]
    config: Option<ConfigFile>,
    /// The upstreams of each pool, for a balancer without a manager. Read anew on SIGHUP.
    #[serde(default)]
    upstreams: Option<UpstreamsFile>,
}

/// Where questions are answered unless told otherwise.
const DEFAULT_ADMIN_PORT: u16 = 8080;

/// Where changes are taken unless told otherwise.
const DEFAULT_ADMIN_CHANGES_PORT: u16 = 8443;

/// What Pingora's parser has room for, and what we add.
const MAX_HEADER_FIELDS: usize = 200;

impl Settings {
    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    ///
    /// At the first place that cannot be used, with line, column and what is expected.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::check(&Source::read(path)?, true)
    }

    /// The same without what is for clients: an address must not be lost for the sake of a certificate's file.
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
            listeners,
            admin_port,
            admin_changes_port,
            managers,
            state_dir,
            workers,
            vips,
            bgp,
            notify,
            limits,
            access_log,
            request_id,
            tracing,
            config,
            upstreams,
        } = source.parse()?;
        let admin_port_value = admin_port.as_ref().map_or(DEFAULT_ADMIN_PORT, |port| *port.as_ref());
        let changes_port_value =
            admin_changes_port.as_ref().map_or(DEFAULT_ADMIN_CHANGES_PORT, |port| *port.as_ref());
        if admin_port_value == changes_port_value {
            let span = admin_changes_port.as_ref().or(admin_port.as_ref()).map(Spanned::span);
            return Err(source.error_at(span, "admin_port and admin_changes_port must differ"));
        }
        if let Some(count) = workers.as_ref().filter(|count| !(1..=256).contains(count.as_ref())) {
            return Err(source.error_at(Some(count.span()), "expected 1 to 256 workers"));
        }
        let limits_span = limits.as_ref().map(Spanned::span);
        let limits = limits.map(Spanned::into_inner).unwrap_or_default();
        if limits.header_fields > MAX_HEADER_FIELDS {
            return Err(source.error_at(limits_span, "expected header_fields of 200 at most"));
        }
        let (listeners, proxying) = if for_clients {
            let listeners = listener::check(source, listen, default_listen(), listeners)?;
            let taken = taken_ports(&listeners, [admin_port_value, changes_port_value]);
            let proxying = proxying::check(source, config, upstreams, &taken)?;
            (listeners, proxying)
        } else {
            (Vec::new(), Proxying::default())
        };
        let vips = vip::check(source, address, vips)?;
        let bgp = bgp.map(|bgp| bgp.check(source, address, &vips)).transpose()?;
        let notify = check_notifies(source, notify)?;
        Ok(Settings {
            source: source.clone(),
            refused: None,
            machine,
            address,
            interface,
            zone,
            listeners,
            admin: SocketAddr::new(address, admin_port_value),
            admin_changes: SocketAddr::new(address, changes_port_value),
            managers,
            state_dir,
            state_dir_given: false,
            workers: workers.map_or_else(default_workers, Spanned::into_inner),
            vips,
            bgp,
            notify,
            limits,
            access_log: access_log.map(|file| file.check(source)).transpose()?,
            request_id: request_id.map(|file| file.check(source)).transpose()?,
            tracing: tracing.map(|file| file.check(source)).transpose()?,
            proxying,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.source.path()
    }

    /// Whether there are addresses that somebody has to speak for.
    pub fn has_speaker(&self) -> bool {
        !self.vips.is_empty() || self.bgp.is_some()
    }

    /// Why these are not those of the file as it is now, if they are not.
    pub fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    /// The ports that TCP services cannot have, each with who has it.
    pub fn taken_ports(&self) -> BTreeMap<u16, String> {
        taken_ports(&self.listeners, [self.admin.port(), self.admin_changes.port()])
    }

    /// Keeps everything in `directory`, whatever the file says.
    pub fn use_state_dir(&mut self, directory: &Path) {
        directory.clone_into(&mut self.state_dir);
        self.state_dir_given = true;
    }
}

fn taken_ports(listeners: &[Listener], admin: [u16; 2]) -> BTreeMap<u16, String> {
    let of_admin = admin.into_iter().map(|port| (port, "the admin interface".to_owned()));
    let of_clients = listeners
        .iter()
        .map(|listener| (listener.address.port(), format!("the listener of HTTP at {}", listener.address)));
    of_admin.chain(of_clients).collect()
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
        assert_eq!(settings.listeners[0].address.to_string(), "0.0.0.0:80");
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
            ("[bgp]\naddresses = []", "lb.toml:4:13: expected an address at least"),
            ("[bgp]\naddresses = [\"127.0.0.1\"]", "lb.toml:4:14: expected an address"),
            ("[bgp]\naddresses = [\"192.168.10.10\"]", "lb.toml:4:14: an announced address must not"),
            ("[bgp]\naddresses = [\"192.0.2.1\", \"192.0.2.1\"]", "lb.toml:4:27: this address is in"),
            (
                "[[vip]]\naddress = \"192.0.2.1\"\nvrid = 1\npriority = 240\n[bgp]\naddresses = [\"192.0.2.1\"]",
                "lb.toml:8:14: a [[vip]] has this address",
            ),
            (
                "[bgp]\naddresses = [\"192.0.2.1\"]\ninterface = \"a name that is too long\"",
                "lb.toml:5:13: expected the name of a network interface",
            ),
            ("[[notify]]\nurl = \"http://\"", "lb.toml:4:7: expected a URL"),
            ("workers = 0", "lb.toml:3:11: expected 1 to 256"),
            ("admin_port = 8443", "lb.toml:3:14: admin_port and"),
            ("[access_log]\npath = \"log\"", "lb.toml:4:8: expected a path"),
            ("[access_log]\npath = \"/log\"\nkeep = 0", "lb.toml:5:8: expected 1 to 1000"),
            ("[limits]\nheader_fields = 201", "lb.toml:3:1: expected header_fields"),
            ("[limits]\nbody_byte = 1", "lb.toml:4:1: unknown field `body_byte`"),
            (
                "listen = \"0.0.0.0:80\"\n[[listener]]\naddress = \"0.0.0.0:80\"",
                "lb.toml:5:11: another listener",
            ),
            (
                "[[listener]]\naddress = \"0.0.0.0:80\"\ntrusted = [\"10.0.0.0/8\"]",
                "lb.toml:5:12: trusted says",
            ),
            (
                "[[listener]]\naddress = \"0.0.0.0:80\"\n[listener.tls]\nalpn = [\"h3\"]",
                "lb.toml:6:9: unknown variant `h3`",
            ),
            (
                "[[listener]]\naddress = \"0.0.0.0:80\"\n[listener.tls]\nalpn = []",
                "lb.toml:6:8: expected a protocol",
            ),
            (
                "[[listener]]\naddress = \"0.0.0.0:80\"\n[listener.tls]\nclient_certificates = \"required\"",
                "lb.toml:6:23: client_ca_file is missing",
            ),
            (
                "[[listener]]\naddress = \"0.0.0.0:80\"\n[listener.tls]\nclient_ca_file = \"/ca\"",
                "lb.toml:6:18: client_ca_file says nothing",
            ),
            ("[[config.certificates]]\nkey = \"\"", "lb.toml:3:1: expected either `chain`"),
            (
                "[[config.certificates]]\nchain = \"\"\nchain_file = \"/c\"",
                "lb.toml:5:14: expected either `chain` or `chain_file`, found both",
            ),
            (
                "[[config.certificates]]\nchain_file = \"/dev/null\"\nkey = \"\"",
                "lb.toml:4:14: /dev/null: it is no file",
            ),
            (
                "[config]\nticket_keys = [\"short\"]",
                "lb.toml: config.ticket_keys[0]: expected 32 to 256 bytes",
            ),
        ];
        for (text, expected) in cases {
            let error = check(&format!("{MINIMAL}{text}\n")).expect_err(text);
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn listeners_are_those_of_the_file_and_the_default_only_where_there_are_none() {
        let two = "[[listener]]\naddress = \"[::]:443\"\n[listener.tls]\n[[listener]]\naddress = \"10.0.0.1:81\"\n\
                   proxy_protocol = true\ntrusted = [\"10.0.0.0/8\"]\n";
        let addresses = |settings: &Settings| {
            settings.listeners.iter().map(|listener| listener.address.to_string()).collect::<Vec<_>>()
        };
        let settings = check(&format!("{MINIMAL}{two}")).expect("valid");
        assert_eq!(addresses(&settings), ["[::]:443", "10.0.0.1:81"]);
        let [tls, proxied] = &settings.listeners[..] else { panic!("two") };
        let tls = tls.tls.as_ref().expect("TLS");
        assert_eq!(
            (tls.min_version, &tls.alpn[..]),
            (TlsVersion::Tls12, &[Protocol::Http2, Protocol::Http1][..])
        );
        assert_eq!(tls.client_certificates, ClientCertificates::Off);
        assert_eq!(proxied.proxy_protocol.as_ref().expect("PROXY").trusted.len(), 1);
        let settings = check(&format!("{MINIMAL}listen = \"0.0.0.0:80\"\n{two}")).expect("valid");
        assert_eq!(addresses(&settings), ["0.0.0.0:80", "[::]:443", "10.0.0.1:81"]);
    }

    #[test]
    fn the_speaker_does_without_a_certificate() {
        let source = Source::from_text(
            "lb.toml",
            &format!("{MINIMAL}[[config.certificates]]\nchain_file = \"/none\"\n"),
        );
        assert!(Settings::check(&source, true).is_err());
        assert!(Settings::check(&source, false).is_ok());
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

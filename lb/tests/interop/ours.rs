//! A whole balancer of ours in a machine: `lb run` with its proxy and its speaker.

use std::fs;
use std::process::{Child, Command};
use std::time::Duration;

use lb::link::VipLink;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use wire::vip::{RouterState, RouterStatus};

use crate::stage::{Port, VRID, eventually};
use crate::voice::Voice;

/// What a manager gave it in an earlier life: a balancer that knows no upstream leaves the address to any
/// other.
const DOCUMENTS: [(&str, &str); 2] = [
    ("config.json", r#"{"generation": 1, "routes": [{"name": "all", "pool": "service"}]}"#),
    (
        "upstreams.json",
        r#"{"generation": 1, "pools": {"service": [{"id": "s-1.1", "address": "10.77.0.99", "port": 8080}]}}"#,
    ),
];

pub(crate) struct Ours {
    pub(crate) port: Port,
    voice: Voice,
    process: Child,
}

impl Ours {
    /// Starts a balancer of `priority` at 10.77.0.`last`; `more` is further settings of its `[[vip]]`.
    pub(crate) fn start(name: &'static str, last: u8, priority: u8, voice: &Voice, more: &str) -> Self {
        let port = Port::plug_in(name, last);
        let settings = format!(
            "machine = \"{name}-lb\"\naddress = \"{}\"\nstate_dir = \"{}\"\nworkers = 1\n\
             [[vip]]\nvrid = {VRID}\npriority = {priority}\n{}{more}",
            port.address,
            port.files.display(),
            voice.ours(port.address),
        );
        fs::write(port.files.join("lb.toml"), settings).expect("settings");
        for (file, content) in DOCUMENTS {
            fs::write(port.files.join(file), content).expect("a document");
        }
        let process = Self::run(&port);
        Ours { port, voice: voice.clone(), process }
    }

    fn run(port: &Port) -> Child {
        let mut command: Command = port.command(env!("CARGO_BIN_EXE_lb"));
        command.arg("run").arg("--config").arg(port.files.join("lb.toml"));
        command.spawn().expect("lb")
    }

    /// The machine loses its power.
    pub(crate) fn dies(&mut self) {
        self.port.cut();
        self.signal(Signal::SIGKILL);
        self.process.wait().expect("a child");
    }

    /// It is asked to end, and does.
    pub(crate) fn stops(&mut self) {
        self.signal(Signal::SIGTERM);
        assert_eq!(self.process.wait().expect("a child").code(), Some(0));
    }

    /// It is started again, on the same machine.
    pub(crate) fn starts_again(&mut self) {
        self.process = Self::run(&self.port);
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.process.id()).expect("a pid")), signal).expect("it lives");
    }

    /// Waits until it is the Backup of `holder`.
    pub(crate) fn listens_to(&self, holder: &Port) {
        eventually(&format!("{} listens to {}", self.port.name, holder.name), || {
            self.status().is_some_and(|status| {
                status.state == RouterState::Backup
                    && status.holder == Some(holder.speaks_from(self.voice.vip))
            })
        });
    }

    /// Waits until it holds the address.
    pub(crate) fn takes_over(&self) {
        eventually(&format!("{} holds the address", self.port.name), || self.port.holds());
    }

    /// How long it has been in its state.
    pub(crate) fn unmoved_for(&self) -> Duration {
        Duration::from_millis(self.status().expect("its speaker answers").for_ms)
    }

    fn status(&self) -> Option<RouterStatus> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        let status = runtime.block_on(VipLink::new(&self.port.files).status()).ok()?;
        status.routers.into_iter().next()
    }
}

//! A keepalived in a machine: Debian's, speaking VRRPv3.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::stage::{Port, VRID, eventually};
use crate::voice::Voice;

pub(crate) struct Keepalived {
    pub(crate) port: Port,
    process: Child,
}

impl Keepalived {
    /// Starts a keepalived of `priority` at 10.77.0.`last`; `more` is further settings of its instance,
    /// such as `nopreempt`.
    pub(crate) fn start(name: &'static str, last: u8, priority: u8, voice: &Voice, more: &str) -> Self {
        let port = Port::plug_in(name, last);
        let settings = format!(
            "global_defs {{\n router_id {name}\n vrrp_version 3\n}}\n\
             vrrp_instance V {{\n version 3\n state BACKUP\n interface eth0\n virtual_router_id {VRID}\n \
             priority {priority}\n {}{more}\n}}\n",
            voice.keepalived(port.address),
        );
        fs::write(port.files.join("keepalived.conf"), settings).expect("settings");
        let process = Self::run(&port);
        Keepalived { port, process }
    }

    fn run(port: &Port) -> Child {
        let log = fs::File::create(port.files.join("keepalived.log")).expect("a log");
        let mut command: Command = port.command("keepalived");
        command.args(["--dont-fork", "--log-console", "--log-detail", "--vrrp", "--use-file"]);
        command.arg(port.files.join("keepalived.conf"));
        for (option, file) in [("--pid", "keepalived.pid"), ("--vrrp_pid", "vrrp.pid")] {
            let file = port.files.join(file);
            // One that was killed leaves it behind, and the next would believe that it still runs.
            let _ = fs::remove_file(&file);
            command.arg(option).arg(file);
        }
        // A group of its own: a dying machine takes both of its processes along.
        command.stdout(log.try_clone().expect("a log")).stderr(log).process_group(0);
        command.spawn().expect("keepalived, which deploy/test.sh interop installs")
    }

    /// The machine loses its power.
    pub(crate) fn dies(&mut self) {
        self.port.cut();
        killpg(self.pid(), Signal::SIGKILL).expect("it lives");
        self.process.wait().expect("a child");
    }

    /// It is asked to end, and does.
    pub(crate) fn stops(&mut self) {
        kill(self.pid(), Signal::SIGTERM).expect("it lives");
        assert!(self.process.wait().expect("a child").success());
    }

    /// It is started again, on the same machine.
    pub(crate) fn starts_again(&mut self) {
        self.process = Self::run(&self.port);
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.process.id()).expect("a pid"))
    }

    /// Waits until it says that it is a Backup.
    pub(crate) fn is_backup(&self) {
        eventually(&format!("{} is a backup", self.port.name), || {
            self.states().last().is_some_and(|state| state == "BACKUP")
        });
        assert!(!self.port.holds());
    }

    /// Waits until it holds the address.
    pub(crate) fn takes_over(&self) {
        eventually(&format!("{} holds the address", self.port.name), || self.port.holds());
    }

    /// The states it went through, by its own log.
    /// Starting as a backup is said twice.
    pub(crate) fn states(&self) -> Vec<String> {
        let entered = |line: &str| {
            let line = line.to_uppercase();
            let (_, after) = line.split_once("ENTERING ")?;
            Some(after.split_once(" STATE")?.0.to_owned())
        };
        let mut states: Vec<_> = self.log().lines().filter_map(entered).collect();
        states.dedup();
        states
    }

    /// Whether the one that is installed can be told to send the checksum of the RFC, and to take it. Debian
    /// 12's cannot.
    pub(crate) fn knows_message_checksums() -> bool {
        let program = Command::new("which").arg("keepalived").output().expect("which").stdout;
        let program = String::from_utf8(program).expect("a path");
        let bytes = fs::read(program.trim()).expect("keepalived, which deploy/test.sh interop installs");
        let option = b"v3_checksum_as_v2";
        bytes.windows(option.len()).any(|window| window == option)
    }

    /// All it said since it was started.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.port.files.join("keepalived.log")).expect("its log")
    }
}

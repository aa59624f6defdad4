//! A lab: two hosts and a client, started by `deploy/lab.sh` and gone with its standard input.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;
use wire::cluster::{ClusterView, HostView, MachineView, Phase};

use crate::run::{Ended, PATIENCE, eventually, run_within};

/// Where clients go.
pub(crate) const VIP: &str = "192.168.10.120";

/// The managers, as the client reaches them.
pub(crate) const MANAGERS: [&str; 2] = ["http://192.168.10.1:8080", "http://192.168.10.2:8080"];

/// The same in a lab of IPv6.
pub(crate) const MANAGERS_OF_IPV6: [&str; 2] = ["http://[fd00:10::1]:8080", "http://[fd00:10::2]:8080"];
pub(crate) const VIP_OF_IPV6: &str = "fd00:10::120";

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/lab.sh");

/// A lab that runs.
pub(crate) struct Lab {
    process: Child,
    /// The lab ends when this is closed.
    stdin: Option<ChildStdin>,
    directory: Option<TempDir>,
}

impl Lab {
    /// Starts a lab and waits until its cluster is whole.
    pub(crate) fn start() -> Self {
        let lab = Self::begin();
        lab.wait_until_whole();
        lab
    }

    /// Starts a lab and waits until its managers were started. They believe each other by address, so that a test
    /// can order anything from a host; the tests of certificates have labs with a CA.
    pub(crate) fn begin() -> Self {
        Self::begin_with(&[])
    }

    /// Starts a lab whose hosts are a cluster with certificates, and waits until it is whole.
    pub(crate) fn certified() -> Self {
        let lab = Self::begin_with(&[("HOLDFAST_CERTIFICATES", "1")]);
        lab.wait_until_whole();
        lab
    }

    /// The same, with further settings for the lab's script.
    pub(crate) fn begin_with(settings: &[(&str, &str)]) -> Self {
        for needed in ["lb", "stateless", "loadtest"] {
            let path = programs().join(needed);
            assert!(path.is_file(), "no {}: cargo build --workspace --bins first", path.display());
        }
        let directory = tempfile::Builder::new().prefix("holdfast-lab-").tempdir().expect("a directory");
        let mut process = Command::new(SCRIPT)
            .arg("up")
            .arg(directory.path())
            .env("HOLDFAST_BIN", programs())
            .env("HOLDFAST_CERTIFICATES", "0")
            .envs(settings.iter().copied())
            .stdin(Stdio::piped())
            .spawn()
            .expect("the lab's script");
        let stdin = process.stdin.take();
        let lab = Lab { process, stdin, directory: Some(directory) };
        eventually("the lab is up", || lab.path().join("up").exists().then_some(()));
        lab
    }

    /// Where the lab keeps its files.
    pub(crate) fn path(&self) -> &Path {
        self.directory.as_ref().expect("until it is dropped").path()
    }

    /// The file of one host.
    pub(crate) fn host_file(&self, host: &str, name: &str) -> PathBuf {
        self.path().join(host).join(name)
    }

    pub(crate) fn script(&self, command: &str) -> Command {
        let mut script = Command::new(SCRIPT);
        script.arg(command).arg(self.path());
        script
    }

    /// Runs a program on a host (`a`, `b`) or on the client.
    pub(crate) fn exec(&self, at: &str, words: &[&str]) -> Ended {
        self.exec_within(at, words, PATIENCE)
    }

    pub(crate) fn exec_within(&self, at: &str, words: &[&str], limit: Duration) -> Ended {
        run_within(self.script("exec").arg(at).args(words), limit)
    }

    /// Harms the lab from outside; gives back what was harmed.
    pub(crate) fn fault(&self, words: &[&str]) -> serde_json::Value {
        let said = run_within(self.script("fault").args(words), PATIENCE).ok();
        serde_json::from_str(said.lines().next().expect("a line")).expect("the fault as JSON")
    }

    /// The same as a command for `loadtest --fault`.
    pub(crate) fn fault_command(&self, what: &str) -> String {
        format!("exec:{SCRIPT} fault {} {what}", self.path().display())
    }

    /// Ends the lab by the script instead of by its standard input.
    pub(crate) fn down(&self) -> Ended {
        run_within(&mut self.script("down"), PATIENCE)
    }

    /// Its managers, as the client reaches them.
    pub(crate) fn managers(&self) -> [&'static str; 2] {
        let family = fs::read_to_string(self.path().join("family")).expect("the lab's family");
        if family.trim() == "6" { MANAGERS_OF_IPV6 } else { MANAGERS }
    }

    /// The cluster as one of the managers sees it; none while it does not answer.
    pub(crate) fn view(&self, manager: &str) -> Option<ClusterView> {
        let asked = self.exec("client", &["curl", "-sg", "--max-time", "2", &format!("{manager}/cluster")]);
        serde_json::from_str(&asked.stdout).ok()
    }

    /// The cluster as the first manager sees it.
    pub(crate) fn cluster(&self) -> ClusterView {
        eventually("the first manager answers", || self.view(self.managers()[0]))
    }

    /// Waits until both managers say that all is well.
    #[track_caller]
    pub(crate) fn wait_until_whole(&self) -> ClusterView {
        let mut last = None;
        let whole = (0..).find_map(|attempt| {
            let views = self.managers().map(|manager| self.view(manager));
            if views.iter().all(|view| view.as_ref().is_some_and(|view| view.whole)) {
                return Some(views[0].clone());
            }
            last = Some(views);
            thread::sleep(Duration::from_millis(50));
            // Each attempt takes longer than its pause.
            (u128::from(attempt as u32) * 50 > PATIENCE.as_millis()).then_some(None)
        });
        whole.flatten().unwrap_or_else(|| panic!("the cluster is not whole: {last:#?}"))
    }

    /// The balancer that holds the public address, as its manager knows it.
    pub(crate) fn holder(&self) -> String {
        eventually("one balancer holds the address", || {
            let view = self.managers().iter().find_map(|manager| self.view(manager))?;
            match view.vips[0].holders.as_slice() {
                [one] => Some(one.to_string()),
                _ => None,
            }
        })
    }

    /// A service machine's answer as text, asked for from the client.
    pub(crate) fn get(&self, url: &str) -> String {
        self.exec("client", &["curl", "-sS", "--max-time", "5", url]).ok()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if thread::panicking()
            && let Some(directory) = self.directory.take()
        {
            println!("the lab's logs are kept in {}", directory.keep().display());
        }
        self.stdin = None;
        let _ = self.process.wait();
    }
}

/// The directory of the programs: beside the manager.
pub(crate) fn programs() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_manager")).parent().expect("a directory").to_owned()
}

/// A program as text, for a command inside a lab.
pub(crate) fn program(name: &str) -> String {
    programs().join(name).display().to_string()
}

/// All machines of a view.
pub(crate) fn machines(view: &ClusterView) -> Vec<&MachineView> {
    view.hosts.iter().flat_map(|host| &host.machines).collect()
}

/// The machine called `id`.
#[track_caller]
pub(crate) fn machine<'a>(view: &'a ClusterView, id: &str) -> &'a MachineView {
    let found = machines(view).into_iter().find(|machine| machine.id.as_str() == id);
    found.unwrap_or_else(|| panic!("no machine {id} in {view:#?}"))
}

/// The host called `name`.
#[track_caller]
pub(crate) fn host<'a>(view: &'a ClusterView, name: &str) -> &'a HostView {
    view.hosts.iter().find(|host| host.name.as_str() == name).expect("a host of this name")
}

/// Name, address and incarnation of every machine: equal before and after if nothing was rebuilt.
pub(crate) fn builds(view: &ClusterView) -> Vec<(String, String, u64)> {
    let build = |machine: &MachineView| {
        assert_eq!(machine.phase, Phase::Ready, "{machine:?}");
        (machine.id.to_string(), machine.address.to_string(), machine.incarnation)
    };
    machines(view).into_iter().map(build).collect()
}

/// Name and address of every machine: equal before and after whatever happened to them.
pub(crate) fn places(view: &ClusterView) -> Vec<(String, String)> {
    builds(view).into_iter().map(|(id, address, _)| (id, address)).collect()
}

/// What is in a text file.
pub(crate) fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

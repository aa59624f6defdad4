//! Computers for servers of somebody else: a network namespace on the lab's switch each.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::lab::{Lab, MANAGERS};
use crate::run::eventually;

/// A lab whose hosts have these services too, and the directory they are written in.
pub(crate) fn lab_with(services: &str) -> (Lab, TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("services.toml");
    fs::write(&file, services).expect("written");
    let lab = Lab::begin_with(&[("HOLDFAST_SETTINGS", file.to_str().expect("a plain name"))]);
    lab.wait_until_whole();
    (lab, directory)
}

/// A computer.
pub(crate) struct Node<'a> {
    pub(crate) lab: &'a Lab,
    /// Its name, and that of its namespace.
    pub(crate) name: String,
    pub(crate) address: String,
    program: Vec<String>,
}

impl<'a> Node<'a> {
    /// Plugs in the computer of this number, 1 to 9, with nothing running on it.
    pub(crate) fn plug(lab: &'a Lab, number: u8) -> Self {
        let node = Node {
            lab,
            name: format!("db{number}"),
            address: format!("192.168.10.6{number}"),
            program: Vec::new(),
        };
        let Node { name, address, .. } = &node;
        node.on_switch(&format!(
            "ip netns add {name} && ip link add eth0 netns {name} type veth peer name port-{name} \
             && ip link set port-{name} master sw0 up && ip -n {name} link set lo up \
             && ip -n {name} link set eth0 up && ip -n {name} address add {address}/24 dev eth0"
        ));
        fs::create_dir_all(node.directory()).expect("a directory");
        node
    }

    /// Where its files are.
    pub(crate) fn directory(&self) -> PathBuf {
        self.lab.path().join(&self.name)
    }

    /// Starts a server, which writes its log into `server.log`; `further` words only this time.
    pub(crate) fn start(&mut self, words: Vec<String>, further: &[&str]) {
        self.program = words;
        self.start_again(further);
    }

    /// Starts the same server again, with `further` words.
    pub(crate) fn start_again(&self, further: &[&str]) {
        let words: Vec<&str> =
            self.program.iter().map(String::as_str).chain(further.iter().copied()).collect();
        let log = self.directory().join("server.log");
        self.on_switch(&format!(
            "nsenter --net=/run/netns/{} -- setsid {} </dev/null >>{} 2>&1 &",
            self.name,
            words.join(" "),
            log.display()
        ));
    }

    /// A power cut: nothing comes from it any more, from one moment to the next.
    pub(crate) fn kill(&self) {
        let name = &self.name;
        self.on_switch(&format!("ip link set port-{name} down && ip netns pids {name} | xargs kill -KILL"));
        eventually("its processes have ended", || self.processes().is_empty().then_some(()));
        self.on_switch(&format!("ip link set port-{name} up"));
    }

    /// It stands still, and nothing comes from it.
    pub(crate) fn freeze(&self) {
        let name = &self.name;
        self.on_switch(&format!("ip link set port-{name} down && ip netns pids {name} | xargs kill -STOP"));
    }

    /// It goes on where it was.
    pub(crate) fn thaw(&self) {
        let name = &self.name;
        self.on_switch(&format!("ip netns pids {name} | xargs kill -CONT && ip link set port-{name} up"));
    }

    /// Ends its server in order.
    pub(crate) fn stop(&self) {
        self.on_switch(&format!("ip netns pids {} | xargs kill -TERM", self.name));
        eventually("its processes have ended", || self.processes().is_empty().then_some(()));
    }

    fn processes(&self) -> String {
        self.on_switch(&format!("ip netns pids {}", self.name))
    }

    fn on_switch(&self, script: &str) -> String {
        self.lab.exec("switch", &["bash", "-c", script]).ok()
    }
}

/// What the lab's managers have to say that is not well, one after the other.
pub(crate) fn warnings(lab: &Lab) -> Vec<String> {
    let views = MANAGERS.iter().filter_map(|manager| lab.view(manager));
    let hosts = views.flat_map(|view| view.hosts);
    hosts.flat_map(|host| host.warnings).collect()
}

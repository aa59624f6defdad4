//! Three real etcd servers, one on each host of a lab.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::lab::Lab;
use crate::run::eventually;

/// The hosts, each with its address.
pub(crate) const HOSTS: [(&str, &str); 3] =
    [("a", "192.168.10.1"), ("b", "192.168.10.2"), ("c", "192.168.10.3")];

/// What they keep, and the managers' settings for them. Both outlive a host.
pub(crate) struct Members {
    directory: TempDir,
}

impl Members {
    /// Their place, and what managers are to know of them.
    pub(crate) fn make() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let members = Members { directory };
        let endpoints = HOSTS.map(|(_, address)| format!("\"http://{address}:2379\"")).join(", ");
        fs::write(members.settings(), format!("[etcd]\nendpoints = [{endpoints}]\n")).expect("written");
        members
    }

    /// The file with the settings.
    pub(crate) fn settings(&self) -> PathBuf {
        self.directory.path().join("settings.toml")
    }

    /// Starts all of them, and waits until they have a leader.
    pub(crate) fn start_all(&self, lab: &Lab) {
        HOSTS.iter().for_each(|(host, _)| self.start(lab, host));
        eventually("etcd has a leader", || {
            let words = ["etcdctl", "--endpoints", "http://192.168.10.1:2379", "endpoint", "health"];
            let asked = lab.exec("a", &[&["env", "ETCDCTL_API=3"][..], &words].concat());
            (asked.code == Some(0)).then_some(())
        });
    }

    /// Starts the one of `host`, with what it kept.
    pub(crate) fn start(&self, lab: &Lab, host: &str) {
        let at = self.directory.path().display();
        let address = HOSTS.iter().find(|(name, _)| *name == host).expect("a host").1;
        let cluster = HOSTS.map(|(name, address)| format!("{name}=http://{address}:2380")).join(",");
        let script = format!(
            "setsid etcd --name {host} --data-dir {at}/{host} --initial-cluster {cluster} --initial-cluster-state new \
             --listen-peer-urls http://{address}:2380 --initial-advertise-peer-urls http://{address}:2380 \
             --listen-client-urls http://{address}:2379 --advertise-client-urls http://{address}:2379 \
             >>{at}/{host}.log 2>&1 & echo $! >{at}/{host}.pid"
        );
        lab.exec(host, &["sh", "-c", &script]).ok();
    }

    /// Ends the one of `host` from one moment to the next.
    pub(crate) fn kill(&self, lab: &Lab, host: &str) {
        let script = format!("kill -KILL $(cat {}/{host}.pid)", self.directory.path().display());
        lab.exec(host, &["sh", "-c", &script]).ok();
    }
}

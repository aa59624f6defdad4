//! A test that plays in namespaces of its own, in which it may do everything and which the kernel clears away with it.

// Each test uses what it needs of it.
#![allow(dead_code)]

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// Whatever should happen happens by then, however busy the machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Set where the test has its namespaces.
const INSIDE: &str = "HOLDFAST_TEST_INSIDE";

/// Runs `story` as the first process of new namespaces, whose `/run` is empty. `name` is the test's own name, by
/// which it is started again there.
pub(crate) fn in_namespaces(name: &str, story: impl FnOnce()) {
    in_namespaces_by(name, &[], story);
}

/// The same, started by the words of a program that ends them with what it is to run.
pub(crate) fn in_namespaces_by(name: &str, by: &[&str], story: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        run("mount -t tmpfs tmpfs /run");
        run("mkdir /run/netns");
        return story();
    }
    let mut command = Command::new("unshare");
    if !nix::unistd::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    let status = command
        .args(["--net", "--mount", "--pid", "--mount-proc", "--fork", "--kill-child"])
        .args(by)
        .arg(std::env::current_exe().expect("this test"))
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .expect("unshare of util-linux");
    assert!(status.success(), "in its namespaces: {status} (no namespaces? run as root or allow user ones)");
}

/// Waits until `condition` holds.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let limit = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < limit, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Runs a command that must succeed; its words have no spaces in them.
pub(crate) fn run(command: &str) {
    said_by(command);
}

/// What a command that must succeed says; its words have no spaces in them.
pub(crate) fn said_by(command: &str) -> String {
    let mut words = command.split(' ');
    let output = Command::new(words.next().expect("a word")).args(words).output().expect("to start");
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

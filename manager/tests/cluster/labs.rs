//! The lab itself: two of them never meet, and nothing is left of one.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::lab::{Lab, builds, places};
use crate::run::eventually;

/// The processes of the lab in `directory`: it is in their environment or their command line.
fn processes(directory: &Path) -> Vec<String> {
    let directory = directory.to_str().expect("a plain name");
    let entries = fs::read_dir("/proc").expect("proc").filter_map(|entry| {
        let process = entry.ok()?.path();
        let command = fs::read(process.join("cmdline")).ok()?;
        let environment = fs::read(process.join("environ")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        let environment = String::from_utf8_lossy(&environment);
        (command.contains(directory) || environment.contains(directory)).then_some(command)
    });
    entries.collect()
}

fn network_namespaces() -> BTreeSet<String> {
    let names = fs::read_dir("/run/netns").into_iter().flatten();
    names.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned())).collect()
}

fn mounts() -> usize {
    fs::read_to_string("/proc/self/mountinfo").expect("mounts").lines().count()
}

#[test]
fn nothing_is_left_of_a_lab() {
    let (names, mounts_before) = (network_namespaces(), mounts());
    let lab = Lab::start();
    let directory = lab.path().to_owned();
    // Two managers, six machines with an init each, and the lab's own.
    let running = processes(&directory);
    assert!(running.len() >= 14, "{running:#?}");
    assert_eq!((network_namespaces(), mounts()), (names.clone(), mounts_before), "nothing of it is outside");

    assert_eq!(lab.down().code, Some(0));
    assert_eq!(processes(&directory), Vec::<String>::new(), "ended by `down`");
    drop(lab);
    assert!(!directory.exists());

    let lab = Lab::begin();
    let directory = lab.path().to_owned();
    assert_ne!(processes(&directory), Vec::<String>::new());
    drop(lab);
    // Its caller has gone; nobody waits for it.
    eventually("it ended with its standard input", || processes(&directory).is_empty().then_some(()));
    assert!(!directory.exists());
    assert_eq!((network_namespaces(), mounts()), (names, mounts_before));
}

#[test]
fn two_labs_side_by_side_do_not_meet() {
    let (one, other) = (Lab::begin(), Lab::begin());
    let before = [&one, &other].map(Lab::wait_until_whole);
    assert_eq!(places(&before[0]), places(&before[1]), "they use the same names and addresses");
    let holder = other.holder();

    one.fault(&["kill-lb"]);
    one.fault(&["kill-stateless"]);
    assert_ne!(one.wait_until_whole(), before[0]);
    assert_eq!(builds(&other.wait_until_whole()), builds(&before[1]), "nothing happened to the other");
    assert_eq!(other.holder(), holder);
    drop(one);
    assert!(other.get("http://192.168.10.120/random/number").contains("value"));
    assert_eq!(builds(&other.wait_until_whole()), builds(&before[1]));
}

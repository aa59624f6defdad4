//! A new image is taken into use, one machine at a time, and only where it is new.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::lab::{Lab, MANAGERS, builds, machines, program, read};
use crate::load::Load;
use crate::run::eventually;
use crate::{RATE, images};

/// A copy of the images whose manifests can be changed.
fn copy_of_images(directory: &Path) -> PathBuf {
    for role in ["lb", "stateless"] {
        let (from, to) = (images().join(role), directory.join(role));
        fs::create_dir(&to).expect("made");
        for file in ["vmlinuz", "initrd"] {
            symlink(from.join(file), to.join(file)).expect("linked");
        }
        fs::copy(from.join("image.json"), to.join("image.json")).expect("copied");
    }
    directory.to_owned()
}

/// What is to be rolled, as `manager` says.
fn plan(lab: &Lab) -> String {
    let roll = [&program("manager"), "--manager", MANAGERS[0], "image", "roll", "--dry-run"];
    lab.exec("a", &roll).ok()
}

#[test]
fn a_new_image_is_rolled_out_without_a_failed_request() {
    let directory = tempfile::tempdir().expect("a directory");
    let images = copy_of_images(directory.path());
    let lab = Lab::begin_with(&[
        ("HOLDFAST_MACHINES", "vms"),
        ("HOLDFAST_IMAGES", images.to_str().expect("a plain name")),
    ]);
    lab.wait_until_whole();
    let before = eventually("every machine's image is known", || {
        let view = lab.view(MANAGERS[0])?;
        machines(&view).iter().all(|machine| machine.image.is_some()).then_some(view)
    });
    let current = plan(&lab);
    assert!(!current.contains("stateless-1"), "nothing is new: {current}");

    let manifest = images.join("stateless/image.json");
    let old = machines(&before).iter().find_map(|machine| {
        (machine.service.as_str() == "stateless").then(|| machine.image.clone().expect("known"))
    });
    let text = read(&manifest).replace(&old.expect("a machine"), "0123456789abcdef");
    fs::write(&manifest, text).expect("written");
    let now = plan(&lab);
    for id in ["a-stateless-1", "a-stateless-2", "b-stateless-1", "b-stateless-2"] {
        assert!(now.contains(id), "no {id} in {now}");
    }
    assert!(!now.contains("a-lb"), "its image is the same: {now}");

    thread::scope(|scope| {
        let load = Load::at_rate(RATE, 30).start(&lab, scope);
        let roll = [&program("manager"), "--manager", MANAGERS[0], "image", "roll", "--yes"];
        let rolled = lab.exec_within("a", &roll, Duration::from_secs(400)).ok();
        println!("{rolled}");
        load.join().expect("a report").assert_nobody_noticed();
    });
    let after = lab.wait_until_whole();
    for (old, new) in builds(&before).iter().zip(&builds(&after)) {
        assert_eq!(new.2 > old.2, new.0.contains("stateless"), "{new:?}");
        assert_eq!(new.1, old.1, "the same address");
    }
}

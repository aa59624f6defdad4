//! What stands in a machine's way is seen in the status, is tried again, and harms no other machine.

use std::fs;

use wire::cluster::{Condition, MachineView};

use crate::lab::{Lab, MANAGERS, machine, read};
use crate::run::eventually;
use crate::{images, start};

/// Adds services to host a and has its manager start with them.
fn reconfigure(lab: &Lab, services: &str) {
    let file = lab.host_file("a", "manager.toml");
    let text = read(&file).replace("[\"192.168.10.10-192.168.10.16\"]", "[\"192.168.10.10-192.168.10.19\"]");
    lab.fault(&["stop-manager", "a"]);
    fs::write(&file, format!("{text}\n[heartbeat]\nboot_timeout_ms = 20000\n{services}")).expect("written");
    lab.fault(&["start-manager", "a"]);
}

fn in_state(lab: &Lab, id: &str, condition: Condition) -> MachineView {
    eventually(&format!("{id} is {condition:?}"), || {
        let view = lab.view(MANAGERS[0])?;
        let found =
            view.hosts.iter().flat_map(|host| &host.machines).find(|machine| machine.id.as_str() == id)?;
        (found.condition == Some(condition)).then(|| found.clone())
    })
}

#[test]
fn each_trouble_has_a_name_and_harms_nobody_else() {
    let lab = start();
    let before = lab.cluster();
    let sound = images().join("stateless");
    // An image whose kernel finds nothing to start, and stands still there.
    let dead = lab.path().join("dead-image");
    fs::create_dir(&dead).expect("made");
    for file in ["vmlinuz", "initrd"] {
        std::os::unix::fs::symlink(sound.join(file), dead.join(file)).expect("linked");
    }
    let manifest = read(&sound.join("image.json"));
    let manifest = manifest.replace("rdinit=/sbin/init", "rdinit=/nothing").replace("panic=-1", "panic=0");
    assert!(manifest.contains("rdinit=/nothing") && manifest.contains("panic=0"), "{manifest}");
    fs::write(dead.join("image.json"), manifest).expect("written");
    reconfigure(
        &lab,
        &format!(
            "[[service]]\nname = \"gone\"\nreplicas = 1\nimage = \"/nowhere/at/all\"\n\
             [[service]]\nname = \"dead\"\nreplicas = 1\nimage = \"{}\"\n\
             [[service]]\nname = \"mute\"\nreplicas = 1\nprogram = \"nothing\"\nimage = \"{}\"\n",
            dead.display(),
            sound.display(),
        ),
    );
    let gone = in_state(&lab, "a-gone-1", Condition::MissingImage);
    assert!(gone.reason.contains("/nowhere/at/all"), "{}", gone.reason);
    let dead = in_state(&lab, "a-dead-1", Condition::NeverBooted);
    assert!(dead.reason.contains("no sign of life"), "{}", dead.reason);
    let mute = in_state(&lab, "a-mute-1", Condition::NotAnswering);
    assert!(mute.reason.contains("its guest started"), "{}", mute.reason);
    // What its kernel said last can still be read.
    let logs = eventually("its console is kept", || {
        let manager = crate::lab::program("manager");
        let logs = lab.exec("client", &[&manager, "--manager", MANAGERS[0], "vm", "logs", "a-dead-1"]).stdout;
        logs.contains("panic").then_some(logs)
    });
    println!("{logs}");
    // They are tried again and again; the others live on.
    let after = eventually("it was tried again", || {
        let view = lab.view(MANAGERS[0])?;
        (machine(&view, "a-gone-1").restarts >= 2).then_some(view)
    });
    for id in ["a-lb", "a-stateless-1", "a-stateless-2", "b-stateless-1"] {
        assert_eq!(machine(&after, id).incarnation, machine(&before, id).incarnation, "{id}");
    }
    // The status says it to people too.
    let status =
        lab.exec("client", &[&crate::lab::program("manager"), "--manager", MANAGERS[0], "status"]).ok();
    assert!(status.contains("there is no image /nowhere/at/all"), "{status}");
}

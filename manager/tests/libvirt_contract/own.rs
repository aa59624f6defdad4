//! What only this driver has: a daemon that may go away, and domains of other people.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use manager::engine::MachineSpec;
use manager::ports::hypervisor::{Hypervisor, HypervisorError};
use wire::cluster::Condition;

use crate::libvirt::on_stage;
use crate::stage::{Stage, eventually, listed, next_end, order, run, wait_until_it_answers};

/// Seeds hold secrets: no other user of the host may read one.
#[test]
fn seeds_are_for_their_machine_alone() {
    on_stage("own::seeds_are_for_their_machine_alone", async |stage| {
        let (driver, _ends) = stage.driver();
        let spec = stage.spec("a-stateless-1", 11, 1);
        driver.create(&spec).await.expect("created");
        let seed = fs::metadata(stage.directory(&spec).join("seed.img")).expect("a seed");
        assert_eq!(seed.permissions().mode() & 0o777, 0o600);
        let process = stage.process(&spec).expect("it runs");
        let line = fs::read(format!("/proc/{process}/cmdline")).expect("a command line");
        let line = String::from_utf8_lossy(&line).into_owned();
        assert!(!line.contains("heartbeat_interval_ms"), "settings are not for everybody: {line}");
    });
}

#[test]
fn the_balancers_machine_goes_before_the_others() {
    on_stage("own::the_balancers_machine_goes_before_the_others", async |stage| {
        let (driver, _ends) = stage.driver();
        let own = niceness(Path::new("/proc/self"));
        for (name, last, service, expected) in [("a-lb", 11, "lb", -10), ("a-x-1", 12, "x", own)] {
            let mut spec = stage.spec(name, last, 1);
            spec.purpose.service = service.into();
            driver.create(&spec).await.expect("created");
            let process = stage.process(&spec).expect("it runs");
            for thread in fs::read_dir(format!("/proc/{process}/task")).expect("threads") {
                assert_eq!(niceness(&thread.expect("a thread").path()), expected, "{name}");
            }
        }
    });
}

/// Of a process or thread by its directory in `/proc` (proc_pid_stat(5)).
fn niceness(of: &Path) -> i32 {
    let stat = fs::read_to_string(of.join("stat")).expect("its state");
    let fields = stat.rsplit_once(')').expect("a name").1;
    fields.split_whitespace().nth(16).expect("a field").parse().expect("a number")
}

#[test]
fn a_qemu_that_is_stopped_is_fenced_at_once() {
    on_stage("own::a_qemu_that_is_stopped_is_fenced_at_once", async |stage| {
        let (driver, _ends) = stage.driver();
        let spec = stage.spec("a-stateless-1", 11, 1);
        driver.create(&spec).await.expect("created");
        wait_until_it_answers(&spec);
        run(&format!("kill -STOP {}", stage.process(&spec).expect("it runs")));
        // libvirt notices nothing, and would wait for it for ten seconds.
        assert!(listed(&driver, &spec.purpose.id).await.expect("listed").running);
        let asked = std::time::Instant::now();
        driver.destroy(&spec.purpose.id).await.expect("destroyed");
        assert!(asked.elapsed().as_secs() < 8, "{:?}", asked.elapsed());
        assert_eq!(stage.remains(&spec), Vec::<String>::new());
    });
}

#[test]
fn a_guest_tells_that_it_has_started() {
    on_stage("own::a_guest_tells_that_it_has_started", async |stage| {
        let (driver, _ends) = stage.driver();
        let spec = stage.spec("a-stateless-1", 11, 1);
        driver.create(&spec).await.expect("created");
        assert!(!listed(&driver, &spec.purpose.id).await.expect("listed").booted, "so soon");
        wait_until_it_answers(&spec);
        booted(&driver, &spec).await;
        drop(driver);
        // A manager that starts later asks.
        let (driver, _ends) = stage.driver();
        booted(&driver, &spec).await;
    });
}

async fn booted(driver: &impl Hypervisor, spec: &MachineSpec) {
    let limit = std::time::Instant::now() + crate::stage::PATIENCE;
    while !listed(driver, &spec.purpose.id).await.expect("listed").booted {
        assert!(std::time::Instant::now() < limit, "its guest does not tell");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[test]
fn machines_and_the_driver_outlive_the_daemon() {
    on_stage("own::machines_and_the_driver_outlive_the_daemon", async |stage| {
        let (driver, mut ends) = stage.driver();
        let specs = [stage.spec("a-stateless-1", 11, 1), stage.spec("a-stateless-2", 12, 2)];
        for spec in &specs {
            driver.create(spec).await.expect("created");
        }
        specs.iter().for_each(wait_until_it_answers);
        stage.kill_daemon();
        specs.iter().for_each(wait_until_it_answers);
        assert!(ends.try_recv().is_err(), "nothing ended");
        let refused = driver.list().await.expect_err("nobody to ask");
        assert_eq!(refused.condition(), Some(Condition::HypervisorDown), "{refused}");
        let third = stage.spec("a-stateless-3", 13, 3);
        let refused = driver.create(&third).await.expect_err("nobody to make it");
        assert_eq!(refused.condition(), Some(Condition::HypervisorDown), "{refused}");
        driver.destroy(&third.purpose.id).await.expect("nothing to be destroyed");

        // One dies meanwhile, one is fenced.
        run(&format!("kill -KILL {}", stage.process(&specs[0]).expect("it runs")));
        assert_eq!(next_end(&mut ends).await.machine, specs[0].purpose.id);
        driver.destroy(&specs[0].purpose.id).await.expect("without the daemon");

        stage.start_daemon();
        let machines = driver.list().await.expect("the new daemon answers");
        let running: Vec<_> = machines.iter().map(|it| (order(it), it.running)).collect();
        assert_eq!(running, [(specs[1].purpose.clone(), true)]);
        driver.create(&specs[0]).await.expect("created again");
        wait_until_it_answers(&specs[0]);
        wait_until_it_answers(&specs[1]);
        assert!(ends.try_recv().is_err(), "told twice");
    });
}

/// A daemon that stands still must not hold up what does not need it, nor for ever what does.
#[test]
fn a_hung_daemon_blocks_nobody() {
    on_stage("own::a_hung_daemon_blocks_nobody", async |stage| {
        let (driver, mut ends) = stage.driver();
        let spec = stage.spec("a-stateless-1", 11, 1);
        driver.create(&spec).await.expect("created");
        let daemon = fs::read_to_string("/run/libvirtd.pid").expect("the daemon's pid");
        let daemon = daemon.trim();
        run(&format!("kill -STOP {daemon}"));
        for _ in 0..3 {
            let asked = std::time::Instant::now();
            let refused = driver.list().await.expect_err("nobody answers");
            assert_eq!(refused.condition(), Some(Condition::HypervisorDown), "{refused}");
            assert!(asked.elapsed().as_secs() < 15, "{:?}", asked.elapsed());
        }
        run(&format!("kill -KILL {}", stage.process(&spec).expect("it runs")));
        assert_eq!(next_end(&mut ends).await.machine, spec.purpose.id);
        driver.destroy(&spec.purpose.id).await.expect("fenced without the daemon");
        run(&format!("kill -CONT {daemon}"));
        // A connection that was given up is opened anew.
        let limit = std::time::Instant::now() + crate::stage::PATIENCE;
        while driver.list().await.is_err() {
            assert!(std::time::Instant::now() < limit, "it answers again");
        }
        driver.create(&spec).await.expect("created again");
        wait_until_it_answers(&spec);
    });
}

#[test]
fn a_foreign_domain_of_the_same_name_is_not_touched() {
    on_stage("own::a_foreign_domain_of_the_same_name_is_not_touched", async |stage| {
        let (driver, _ends) = stage.driver();
        let xml = "<domain type='qemu'><name>a-stateless-1</name><memory unit='MiB'>32</memory>\
                   <os><type machine='q35'>hvm</type></os></domain>";
        fs::write("/run/foreign.xml", xml).expect("written");
        run("timeout 20 virsh -q create /run/foreign.xml");
        let spec = stage.spec("a-stateless-1", 11, 1);
        assert_eq!(driver.list().await.expect("a list"), []);
        let refused = match driver.create(&spec).await {
            Err(HypervisorError::Failed(reason)) => reason,
            other => panic!("{other:?}"),
        };
        assert!(refused.contains("not this manager's"), "{refused}");
        driver.destroy(&spec.purpose.id).await.expect("nothing of ours");
        let domains = run("timeout 20 virsh -q list --name");
        assert!(domains.lines().any(|name| name == "a-stateless-1"), "{domains}");
        let reason = driver.shutdown(&spec.purpose.id).await;
        assert!(matches!(reason, Err(HypervisorError::NotRunning)), "{reason:?}");
    });
}

#[test]
fn orphans_of_a_crash_are_listed_and_fenced() {
    on_stage("own::orphans_of_a_crash_are_listed_and_fenced", async |stage| {
        let (driver, _ends) = stage.driver();
        let spec = stage.spec("a-stateless-1", 11, 1);
        driver.create(&spec).await.expect("created");
        // The manager's disk was lost; the domain knows what it is for.
        fs::remove_file(stage.directory(&spec).join("machine.json")).expect("removed");
        drop(driver);
        let (driver, _ends) = stage.driver();
        let seen = listed(&driver, &spec.purpose.id).await.expect("listed");
        assert_eq!((order(&seen), seen.running), (spec.purpose.clone(), true));
        driver.destroy(&spec.purpose.id).await.expect("destroyed");
        assert_eq!(stage.remains(&spec), Vec::<String>::new());
    });
}

#[test]
fn what_stands_in_the_way_has_a_name() {
    on_stage("own::what_stands_in_the_way_has_a_name", async |stage| {
        let refused = async |condition: Condition, words: &str, spec: &MachineSpec| {
            let (driver, _ends) = stage.driver();
            let error = driver.create(spec).await.expect_err(words);
            assert_eq!(error.condition(), Some(condition), "{error}");
            assert!(error.to_string().contains(words), "{error}");
            driver.destroy(&spec.purpose.id).await.expect("destroyed");
            assert_eq!(stage.remains(spec), Vec::<String>::new());
        };
        // A disk that is full: a file system of its own with room for almost nothing.
        fs::create_dir_all("/run/state/machines").expect("made");
        run("mount -t tmpfs -o size=64k tmpfs /run/state/machines");
        refused(Condition::NoSpace, "seed.img", &stage.spec("a-stateless-1", 11, 1)).await;
        run("umount /run/state/machines");
        // A disk that nobody may write to.
        run("mount -t tmpfs -o ro tmpfs /run/state/machines");
        let (driver, _ends) = stage.driver();
        let error = driver.create(&stage.spec("a-stateless-1", 11, 1)).await.expect_err("read-only");
        assert!(error.to_string().contains("ead-only file system"), "{error}");
        run("umount /run/state/machines");
        // User data that is not there.
        let mut spec = stage.spec("a-stateless-1", 11, 1);
        spec.hardware.user_data = Some("/nowhere/user-data".into());
        refused(Condition::MissingImage, "/nowhere/user-data", &spec).await;
        // And then nothing does any more.
        let spec = stage.spec("a-stateless-1", 11, 1);
        driver.create(&spec).await.expect("created");
        eventually("it answers", || crate::stage::knock(spec.purpose.address));
    });
}

#[test]
fn two_machines_of_one_base_image_do_not_share_what_they_write() {
    on_stage("own::two_machines_of_one_base_image_do_not_share_what_they_write", async |stage| {
        let (driver, _ends) = stage.driver();
        run("timeout 20 qemu-img create -q -f qcow2 /run/base.qcow2 16M");
        let before = fs::read("/run/base.qcow2").expect("a base");
        let mut specs = [stage.spec("a-stateless-1", 11, 1), stage.spec("a-stateless-2", 12, 2)];
        for spec in &mut specs {
            spec.hardware.image = "/run/base.qcow2".into();
            driver.create(spec).await.expect("created");
            let disk = stage.directory(spec).join("disk.qcow2");
            let info = run(&format!("timeout 20 qemu-img info -U --output=json {}", disk.display()));
            assert!(info.contains("/run/base.qcow2"), "{info}");
        }
        for spec in &specs {
            assert!(listed(&driver, &spec.purpose.id).await.expect("listed").running);
            driver.destroy(&spec.purpose.id).await.expect("destroyed");
            assert_eq!(stage.remains(spec), Vec::<String>::new());
        }
        assert_eq!(fs::read("/run/base.qcow2").expect("a base"), before);
    });
}

/// A machine that keeps its disk starts again with what was on it; and never on top of what it was not made from.
#[test]
fn a_disk_that_is_kept_outlives_its_machine() {
    on_stage("own::a_disk_that_is_kept_outlives_its_machine", async |stage| {
        let (driver, _ends) = stage.driver();
        run("timeout 20 qemu-img create -q -f qcow2 /run/base.qcow2 16M");
        let disk = "/run/state/disks/a-db-1/disk.qcow2";
        let spec = |incarnation| {
            let mut spec = MachineSpec { persistent: true, ..stage.spec("a-db-1", 11, incarnation) };
            spec.hardware.image = "/run/base.qcow2".into();
            spec
        };
        // What `qemu-io` is told is one word of its command line.
        let on_disk = |deed: &str| {
            let told =
                std::process::Command::new("timeout").args(["20", "qemu-io", "-c", deed, disk]).output();
            let told = told.expect("qemu-io");
            let said = String::from_utf8_lossy(&told.stdout).into_owned();
            assert!(told.status.success() && !said.contains("failed"), "{deed}: {said}");
        };
        for incarnation in 1..=3 {
            let spec = spec(incarnation);
            driver.create(&spec).await.expect("created");
            let line = fs::read(format!("/proc/{}/cmdline", stage.process(&spec).expect("it runs")));
            let line = String::from_utf8_lossy(&line.expect("a command line")).into_owned();
            assert!(line.contains(disk), "{line}");
            driver.destroy(&spec.purpose.id).await.expect("destroyed");
            assert_eq!(stage.remains(&spec), Vec::<String>::new());
            on_disk(if incarnation == 1 { "write -P 0x5a 0 4096" } else { "read -P 0x5a 0 4096" });
        }
        // Whoever replaces the image in its place would put other data under it.
        run("touch -d 2001-01-01 /run/base.qcow2");
        let refused = driver.create(&spec(4)).await.expect_err("another image");
        assert_eq!(refused.condition(), Some(Condition::MissingImage), "{refused}");
        assert!(refused.to_string().contains("give a new image a new name"), "{refused}");
        driver.destroy(&"a-db-1".into()).await.expect("destroyed");
        on_disk("read -P 0x5a 0 4096");
        // Our own images have no disk to keep.
        let bundle = MachineSpec { persistent: true, ..stage.spec("a-db-2", 12, 5) };
        let refused = driver.create(&bundle).await.expect_err("nothing to keep");
        assert_eq!(refused.condition(), Some(Condition::MissingImage), "{refused}");
        assert!(refused.to_string().contains("disk image of a cloud"), "{refused}");
        driver.destroy(&bundle.purpose.id).await.expect("destroyed");
    });
}

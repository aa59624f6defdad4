//! Spares that are virtual machines: they outlive their driver, and are known by more than their names.

use std::fs;
use std::time::Instant;

use manager::engine::MachineSpec;
use manager::ports::hypervisor::{Hypervisor, HypervisorError};
use wire::balancing::Secret;

use crate::libvirt::{LibvirtStage, on_stage};
use crate::spares::{keep, wanted};
use crate::stage::{Stage, listed, next_end, order, run, wait_until_it_answers};
use crate::tap::Tap;

/// The directories of the spares, of those that wait and of those that became machines.
fn directories() -> Vec<String> {
    let entries = fs::read_dir("/run/state/spares").into_iter().flatten();
    let mut all: Vec<String> =
        entries.map(|entry| entry.expect("listed").path().display().to_string()).collect();
    all.sort();
    all
}

/// The number of the only spare.
fn the_spare() -> String {
    let all = directories();
    let [one] = all.as_slice() else { panic!("one spare: {all:?}") };
    one.rsplit('/').next().expect("a name").to_owned()
}

/// Where the time between a death and the next answer goes, in milliseconds.
#[derive(Clone, Copy)]
struct Replaced {
    noticed: u128,
    fenced: u128,
    /// Made: of a spare, that one was told which machine it is.
    made: u128,
    answered: u128,
    /// For how much of the last two the machine had a processor: on a host that is busy with other things it waits for one.
    worked: u128,
}

impl Replaced {
    fn all(&self) -> u128 {
        self.noticed + self.fenced + self.made + self.answered
    }
}

/// How long `process` has had a processor, in milliseconds; a hundredth of a second is the unit of the kernel's account.
fn worked(process: Option<i32>) -> u128 {
    let Some(process) = process else { return 0 };
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).expect("it runs");
    let fields: Vec<&str> = stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
    [fields[11], fields[12]].iter().map(|ticks| 10 * ticks.parse::<u128>().expect("a number")).sum()
}

/// Kills the machine of `spec`, and has the next `incarnation` in its place.
async fn replace(
    stage: &LibvirtStage,
    driver: &impl Hypervisor,
    ends: &mut crate::stage::Ends,
    spec: &MachineSpec,
    next: &MachineSpec,
) -> Replaced {
    let mut last = Instant::now();
    let mut lap = || {
        let took = last.elapsed().as_millis();
        last = Instant::now();
        took
    };
    driver.inject(&spec.purpose.id, wire::cluster::FaultKind::Kill).await.expect("killed");
    next_end(ends).await;
    let noticed = lap();
    driver.destroy(&spec.purpose.id).await.expect("fenced");
    let fenced = lap();
    let before = worked(stage.spare_processes().first().copied());
    driver.create(next).await.expect("created");
    let made = lap();
    wait_until_it_answers(next);
    let answered = lap();
    let worked = worked(stage.process(next)).saturating_sub(before);
    Replaced { noticed, fenced, made, answered, worked }
}

/// So many of each are compared.
const COMPARED: u64 = 3;

#[test]
fn one_of_a_spare_is_there_sooner_than_one_that_boots() {
    on_stage("own_spares::one_of_a_spare_is_there_sooner_than_one_that_boots", async |stage| {
        let (driver, mut ends) = stage.driver();
        let spec = |incarnation| stage.spec("a-stateless-1", 11, incarnation);
        driver.create(&spec(1)).await.expect("created");
        wait_until_it_answers(&spec(1));
        let mut medians = Vec::new();
        for (what, first) in [("boots", 2), ("of a spare", 2 + COMPARED)] {
            let mut all = Vec::new();
            for incarnation in first..first + COMPARED {
                if what == "of a spare" {
                    keep(&driver, &spec(1), 1).await;
                }
                let (before, next) = (spec(incarnation - 1), spec(incarnation));
                all.push(replace(&stage, &driver, &mut ends, &before, &next).await);
            }
            all.sort_by_key(Replaced::all);
            for one @ Replaced { noticed, fenced, made, answered, worked } in &all {
                println!(
                    "{what}: {} ms: noticed {noticed}, fenced {fenced}, made {made}, answered {answered}, in which it \
                     had a processor for {worked}",
                    one.all()
                );
            }
            medians.push(all[COMPARED as usize / 2].all());
        }
        assert_eq!(stage.spares(), 0, "all of them were used");
        assert!(medians[1] < medians[0], "{medians:?}");
    });
}

#[test]
fn spares_that_wait_are_taken_over_by_the_next_driver() {
    on_stage("own_spares::spares_that_wait_are_taken_over_by_the_next_driver", async |stage| {
        let (driver, ends) = stage.driver();
        let spec = stage.spec("a-stateless-1", 11, 1);
        keep(&driver, &spec, 1).await;
        let before = (the_spare(), stage.spare_processes());
        drop((driver, ends));
        let (driver, _ends) = stage.driver();
        assert_eq!(driver.list().await.expect("a list"), []);
        keep(&driver, &spec, 1).await;
        assert_eq!((the_spare(), stage.spare_processes()), before, "it was not made anew");
        driver.create(&spec).await.expect("created");
        wait_until_it_answers(&spec);
        assert_eq!(stage.process(&spec).as_slice(), before.1);
    });
}

/// Until it is somebody, nothing of it reaches the wire.
#[test]
fn a_spare_that_waits_is_silent() {
    on_stage("own_spares::a_spare_that_waits_is_silent", async |stage| {
        let tap = Tap::open();
        let since = std::time::SystemTime::now();
        let (driver, _ends) = stage.driver();
        let spec = stage.spec("a-stateless-1", 11, 1);
        keep(&driver, &spec, 1).await;
        let number = the_spare();
        let link = run(&format!("ip -o link show hfs{number}"));
        assert!(link.contains(" state DOWN "), "{link}");
        let digits: Vec<u8> =
            (0..4).map(|byte| u8::from_str_radix(&number[2 * byte..][..2], 16).expect("digits")).collect();
        let mac = [0x02, 0x49, digits[0], digits[1], digits[2], digits[3]];
        driver.create(&spec).await.expect("created");
        wait_until_it_answers(&spec);
        assert!(!tap.heard(spec.mac, since).is_empty(), "the machine is heard");
        assert_eq!(tap.heard(mac, since), [], "and never was as anybody else");
    });
}

/// What a service gives its machines is in the memory of those that are made of spares, and nowhere else.
#[test]
fn secrets_are_on_no_disk_and_no_command_line() {
    on_stage("own_spares::secrets_are_on_no_disk_and_no_command_line", async |stage| {
        let planted = ["planted", "77e1", "secret"].join("-");
        let (driver, _ends) = stage.driver();
        let mut spec = stage.spec("a-stateless-1", 11, 1);
        spec.seed.secrets = [("key".to_owned(), Secret(planted.clone()))].into();
        // More than the first buffers on its way have room for.
        spec.seed.environment = [("LARGE".to_owned(), Secret(planted.repeat(1000)))].into();
        keep(&driver, &spec, 1).await;
        driver.create(&spec).await.expect("created");
        wait_until_it_answers(&spec);
        assert_eq!(stage.spares(), 0, "made of the spare");
        let found = std::process::Command::new("grep")
            .args([
                "-rlF",
                &planted,
                "/run/state",
                "/run/libvirt",
                "/var/log/libvirt",
                "/var/lib/libvirt",
                "/etc/libvirt",
            ])
            .output()
            .expect("grep");
        assert_eq!(String::from_utf8_lossy(&found.stdout), "");
        let process = stage.process(&spec).expect("it runs");
        for file in ["cmdline", "environ"] {
            let text = fs::read(format!("/proc/{process}/{file}")).expect("read");
            assert!(!String::from_utf8_lossy(&text).contains(&planted), "{file}");
        }
    });
}

#[test]
fn only_what_is_like_a_spare_is_made_of_it() {
    on_stage("own_spares::only_what_is_like_a_spare_is_made_of_it", async |stage| {
        let (driver, _ends) = stage.driver();
        let plain = stage.spec("a-stateless-1", 11, 1);
        keep(&driver, &plain, 1).await;
        let before = the_spare();
        let mut larger = stage.spec("a-stateless-1", 11, 1);
        larger.hardware.memory_mib += 32;
        let mut other = stage.spec("a-other-1", 12, 2);
        other.purpose.service = "other".into();
        for spec in [&larger, &other] {
            driver.create(spec).await.expect("made without it");
            assert_eq!((stage.spares(), the_spare()), (1, before.clone()));
        }
        [&larger, &other].into_iter().for_each(wait_until_it_answers);
        let memory = run("timeout 20 virsh dominfo a-stateless-1");
        assert!(memory.contains(&format!("{} KiB", larger.hardware.memory_mib * 1024)), "{memory}");
        // One that is of no more use gives way to one that is.
        keep(&driver, &larger, 1).await;
        assert_ne!(the_spare(), before);
        driver.destroy(&larger.purpose.id).await.expect("destroyed");
        driver.create(&larger).await.expect("created");
        assert_eq!(stage.spares(), 0);
        let memory = run(&format!("timeout 20 virsh dominfo a.spare-{}", the_spare()));
        assert!(memory.contains(&format!("{} KiB", larger.hardware.memory_mib * 1024)), "{memory}");
        wait_until_it_answers(&larger);
    });
}

#[test]
fn a_machine_of_a_clouds_image_cannot_be_a_spare() {
    on_stage("own_spares::a_machine_of_a_clouds_image_cannot_be_a_spare", async |stage| {
        let (driver, _ends) = stage.driver();
        run("timeout 20 qemu-img create -q -f qcow2 /run/base.qcow2 16M");
        let mut spec = stage.spec("a-stateless-1", 11, 1);
        spec.hardware.image = "/run/base.qcow2".into();
        let refused = driver.keep_spares(&wanted(&spec, 1)).await.expect_err("no guest of ours");
        assert!(matches!(refused, HypervisorError::Unsupported(_)), "{refused:?}");
        assert!(refused.to_string().contains("leave `spares` out"), "{refused}");
        assert_eq!(directories(), Vec::<String>::new());
    });
}

/// Whatever is wrong with a spare: the machine is made all the same, and nothing is left of the spare.
#[test]
fn a_machine_is_made_without_a_spare_that_does_not_answer() {
    on_stage("own_spares::a_machine_is_made_without_a_spare_that_does_not_answer", async |stage| {
        let (driver, mut ends) = stage.driver();
        let spec = stage.spec("a-stateless-1", 11, 1);
        keep(&driver, &spec, 1).await;
        let (number, processes) = (the_spare(), stage.spare_processes());
        run(&format!("kill -STOP {}", processes[0]));
        driver.create(&spec).await.expect("created");
        assert_eq!(directories(), Vec::<String>::new());
        let left: Vec<String> =
            stage.interfaces().into_iter().filter(|interface| interface.contains(&number)).collect();
        assert_eq!(left, Vec::<String>::new());
        assert!(stage.directory(&spec).join("console.log").is_file());
        wait_until_it_answers(&spec);
        assert!(ends.try_recv().is_err(), "a spare's end is nobody's");
        driver.inject(&spec.purpose.id, wire::cluster::FaultKind::Kill).await.expect("killed");
        assert_eq!(next_end(&mut ends).await.machine, spec.purpose.id);
        driver.destroy(&spec.purpose.id).await.expect("destroyed");
        assert_eq!(stage.remains(&spec), Vec::<String>::new());
    });
}

/// It has forgotten who it is: it must not come back as nobody, and not wait to be missed either.
#[test]
fn one_that_starts_anew_has_ended() {
    on_stage("own_spares::one_that_starts_anew_has_ended", async |stage| {
        let (driver, mut ends) = stage.driver();
        let spec = stage.spec("a-stateless-1", 11, 5);
        keep(&driver, &spec, 1).await;
        driver.create(&spec).await.expect("created");
        wait_until_it_answers(&spec);
        run(&format!("timeout 20 virsh -q reset a.spare-{}", the_spare()));
        let end = next_end(&mut ends).await;
        assert_eq!((&end.machine, end.incarnation), (&spec.purpose.id, 5));
        assert!(!listed(&driver, &spec.purpose.id).await.expect("listed").running);
        driver.destroy(&spec.purpose.id).await.expect("destroyed");
        assert_eq!(stage.remains(&spec), Vec::<String>::new());
        assert_eq!(directories(), Vec::<String>::new());
    });
}

/// The daemon is not needed to make a machine of a spare, and learns of it when it is back.
#[test]
fn a_machine_is_made_of_a_spare_while_the_daemon_is_away() {
    on_stage("own_spares::a_machine_is_made_of_a_spare_while_the_daemon_is_away", async |stage| {
        let (driver, _ends) = stage.driver();
        let spec = stage.spec("a-stateless-1", 11, 1);
        keep(&driver, &spec, 1).await;
        stage.kill_daemon();
        driver.create(&spec).await.expect("created");
        wait_until_it_answers(&spec);
        stage.start_daemon();
        told_by_its_domain(&driver, &spec).await;
        let seen = listed(&driver, &spec.purpose.id).await.expect("listed");
        assert_eq!((order(&seen), seen.running), (spec.purpose.clone(), true));
    });
}

/// Waits until the domain says which machine it is.
async fn told_by_its_domain(driver: &impl Hypervisor, spec: &MachineSpec) {
    let limit = Instant::now() + crate::stage::PATIENCE;
    loop {
        // What was missed is mended with each list.
        driver.list().await.expect("a list");
        let used = driver.usage().await.expect("a reading");
        if used.iter().any(|used| used.machine == spec.purpose.id) {
            return;
        }
        assert!(Instant::now() < limit, "its domain does not say which machine it is");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[test]
fn what_the_disk_lost_the_domain_knows() {
    on_stage("own_spares::what_the_disk_lost_the_domain_knows", async |stage| {
        let (driver, _ends) = stage.driver();
        let spec = stage.spec("a-stateless-1", 11, 1);
        keep(&driver, &spec, 2).await;
        driver.create(&spec).await.expect("created");
        wait_until_it_answers(&spec);
        told_by_its_domain(&driver, &spec).await;
        let process = stage.process(&spec).expect("it runs");
        drop(driver);
        // All that the manager wrote: of the machine, of its body, and of the spare that waits.
        fs::remove_dir_all("/run/state/machines").expect("removed");
        fs::remove_dir_all("/run/state/spares").expect("removed");
        let (driver, _ends) = stage.driver();
        let seen = listed(&driver, &spec.purpose.id).await.expect("listed");
        assert_eq!((order(&seen), seen.running), (spec.purpose.clone(), true));
        assert_eq!(stage.process(&spec), Some(process));
        assert_eq!(stage.spare_processes(), Vec::<i32>::new(), "nobody knows what the other one is for");
        wait_until_it_answers(&spec);
        driver.destroy(&spec.purpose.id).await.expect("destroyed");
        assert_eq!(stage.remains(&spec), Vec::<String>::new());
        assert_eq!(LibvirtStage::domains(), Vec::<String>::new());
    });
}

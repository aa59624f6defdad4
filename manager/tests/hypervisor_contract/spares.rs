//! The contract, fifth part: spares. What is made of one is in nothing unlike any other machine, and one that waits is
//! nobody.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use manager::engine::{MachineSpec, SparesWanted};
use manager::ports::hypervisor::Hypervisor;
use wire::PoolName;
use wire::cluster::FaultKind;

use crate::deaths::silence_after;
use crate::stage::{
    PATIENCE, Stage, ask, eventually, listed, neighbour, next_end, order, wait_until_it_answers,
};

/// So many spares for machines like that of `spec`.
pub(crate) fn wanted(spec: &MachineSpec, count: u32) -> BTreeMap<PoolName, SparesWanted> {
    [(spec.purpose.service.clone(), SparesWanted { count, hardware: spec.hardware.clone() })].into()
}

/// Has so many spares for machines like that of `spec`, and waits until they wait.
pub(crate) async fn keep(driver: &impl Hypervisor, spec: &MachineSpec, count: u32) {
    let (wanted, limit) = (wanted(spec, count), Instant::now() + PATIENCE);
    loop {
        let waiting = driver.keep_spares(&wanted).await.expect("kept");
        if waiting == [(spec.purpose.service.clone(), count)].into() {
            return;
        }
        assert!(Instant::now() < limit, "{count} spares: {waiting:?}");
        sleep(Duration::from_millis(50));
    }
}

async fn keep_none(driver: &impl Hypervisor) {
    assert_eq!(driver.keep_spares(&BTreeMap::new()).await.expect("ended"), BTreeMap::new());
}

pub(crate) async fn a_machine_is_made_of_a_spare_and_is_like_any_other(stage: &impl Stage) {
    let before = stage.interfaces();
    let (driver, mut ends) = stage.driver();
    let spec = stage.spec("a-stateless-1", 11, 3);
    keep(&driver, &spec, 1).await;
    assert_eq!(stage.spares(), 1);
    assert_eq!(driver.list().await.expect("a list"), [], "a spare is no machine");
    assert_eq!(driver.usage().await.expect("a reading"), []);

    driver.create(&spec).await.expect("created");
    assert_eq!(stage.spares(), 0, "it was made of the spare");
    wait_until_it_answers(&spec);
    let mac = spec.mac.map(|byte| format!("{byte:02x}")).join(":");
    assert_eq!(neighbour(spec.purpose.address), Some(mac));
    let seen = listed(&driver, &spec.purpose.id).await.expect("listed");
    assert!(seen.running);
    assert_eq!(order(&seen), spec.purpose);
    eventually_used(&driver, &spec).await;
    let again = driver.create(&stage.spec("a-stateless-1", 11, 4)).await;
    assert!(again.is_err(), "it is there");

    // Its program is its own, and ends and starts as that of others.
    let address = spec.purpose.address;
    assert_eq!(ask("POST", address, "/count").expect("counted").body, r#"{"posts":1}"#);
    driver.inject(&spec.purpose.id, FaultKind::StopProcess).await.expect("stopped");
    eventually("a new program answers", || {
        ask("GET", address, "/count").is_ok_and(|answer| answer.body == r#"{"posts":0}"#)
    });
    assert!(!driver.console(&spec.purpose.id, 1 << 20).await.expect("a console").is_empty());
    assert!(ends.try_recv().is_err(), "the machine did not end");
    driver.shutdown(&spec.purpose.id).await.expect("stopped");
    let end = next_end(&mut ends).await;
    assert_eq!((&end.machine, end.incarnation), (&spec.purpose.id, 3));
    assert!(!listed(&driver, &spec.purpose.id).await.expect("listed").running);
    driver.destroy(&spec.purpose.id).await.expect("destroyed");
    assert_eq!(stage.remains(&spec), Vec::<String>::new());
    assert!(!driver.console(&spec.purpose.id, 1 << 20).await.expect("what it wrote").is_empty());
    assert_eq!(stage.interfaces(), before);
}

async fn eventually_used(driver: &impl Hypervisor, spec: &MachineSpec) {
    let limit = Instant::now() + PATIENCE;
    loop {
        let used = driver.usage().await.expect("a reading");
        if used
            .iter()
            .any(|used| (&used.machine, used.incarnation) == (&spec.purpose.id, spec.purpose.incarnation))
        {
            return;
        }
        assert!(Instant::now() < limit, "what it uses is not told: {used:?}");
        sleep(Duration::from_millis(50));
    }
}

pub(crate) async fn nothing_comes_from_what_was_a_spare_when_it_is_dead(stage: &impl Stage) {
    let (driver, mut ends) = stage.driver();
    let spec = stage.spec("a-stateless-1", 11, 1);
    let id = &spec.purpose.id;
    for (incarnation, harm) in [(1, FaultKind::Freeze), (2, FaultKind::Kill)] {
        let spec = stage.spec("a-stateless-1", 11, incarnation);
        keep(&driver, &spec, 1).await;
        driver.create(&spec).await.expect("created");
        wait_until_it_answers(&spec);
        silence_after(&spec, async || driver.inject(id, harm).await).await;
        if harm == FaultKind::Freeze {
            driver.inject(id, FaultKind::Thaw).await.expect("thawed");
            wait_until_it_answers(&spec);
            assert!(ends.try_recv().is_err(), "it never ended");
            silence_after(&spec, async || driver.destroy(id).await).await;
        } else {
            driver.destroy(id).await.expect("destroyed");
        }
        let end = next_end(&mut ends).await;
        assert_eq!((&end.machine, end.incarnation), (id, incarnation));
        assert_eq!(stage.remains(&spec), Vec::<String>::new());
    }
    // Its address is used again at once, by one that was a spare and by one that was not.
    for incarnation in [3, 4] {
        let spec = stage.spec("a-stateless-2", 11, incarnation);
        if incarnation == 3 {
            keep(&driver, &spec, 1).await;
        }
        driver.create(&spec).await.expect("created");
        wait_until_it_answers(&spec);
        driver.destroy(&spec.purpose.id).await.expect("destroyed");
    }
}

pub(crate) async fn the_next_driver_adopts_what_was_made_of_a_spare(stage: &impl Stage) {
    let (first, ends) = stage.driver();
    let spec = stage.spec("a-stateless-1", 11, 7);
    keep(&first, &spec, 2).await;
    first.create(&spec).await.expect("created");
    wait_until_it_answers(&spec);
    assert_eq!(ask("POST", spec.purpose.address, "/count").expect("counted").body, r#"{"posts":1}"#);
    drop((first, ends));

    let (second, mut ends) = stage.driver();
    for _ in 0..3 {
        let machines = second.list().await.expect("a list");
        let seen: Vec<_> = machines.iter().map(|seen| (order(seen), seen.running)).collect();
        assert_eq!(seen, [(spec.purpose.clone(), true)]);
    }
    // Nor is it touched when spares are looked after.
    keep(&second, &spec, 1).await;
    keep_none(&second).await;
    assert_eq!(stage.spares(), 0);
    assert_eq!(ask("GET", spec.purpose.address, "/count").expect("it lives on").body, r#"{"posts":1}"#);
    second.inject(&spec.purpose.id, FaultKind::Kill).await.expect("killed");
    let end = next_end(&mut ends).await;
    assert_eq!((&end.machine, end.incarnation), (&spec.purpose.id, 7));
    assert!(ends.try_recv().is_err(), "told twice");
    second.destroy(&spec.purpose.id).await.expect("destroyed");
    assert_eq!(stage.remains(&spec), Vec::<String>::new());
}

pub(crate) async fn spares_end_with_their_need(stage: &impl Stage) {
    let before = stage.interfaces();
    let (driver, _ends) = stage.driver();
    let spec = stage.spec("a-stateless-1", 11, 1);
    keep(&driver, &spec, 2).await;
    assert_eq!(stage.spares(), 2);
    keep(&driver, &spec, 1).await;
    assert_eq!(stage.spares(), 1);
    keep_none(&driver).await;
    assert_eq!(stage.spares(), 0);
    assert_eq!(stage.interfaces(), before);
    driver.create(&spec).await.expect("made without one");
    wait_until_it_answers(&spec);
}

pub(crate) async fn a_spare_that_died_is_not_used_and_missed(stage: &impl Stage) {
    let (driver, mut ends) = stage.driver();
    let spec = stage.spec("a-stateless-1", 11, 1);
    keep(&driver, &spec, 1).await;
    stage.kill_spares();
    eventually("it is dead", || stage.spares() == 0);
    driver.create(&spec).await.expect("made without it");
    wait_until_it_answers(&spec);
    keep(&driver, &spec, 1).await;
    assert_eq!(stage.spares(), 1, "another one");
    assert!(ends.try_recv().is_err(), "a spare's end is nobody's");
}

pub(crate) async fn what_keeps_its_disk_is_never_made_of_a_spare(stage: &impl Stage) {
    let (driver, _ends) = stage.driver();
    let spec = MachineSpec { persistent: true, ..stage.spec("a-stateless-1", 11, 1) };
    keep(&driver, &spec, 1).await;
    // Not every image has a disk that could be kept.
    let _ = driver.create(&spec).await;
    assert_eq!(stage.spares(), 1, "the spare is left");
    driver.destroy(&spec.purpose.id).await.expect("destroyed");
    assert_eq!(stage.spares(), 1);
}

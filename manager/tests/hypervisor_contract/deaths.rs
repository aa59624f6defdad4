//! The contract, second part: what it means that a machine is killed, frozen or destroyed. Balancers
//! take its silence for death, and its address is given to the next one.

use std::io::Write;
use std::time::{Duration, Instant, SystemTime};

use manager::engine::MachineSpec;
use manager::ports::hypervisor::{Hypervisor, HypervisorError};
use wire::MachineId;
use wire::cluster::FaultKind;

use crate::stage::{
    Stage, eventually, forget_neighbours, knock, listed, next_end, send, wait_until_it_answers,
};
use crate::tap::Tap;

/// Long enough for a retransmission, for a keep-alive of the sample service and for ARP to be repeated.
const SILENCE: Duration = Duration::from_millis(1500);

pub(crate) async fn nothing_comes_from_a_killed_machine(stage: &impl Stage) {
    let (driver, mut ends) = stage.driver();
    let spec = stage.spec("a-stateless-1", 11, 3);
    driver.create(&spec).await.expect("created");
    wait_until_it_answers(&spec);
    silence_after(&spec, async || driver.inject(&spec.purpose.id, FaultKind::Kill).await).await;
    let end = next_end(&mut ends).await;
    assert_eq!((end.machine, end.incarnation), (spec.purpose.id.clone(), 3));
    for fault in [FaultKind::Kill, FaultKind::Freeze, FaultKind::Thaw, FaultKind::StopProcess] {
        let harmed = driver.inject(&spec.purpose.id, fault).await;
        assert!(matches!(harmed, Err(HypervisorError::NotRunning)), "{fault:?}: {harmed:?}");
    }
}

pub(crate) async fn nothing_comes_from_a_frozen_machine_until_it_thaws(stage: &impl Stage) {
    let (driver, mut ends) = stage.driver();
    let spec = stage.spec("a-stateless-1", 11, 1);
    driver.create(&spec).await.expect("created");
    wait_until_it_answers(&spec);
    for _ in 0..2 {
        silence_after(&spec, async || driver.inject(&spec.purpose.id, FaultKind::Freeze).await).await;
        assert!(listed(&driver, &spec.purpose.id).await.expect("listed").running);
        driver.inject(&spec.purpose.id, FaultKind::Thaw).await.expect("thawed");
        wait_until_it_answers(&spec);
    }
    assert!(ends.try_recv().is_err(), "it never ended");
}

pub(crate) async fn nothing_comes_from_a_destroyed_machine(stage: &impl Stage) {
    let (driver, _ends) = stage.driver();
    let spec = stage.spec("a-stateless-1", 11, 1);
    driver.create(&spec).await.expect("created");
    wait_until_it_answers(&spec);
    silence_after(&spec, async || driver.destroy(&spec.purpose.id).await).await;
}

/// Has connections open to a machine in every state that makes a kernel speak when they are cut off,
/// harms the machine, and makes sure that then nothing at all comes from it any more.
pub(crate) async fn silence_after(
    spec: &MachineSpec,
    harm: impl AsyncFnOnce() -> Result<(), HypervisorError>,
) {
    let address = spec.purpose.address;
    let tap = Tap::open();
    let listening = SystemTime::now();
    // One that sends now and then, one that has more to send than is taken, and one half way through a
    // request.
    let mut open = [
        send("GET", address, "/heartbeat").expect("a stream"),
        send("GET", address, "/bytes/100000000").expect("a stream"),
        send("GET", address, "/stress?seconds=1").expect("a request"),
    ];
    wait_until_it_answers(spec);
    eventually("the tap hears a machine that lives", || !tap.heard(spec.mac, listening).is_empty());

    harm().await.expect("harmed");
    let harmed = SystemTime::now();
    let since = Instant::now();
    while since.elapsed() < SILENCE {
        forget_neighbours();
        for stream in &mut open {
            // A connection without a peer may fail for reasons of this host's own.
            let _ = stream.write(b"GET / HTTP/1.1\r\n");
        }
        assert!(!knock(address), "somebody answered, or refused");
    }
    assert_eq!(tap.heard(spec.mac, harmed), [], "from a dead machine");
}

pub(crate) async fn destroying_leaves_nothing_and_may_be_repeated(stage: &impl Stage) {
    let before = stage.interfaces();
    let (driver, _ends) = stage.driver();
    let never: MachineId = "a-stateless-9".into();
    driver.destroy(&never).await.expect("what never was is gone");

    for harm in [None, Some(FaultKind::Kill), Some(FaultKind::Freeze), Some(FaultKind::StopProcess)] {
        let spec = stage.spec("a-stateless-1", 11, 1);
        driver.create(&spec).await.expect("created");
        assert_ne!(stage.remains(&spec), Vec::<String>::new(), "there is something to remove");
        if let Some(harm) = harm {
            if harm == FaultKind::StopProcess {
                // A guest must have started to be told.
                wait_until_it_answers(&spec);
            }
            driver.inject(&spec.purpose.id, harm).await.expect("harmed");
        }
        for _ in 0..2 {
            driver.destroy(&spec.purpose.id).await.expect("destroyed");
            assert_eq!(stage.remains(&spec), Vec::<String>::new(), "after {harm:?}");
            assert_eq!(driver.list().await.expect("a list"), []);
        }
    }
    assert_eq!(stage.interfaces(), before);
}

pub(crate) async fn an_address_is_used_again_at_once(stage: &impl Stage) {
    let (driver, mut ends) = stage.driver();
    for incarnation in 1..=3 {
        let spec = stage.spec("a-stateless-1", 11, incarnation);
        driver.create(&spec).await.expect("created");
        wait_until_it_answers(&spec);
        driver.inject(&spec.purpose.id, FaultKind::Kill).await.expect("killed");
        let end = next_end(&mut ends).await;
        assert_eq!(end.incarnation, incarnation, "each build tells of its own end");
        driver.destroy(&spec.purpose.id).await.expect("destroyed");
    }
    // And by a machine of another name.
    let other = stage.spec("a-stateless-2", 11, 4);
    driver.create(&other).await.expect("created");
    wait_until_it_answers(&other);
}

//! The contract, third part: what cannot be done says why and leaves nothing, and what belongs to
//! others is left alone.

use manager::engine::MachineSpec;
use manager::ports::hypervisor::{Hypervisor, HypervisorError};
use wire::MachineId;
use wire::cluster::Condition;

use crate::stage::{Stage, listed, wait_until_it_answers};

pub(crate) async fn a_missing_bridge_is_named_and_nothing_is_left(stage: &impl Stage) {
    let driver = stage.driver_without_bridge();
    let spec = stage.spec("a-stateless-1", 11, 1);
    fails_and_leaves_nothing(stage, &driver, &spec, Condition::MissingBridge, "br9").await;
}

pub(crate) async fn a_missing_program_is_named_and_nothing_is_left(stage: &impl Stage) {
    let (driver, spec) = stage.without_programs();
    fails_and_leaves_nothing(stage, &driver, &spec, Condition::MissingImage, "/nowhere/stateless").await;
}

async fn fails_and_leaves_nothing(
    stage: &impl Stage,
    driver: &impl Hypervisor,
    spec: &MachineSpec,
    condition: Condition,
    named: &str,
) {
    let before = stage.interfaces();
    let error = driver.create(spec).await.expect_err("it cannot be made");
    assert_eq!(error.condition(), Some(condition), "{error:?}");
    let reason = error.to_string();
    assert!(reason.contains(named), "{reason}");
    assert!(reason.len() < 400 && !reason.contains("panicked"), "for people: {reason}");
    // A manager that asks what there is meanwhile must not be told that it runs.
    assert!(!listed(driver, &spec.purpose.id).await.is_some_and(|machine| machine.running));
    driver.destroy(&spec.purpose.id).await.expect("destroyed");
    assert_eq!(stage.remains(spec), Vec::<String>::new());
    assert_eq!(stage.interfaces(), before);

    // What was missing is there again: nothing stands in the way.
    let (driver, _ends) = stage.driver();
    let spec = stage.spec("a-stateless-1", 11, 1);
    driver.create(&spec).await.expect("created");
    wait_until_it_answers(&spec);
}

pub(crate) async fn what_belongs_to_others_is_left_alone(stage: &impl Stage) {
    let (ours, mut ends) = stage.driver();
    let theirs = stage.another_managers_driver();
    let foreign = stage.spec("a-stateless-1", 21, 1);
    theirs.create(&foreign).await.expect("created");
    let interfaces = stage.interfaces();

    // The same name, in another manager's care.
    assert_eq!(ours.list().await.expect("a list"), []);
    ours.destroy(&foreign.purpose.id).await.expect("nothing of ours");
    let gone = ours.shutdown(&foreign.purpose.id).await;
    assert!(matches!(gone, Err(HypervisorError::NotRunning)), "{gone:?}");
    wait_until_it_answers(&foreign);

    let own = stage.spec("a-stateless-2", 11, 1);
    ours.create(&own).await.expect("created");
    wait_until_it_answers(&own);
    ours.destroy(&own.purpose.id).await.expect("destroyed");
    assert_eq!(stage.interfaces(), interfaces);
    wait_until_it_answers(&foreign);
    assert!(listed(&theirs, &foreign.purpose.id).await.expect("listed").running);
    while let Ok(end) = ends.try_recv() {
        assert_eq!(end.incarnation, own.purpose.incarnation);
    }
}

pub(crate) async fn unknown_machines_are_not_running(stage: &impl Stage) {
    let (driver, _ends) = stage.driver();
    let nobody: MachineId = "a-stateless-9".into();
    let stopped = driver.shutdown(&nobody).await;
    assert!(matches!(stopped, Err(HypervisorError::NotRunning)), "{stopped:?}");
    let killed = driver.inject(&nobody, wire::cluster::FaultKind::Kill).await;
    assert!(matches!(killed, Err(HypervisorError::NotRunning)), "{killed:?}");
}

/// Were the bridge's MAC address to follow its ports', every machine made or destroyed could cut the
/// others off from the host until their neighbour tables find out, seconds later.
pub(crate) async fn machines_do_not_change_what_the_host_is_known_by(stage: &impl Stage) {
    let before = stage.interfaces();
    let (driver, _ends) = stage.driver();
    let specs = (11..=20).map(|last| stage.spec(&format!("a-stateless-{last}"), last, 1));
    for spec in specs.collect::<Vec<_>>() {
        driver.create(&spec).await.expect("created");
        let now = stage.interfaces();
        assert!(before.iter().all(|interface| now.contains(interface)), "{before:#?} became {now:#?}");
    }
}

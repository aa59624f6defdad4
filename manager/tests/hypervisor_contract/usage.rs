//! The contract, fourth part: what machines use of processors and memory is told, and is what they use.

use std::time::Duration;

use manager::engine::ObservedUsage;
use manager::ports::hypervisor::Hypervisor;
use wire::MachineId;
use wire::cluster::FaultKind;

use crate::stage::{Stage, ask, eventually, wait_until_it_answers};

/// Less than any machine that serves has.
const SOME_MEMORY: u64 = 1 << 20;

/// What a machine uses, if its driver tells.
async fn used(driver: &impl Hypervisor, id: &MachineId) -> Option<ObservedUsage> {
    driver.usage().await.expect("a reading").into_iter().find(|used| used.machine == *id)
}

pub(crate) async fn what_a_machine_uses_is_told(stage: &impl Stage) {
    let (driver, _ends) = stage.driver();
    assert_eq!(driver.usage().await.expect("a reading"), []);
    let specs = [stage.spec("a-stateless-1", 11, 1), stage.spec("a-stateless-2", 12, 7)];
    for spec in &specs {
        driver.create(spec).await.expect("created");
        wait_until_it_answers(spec);
    }
    let [busy, idle] = specs.each_ref().map(|spec| &spec.purpose.id);
    let [busy_before, idle_before] =
        [used(&driver, busy).await, used(&driver, idle).await].map(|used| used.expect("told"));
    assert_eq!((busy_before.incarnation, idle_before.incarnation), (1, 7));
    for used in [&busy_before, &idle_before] {
        let memory = u64::from(specs[0].hardware.memory_mib) << 20;
        assert!((SOME_MEMORY..4 * memory).contains(&used.memory_bytes), "{used:?}");
    }

    // One of them works for a second of processor time; that is its own, and the next driver knows it too.
    let second = busy_before.cpu + Duration::from_secs(1);
    let (started, mut busy_after) = (busy_before.cpu, busy_before);
    for _ in 0..60 {
        ask("GET", specs[0].purpose.address, "/burn?millis=500").expect("burnt");
        let now = used(&driver, busy).await.expect("told");
        assert!(now.cpu >= busy_after.cpu, "{now:?} after {busy_after:?}");
        busy_after = now;
        if busy_after.cpu >= second {
            break;
        }
    }
    assert!(busy_after.cpu >= second, "{busy_after:?}");
    let (next, _ends) = stage.driver();
    next.list().await.expect("a list");
    assert!(used(&next, busy).await.expect("told").cpu >= second);
    let idle_after = used(&next, idle).await.expect("told");
    let spent = [idle_after.cpu - idle_before.cpu, busy_after.cpu - started];
    assert!(spent[0] < spent[1], "{spent:?}");

    // Of others' machines nothing is told, and of one that is gone neither.
    assert_eq!(stage.another_managers_driver().usage().await.expect("a reading"), []);
    driver.destroy(busy).await.expect("destroyed");
    assert_eq!(used(&driver, busy).await, None);
    assert!(used(&driver, idle).await.is_some());
}

pub(crate) async fn what_a_program_used_that_ended_is_not_forgotten(stage: &impl Stage) {
    let (driver, _ends) = stage.driver();
    let spec = stage.spec("a-stateless-1", 11, 1);
    let (id, address) = (&spec.purpose.id, spec.purpose.address);
    driver.create(&spec).await.expect("created");
    wait_until_it_answers(&spec);
    ask("GET", address, "/burn?millis=1000").expect("burnt");
    assert_eq!(ask("POST", address, "/count").expect("counted").body, r#"{"posts":1}"#);
    let before = used(&driver, id).await.expect("told");
    driver.inject(id, FaultKind::StopProcess).await.expect("stopped");
    eventually("a new program answers", || {
        ask("GET", address, "/count").is_ok_and(|answer| answer.body == r#"{"posts":0}"#)
    });
    let after = used(&driver, id).await.expect("told");
    assert!(after.cpu >= before.cpu, "{after:?} after {before:?}");
}

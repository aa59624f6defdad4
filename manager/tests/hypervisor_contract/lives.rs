//! The contract, first part: machines are made, found again by the next manager, and stopped.

use std::io::Read;
use std::thread::sleep;
use std::time::{Duration, Instant};

use manager::ports::hypervisor::{Hypervisor, HypervisorError};
use wire::cluster::FaultKind;

use crate::stage::{Stage, ask, eventually, listed, neighbour, next_end, order, send, wait_until_it_answers};

pub(crate) async fn a_machine_answers_at_its_address_with_its_mac(stage: &impl Stage) {
    let (driver, _ends) = stage.driver();
    assert_eq!(driver.list().await.expect("a list"), []);
    let spec = stage.spec("a-stateless-1", 11, 1);
    driver.create(&spec).await.expect("created");
    wait_until_it_answers(&spec);
    let mac = spec.mac.map(|byte| format!("{byte:02x}")).join(":");
    assert_eq!(neighbour(spec.purpose.address), Some(mac));
    let seen = listed(&driver, &spec.purpose.id).await.expect("listed");
    assert!(seen.running);
    assert_eq!(order(&seen), spec.purpose);
}

pub(crate) async fn the_next_driver_adopts_machines_and_watches_them(stage: &impl Stage) {
    let (first, ends) = stage.driver();
    let specs = [stage.spec("a-stateless-1", 11, 1), stage.spec("a-stateless-2", 12, 7)];
    for spec in &specs {
        first.create(spec).await.expect("created");
        wait_until_it_answers(spec);
    }
    drop((first, ends));

    let (second, mut ends) = stage.driver();
    // Looking again must not make it tell twice.
    for _ in 0..3 {
        let machines = second.list().await.expect("a list");
        let purposes: Vec<_> = machines.iter().map(order).collect();
        assert_eq!(purposes, specs.each_ref().map(|spec| spec.purpose.clone()));
        assert!(machines.iter().all(|machine| machine.running));
    }
    for spec in &specs {
        assert_eq!(ask("GET", spec.purpose.address, "/health/live").expect("it lives on").status / 100, 2);
    }

    second.inject(&specs[1].purpose.id, FaultKind::Kill).await.expect("killed");
    let end = next_end(&mut ends).await;
    assert_eq!((&end.machine, end.incarnation), (&specs[1].purpose.id, 7));
    assert!(!listed(&second, &specs[1].purpose.id).await.expect("still listed").running);
    assert!(listed(&second, &specs[0].purpose.id).await.expect("listed").running);
    assert!(ends.try_recv().is_err(), "told twice");
}

pub(crate) async fn a_machine_that_exists_is_not_created_again(stage: &impl Stage) {
    let (driver, mut ends) = stage.driver();
    let spec = stage.spec("a-stateless-1", 11, 1);
    driver.create(&spec).await.expect("created");
    wait_until_it_answers(&spec);
    let again = driver.create(&stage.spec("a-stateless-1", 11, 2)).await;
    assert!(matches!(again, Err(HypervisorError::Exists)), "{again:?}");
    assert_eq!(listed(&driver, &spec.purpose.id).await.expect("listed").purpose.incarnation, 1);
    wait_until_it_answers(&spec);

    // Nor after it died: what is left of it must be fenced first.
    driver.inject(&spec.purpose.id, FaultKind::Kill).await.expect("killed");
    next_end(&mut ends).await;
    let again = driver.create(&spec).await;
    assert!(matches!(again, Err(HypervisorError::Exists)), "{again:?}");
}

pub(crate) async fn an_orderly_stop_lets_requests_finish(stage: &impl Stage) {
    let (driver, mut ends) = stage.driver();
    let spec = stage.spec("a-stateless-1", 11, 1);
    driver.create(&spec).await.expect("created");
    wait_until_it_answers(&spec);
    let mut slow = send("GET", spec.purpose.address, "/stress?seconds=1").expect("asked");
    // The request must have arrived before the stop does.
    eventually("the slow request began", || {
        ask("GET", spec.purpose.address, "/metrics").is_ok_and(|answer| {
            answer.body.contains("stateless_executions_total{method=\"GET\",route=\"/stress\"} 1")
        })
    });

    let asked = Instant::now();
    driver.shutdown(&spec.purpose.id).await.expect("stopped");
    // Had the program not been told, the driver would have run out of patience after many seconds.
    assert!(asked.elapsed() < Duration::from_secs(8), "{:?}", asked.elapsed());
    let mut answer = String::new();
    slow.read_to_string(&mut answer).expect("the whole answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(!listed(&driver, &spec.purpose.id).await.expect("listed").running);
    assert_eq!(next_end(&mut ends).await.machine, spec.purpose.id);
    let again = driver.shutdown(&spec.purpose.id).await;
    assert!(matches!(again, Err(HypervisorError::NotRunning)), "{again:?}");

    driver.destroy(&spec.purpose.id).await.expect("destroyed");
    assert_eq!(stage.remains(&spec), Vec::<String>::new());
}

pub(crate) async fn a_stopped_program_is_started_again_in_the_same_machine(stage: &impl Stage) {
    let (driver, mut ends) = stage.driver();
    let spec = stage.spec("a-stateless-1", 11, 1);
    let address = spec.purpose.address;
    driver.create(&spec).await.expect("created");
    wait_until_it_answers(&spec);
    // The program counts in memory: a new one has forgotten.
    assert_eq!(ask("POST", address, "/count").expect("counted").body, r#"{"posts":1}"#);
    driver.inject(&spec.purpose.id, FaultKind::StopProcess).await.expect("stopped");
    eventually("a new program answers", || {
        ask("GET", address, "/count").is_ok_and(|answer| answer.body == r#"{"posts":0}"#)
    });
    let seen = listed(&driver, &spec.purpose.id).await.expect("listed");
    assert!(seen.running && order(&seen) == spec.purpose);
    sleep(Duration::from_millis(200));
    assert!(ends.try_recv().is_err(), "the machine did not end");
}

pub(crate) async fn the_console_is_read_from_its_end(stage: &impl Stage) {
    let (driver, _ends) = stage.driver();
    let spec = stage.spec("a-stateless-1", 11, 1);
    driver.create(&spec).await.expect("created");
    wait_until_it_answers(&spec);
    // It may still be writing while it answers already.
    let whole = loop {
        let whole = driver.console(&spec.purpose.id, 1 << 20).await.expect("a console");
        sleep(Duration::from_millis(100));
        if !whole.is_empty() && driver.console(&spec.purpose.id, 1 << 20).await.expect("a console") == whole {
            break whole;
        }
    };
    let end = driver.console(&spec.purpose.id, 10).await.expect("a console");
    assert!(end.len() <= 10 && whole.ends_with(&end), "{end:?} of {whole:?}");
    let nobody = driver.console(&"a-stateless-9".into(), 10).await;
    assert!(matches!(nobody, Err(HypervisorError::NotRunning)), "{nobody:?}");
}

//! An orderly stop: readiness first, then the requests in progress, then the process.

use std::io::Read;
use std::net::TcpStream;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::process::Service;

#[tokio::test]
async fn a_stop_ends_heartbeats_and_readiness_at_once_and_lets_requests_finish() {
    let mut service = Service::start("drain_ms = 1500");
    assert_eq!(service.get("/health/ready").await.status(), 200);
    let mut beats = service.get("/heartbeat").await;
    assert!(beats.chunk().await.unwrap().is_some());
    // Longer than the drain, so that it is finished by the second half of the stop.
    let work = tokio::spawn(reqwest::get(service.url("/stress?seconds=2")));
    while !service.get("/metrics").await.text().await.unwrap().contains(r#"route="/stress""#) {}

    service.signal(Signal::SIGTERM);
    while beats.chunk().await.unwrap().is_some() {}
    assert_eq!(service.get("/health/ready").await.status(), 503);
    assert_eq!(service.get("/heartbeat").await.status(), 503);
    assert_eq!(service.get("/health/live").await.status(), 200);
    assert_eq!(service.get("/random/number").await.status(), 200, "still answers while draining");

    assert_eq!(work.await.unwrap().unwrap().status(), 200, "the request in progress was finished");
    assert_eq!(service.wait().code(), Some(0));
}

#[test]
fn idle_connections_do_not_hold_the_stop_up() {
    let mut service = Service::start("drain_ms = 0");
    let mut silent = TcpStream::connect(&service.address).unwrap();
    silent.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    service.signal(Signal::SIGINT);
    assert_eq!(silent.read(&mut [0]).unwrap(), 0, "closed well before the stop's own limit");
    assert_eq!(service.wait().code(), Some(0));
}

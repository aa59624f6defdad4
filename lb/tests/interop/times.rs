//! What is about time: priority 0 is faster than silence, and silence is measured in the holder's own
//! intervals.

use std::time::Duration;

use crate::keepalived::Keepalived;
use crate::ours::Ours;
use crate::stage::in_namespaces;
use crate::voice::Voice;

const SECOND: Duration = Duration::from_secs(1);
const FAST: Duration = Duration::from_millis(100);

/// With adverts every second silence takes more than three; whoever takes over sooner was told.
const TOLD: Duration = Duration::from_secs(2);

#[test]
fn our_priority_0_hands_over_to_keepalived() {
    in_namespaces("times::our_priority_0_hands_over_to_keepalived", |segment| {
        let voice = Voice::every(SECOND);
        let mut ours = Ours::start("ours", 10, 240, &voice, "");
        ours.takes_over();
        let keepalived = Keepalived::start("keepalived", 20, 230, &voice, "nopreempt");
        keepalived.is_backup();
        let started = segment.capture.now();
        segment.capture.claim(ours.port.address, started);

        let stopped = segment.capture.now();
        ours.stops();
        let released = segment.capture.advert(ours.port.address, 0, stopped);
        let taken = segment.capture.advert(keepalived.port.address, 230, stopped);
        assert!(released.at < taken.at && taken.at - released.at < TOLD, "{released:?} {taken:?}");
        segment.settles_on(&keepalived.port, &[&ours.port, &keepalived.port], 2 * SECOND);
    });
}

#[test]
fn its_priority_0_hands_over_to_ours() {
    in_namespaces("times::its_priority_0_hands_over_to_ours", |segment| {
        let voice = Voice::every(SECOND);
        let mut keepalived = Keepalived::start("keepalived", 20, 240, &voice, "nopreempt");
        keepalived.takes_over();
        let ours = Ours::start("ours", 10, 230, &voice, "");
        ours.listens_to(&keepalived.port);

        let stopped = segment.capture.now();
        keepalived.stops();
        let released = segment.capture.advert(keepalived.port.address, 0, stopped);
        let taken = segment.capture.advert(ours.port.address, 230, stopped);
        assert!(released.at < taken.at && taken.at - released.at < TOLD, "{released:?} {taken:?}");
        segment.settles_on(&ours.port, &[&ours.port, &keepalived.port], 2 * SECOND);
    });
}

/// Ours would advertise every 100 ms, keepalived does every second: ours waits for three seconds of
/// silence, not for three of its own intervals.
#[test]
fn ours_learns_the_longer_interval() {
    in_namespaces("times::ours_learns_the_longer_interval", |segment| {
        let mut keepalived = Keepalived::start("keepalived", 20, 240, &Voice::every(SECOND), "nopreempt");
        keepalived.takes_over();
        let ours = Ours::start("ours", 10, 230, &Voice::every(FAST), "");
        ours.listens_to(&keepalived.port);
        segment.settles_on(&keepalived.port, &[&ours.port, &keepalived.port], 4 * SECOND);
        assert!(ours.unmoved_for() >= 4 * SECOND);

        let died = segment.capture.now();
        keepalived.dies();
        ours.takes_over();
        let silence = segment.capture.silence(keepalived.port.address, ours.port.address, died);
        assert!(silence >= 3 * SECOND, "{silence:?}");
    });
}

/// And the other way round: ours would advertise every second, keepalived does every 100 ms, and is missed
/// before one of our own intervals is over.
#[test]
fn ours_learns_the_shorter_interval() {
    in_namespaces("times::ours_learns_the_shorter_interval", |segment| {
        let mut keepalived = Keepalived::start("keepalived", 20, 240, &Voice::every(FAST), "nopreempt");
        keepalived.takes_over();
        let ours = Ours::start("ours", 10, 230, &Voice::every(SECOND), "");
        ours.listens_to(&keepalived.port);

        let died = segment.capture.now();
        keepalived.dies();
        ours.takes_over();
        let silence = segment.capture.silence(keepalived.port.address, ours.port.address, died);
        assert!(silence >= 3 * FAST && silence < 3 * SECOND, "{silence:?}");
    });
}

/// keepalived too learns from what our adverts say.
#[test]
fn keepalived_learns_our_longer_interval() {
    in_namespaces("times::keepalived_learns_our_longer_interval", |segment| {
        let mut ours = Ours::start("ours", 10, 240, &Voice::every(SECOND), "");
        ours.takes_over();
        let keepalived = Keepalived::start("keepalived", 20, 230, &Voice::every(FAST), "nopreempt");
        let both = [&ours.port, &keepalived.port];
        segment.settles_on(&ours.port, &both, 4 * SECOND);

        let died = segment.capture.now();
        ours.dies();
        keepalived.takes_over();
        let silence = segment.capture.silence(ours.port.address, keepalived.port.address, died);
        assert!(silence >= 3 * SECOND, "{silence:?}");
    });
}

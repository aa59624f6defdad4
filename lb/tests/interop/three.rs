//! Three routers of both kinds on one segment: whoever goes, exactly one of those that are left takes over,
//! and all listen to it.

use std::time::Duration;

use crate::keepalived::Keepalived;
use crate::ours::Ours;
use crate::stage::in_namespaces;
use crate::voice::{INTERVAL, Voice};

const STEADY: Duration = INTERVAL.saturating_mul(8);

#[test]
fn two_of_ours_and_a_keepalived() {
    in_namespaces("three::two_of_ours_and_a_keepalived", |segment| {
        let voice = Voice::usual();
        let mut first = Ours::start("first", 10, 240, &voice, "");
        first.takes_over();
        let mut second = Ours::start("second", 20, 230, &voice, "");
        let keepalived = Keepalived::start("keepalived", 30, 220, &voice, "nopreempt");
        second.listens_to(&first.port);
        keepalived.is_backup();
        segment.settles_on(&first.port, &[&first.port, &second.port, &keepalived.port], STEADY);

        // Of those that miss it the one of the highest priority is the first to say so.
        first.dies();
        let left = [&second.port, &keepalived.port];
        segment.settles_on(&second.port, &left, STEADY);
        keepalived.is_backup();

        let stopped = segment.capture.now();
        second.stops();
        segment.capture.advert(second.port.address, 0, stopped);
        segment.settles_on(&keepalived.port, &[&second.port, &keepalived.port], STEADY);

        // The dead one comes back last, and waits its turn.
        first.port.heal();
        first.starts_again();
        first.listens_to(&keepalived.port);
        segment.settles_on(&keepalived.port, &[&first.port, &second.port, &keepalived.port], STEADY);
    });
}

#[test]
fn two_keepaliveds_and_one_of_ours() {
    in_namespaces("three::two_keepaliveds_and_one_of_ours", |segment| {
        let voice = Voice::usual();
        let mut first = Keepalived::start("first", 10, 250, &voice, "nopreempt");
        first.takes_over();
        let mut ours = Ours::start("ours", 20, 240, &voice, "");
        let second = Keepalived::start("second", 30, 230, &voice, "nopreempt");
        ours.listens_to(&first.port);
        second.is_backup();
        segment.settles_on(&first.port, &[&first.port, &ours.port, &second.port], STEADY);

        let stopped = segment.capture.now();
        first.stops();
        segment.capture.advert(first.port.address, 0, stopped);
        segment.settles_on(&ours.port, &[&first.port, &ours.port, &second.port], STEADY);
        second.is_backup();

        ours.dies();
        let left = [&first.port, &second.port];
        segment.settles_on(&second.port, &left, STEADY);

        ours.port.heal();
        ours.starts_again();
        ours.listens_to(&second.port);
        segment.settles_on(&second.port, &[&first.port, &ours.port, &second.port], STEADY);
    });
}

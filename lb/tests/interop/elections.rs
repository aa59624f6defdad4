//! One of ours and one keepalived: who holds the address, and who takes it when the other is gone.

use std::time::Duration;

use vrrp::fitness::FIT_FROM;

use crate::keepalived::Keepalived;
use crate::ours::Ours;
use crate::stage::{Segment, in_namespaces};
use crate::voice::{INTERVAL, Voice};

/// What has to stay so for as long as a silent holder would be missed twice.
const STEADY: Duration = INTERVAL.saturating_mul(8);

/// Ours holds the address, keepalived listens; then ours dies, keepalived takes over, and ours comes back as
/// its backup.
fn ours_is_master(segment: &Segment, voice: &Voice) {
    let mut ours = Ours::start("ours", 10, 240, voice, "");
    ours.takes_over();
    let keepalived = Keepalived::start("keepalived", 20, 230, voice, "nopreempt");
    keepalived.is_backup();
    segment.settles_on(&ours.port, &[&ours.port, &keepalived.port], STEADY);
    assert_eq!(keepalived.states(), ["BACKUP"], "it never thought otherwise");

    let died = segment.capture.now();
    ours.dies();
    keepalived.takes_over();
    segment.capture.announcement(keepalived.port.address, died);
    let silence = segment.capture.silence(ours.port.address, keepalived.port.address, died);
    assert!(silence >= INTERVAL * 3, "keepalived waits three of our intervals, it waited {silence:?}");

    ours.port.heal();
    ours.starts_again();
    ours.listens_to(&keepalived.port);
    segment.settles_on(&keepalived.port, &[&ours.port, &keepalived.port], STEADY);
    voice.was_spoken(&segment.capture);
}

/// The same the other way round.
fn ours_is_backup(segment: &Segment, voice: &Voice) {
    let mut keepalived = Keepalived::start("keepalived", 20, 240, voice, "nopreempt");
    keepalived.takes_over();
    let ours = Ours::start("ours", 10, 230, voice, "");
    ours.listens_to(&keepalived.port);
    segment.settles_on(&keepalived.port, &[&ours.port, &keepalived.port], STEADY);
    assert!(ours.unmoved_for() >= STEADY, "it never thought otherwise");

    let died = segment.capture.now();
    keepalived.dies();
    ours.takes_over();
    segment.capture.announcement(ours.port.address, died);
    let silence = segment.capture.silence(keepalived.port.address, ours.port.address, died);
    assert!(silence >= INTERVAL * 3, "ours waits three of its intervals, it waited {silence:?}");

    keepalived.port.heal();
    keepalived.starts_again();
    keepalived.is_backup();
    segment.settles_on(&ours.port, &[&ours.port, &keepalived.port], STEADY);
    voice.was_spoken(&segment.capture);
}

/// Both hold the address on either side of a cut; when it heals, the higher priority wins and announces
/// itself again.
fn a_cut_heals(segment: &Segment, priority: u8, last: u8, ours_wins: bool) {
    let voice = &Voice::usual();
    let ours = Ours::start("ours", last, priority, voice, "");
    let keepalived = Keepalived::start("keepalived", 20, 230, voice, "nopreempt");
    let both = [&ours.port, &keepalived.port];
    ours.takes_over();
    keepalived.is_backup();
    keepalived.port.cut();
    keepalived.takes_over();
    assert!(ours.port.holds(), "each on its own side");
    let healed = segment.capture.now();
    keepalived.port.heal();
    let winner = if ours_wins { &ours.port } else { &keepalived.port };
    segment.settles_on(winner, &both, STEADY);
    segment.capture.announcement(winner.address, healed);
}

/// A keepalived that preempts takes the address from ours, and gives it back when it stops.
fn keepalived_preempts(segment: &Segment, voice: &Voice) {
    let ours = Ours::start("ours", 10, 230, voice, "");
    ours.takes_over();
    let started = segment.capture.now();
    let mut keepalived = Keepalived::start("keepalived", 20, 240, voice, "");
    ours.listens_to(&keepalived.port);
    segment.settles_on(&keepalived.port, &[&ours.port, &keepalived.port], STEADY);
    segment.capture.announcement(keepalived.port.address, started);
    keepalived.stops();
    segment.settles_on(&ours.port, &[&ours.port, &keepalived.port], STEADY);
}

/// Ours leaves a holder alone whose priority says "fit", and preempts one at once that says "unfit".
fn ours_preempts_the_unfit(segment: &Segment, voice: &Voice) {
    let mut keepalived = Keepalived::start("keepalived", 20, FIT_FROM, voice, "nopreempt");
    keepalived.takes_over();
    let ours = Ours::start("ours", 10, 240, voice, "");
    ours.listens_to(&keepalived.port);
    segment.settles_on(&keepalived.port, &[&ours.port, &keepalived.port], STEADY);
    keepalived.stops();
    ours.takes_over();

    // The same again, one less.
    let mut ours = ours;
    ours.stops();
    let mut unfit = Keepalived::start("unfit", 30, FIT_FROM - 1, voice, "nopreempt");
    unfit.takes_over();
    let started = segment.capture.now();
    ours.starts_again();
    segment.settles_on(&ours.port, &[&ours.port, &unfit.port], STEADY);
    segment.capture.announcement(ours.port.address, started);
    unfit.is_backup();
    unfit.stops();
}

/// Ours preempts a fit keepalived of lower priority when it is told to, and not before its delay is over.
fn ours_preempts_when_told_to(segment: &Segment) {
    let voice = Voice::usual();
    let keepalived = Keepalived::start("keepalived", 20, 230, &voice, "nopreempt");
    keepalived.takes_over();
    let ours = Ours::start("ours", 10, 240, &voice, "preempt = true\npreempt_delay_ms = 2000\n");
    ours.listens_to(&keepalived.port);
    let listened = segment.capture.now();
    segment.settles_on(&ours.port, &[&ours.port, &keepalived.port], STEADY);
    let waited = segment.capture.claim(ours.port.address, listened).at - listened;
    // It began to wait up to the time of one look at it before that.
    assert!(waited >= Duration::from_secs(1), "{waited:?}");
    keepalived.is_backup();
}

/// With the checksum of the RFC, where keepalived cannot be told to take it: ours takes keepalived's and
/// keepalived refuses ours, so that one hears and the other does not. It ends with one holder all the same.
fn keepalived_refuses_ours(segment: &Segment, voice: &Voice) {
    let ours = Ours::start("ours", 10, 240, &voice.clone().with_message_checksum(), "");
    ours.takes_over();
    let keepalived = Keepalived::start("keepalived", 20, 230, voice, "nopreempt");
    keepalived.takes_over();
    ours.listens_to(&keepalived.port);
    segment.settles_on(&keepalived.port, &[&ours.port, &keepalived.port], STEADY);
    let log = keepalived.log().to_lowercase();
    assert!(log.contains("checksum"), "it says why: {log}");
}

/// The same with keepalived as the holder: ours hears it well, and takes over when it is told to.
fn keepalived_is_heard(segment: &Segment, voice: &Voice) {
    let mut keepalived = Keepalived::start("keepalived", 20, 240, voice, "nopreempt");
    keepalived.takes_over();
    let ours = Ours::start("ours", 10, 230, &voice.clone().with_message_checksum(), "");
    ours.listens_to(&keepalived.port);
    segment.settles_on(&keepalived.port, &[&ours.port, &keepalived.port], STEADY);
    keepalived.stops();
    segment.settles_on(&ours.port, &[&ours.port, &keepalived.port], STEADY);
}

type Story = fn(&Segment, &Voice);

/// `story` with the checksum of the RFC if the keepalived here knows it, else what happens instead.
fn with_message_checksum(segment: &Segment, voice: Voice, story: Story, instead: Story) {
    if Keepalived::knows_message_checksums() {
        story(segment, &voice.with_message_checksum());
    } else {
        instead(segment, &voice);
    }
}

macro_rules! stories {
    ($($name:ident => $story:expr;)*) => {$(
        #[test]
        fn $name() {
            in_namespaces(concat!("elections::", stringify!($name)), $story);
        }
    )*};
}

stories! {
    ours_is_master_over_multicast => |segment| ours_is_master(segment, &Voice::usual());
    ours_is_master_over_unicast => |segment| ours_is_master(segment, &Voice::unicast(&[10, 20]));
    ours_is_master_over_ipv6 => |segment| ours_is_master(segment, &Voice::ipv6());
    ours_is_backup_over_multicast => |segment| ours_is_backup(segment, &Voice::usual());
    ours_is_backup_over_unicast => |segment| ours_is_backup(segment, &Voice::unicast(&[10, 20]));
    ours_is_backup_over_ipv6 => |segment| ours_is_backup(segment, &Voice::ipv6());
    ours_is_master_with_the_checksum_of_the_rfc => |segment| {
        with_message_checksum(segment, Voice::usual(), ours_is_master, keepalived_refuses_ours);
    };
    ours_is_backup_with_the_checksum_of_the_rfc => |segment| {
        with_message_checksum(segment, Voice::usual(), ours_is_backup, keepalived_is_heard);
    };
    ours_is_master_over_unicast_with_the_checksum_of_the_rfc => |segment| {
        let voice = Voice::unicast(&[10, 20]);
        with_message_checksum(segment, voice, ours_is_master, keepalived_refuses_ours);
    };
    keepalived_preempts_ours => |segment| keepalived_preempts(segment, &Voice::usual());
    keepalived_preempts_ours_over_unicast => |segment| keepalived_preempts(segment, &Voice::unicast(&[10, 20]));
    ours_preempts_keepalived_when_told_to => ours_preempts_when_told_to;
    the_fit_are_left_alone_and_the_unfit_preempted => |segment| ours_preempts_the_unfit(segment, &Voice::usual());
    after_a_cut_our_higher_priority_wins => |segment| a_cut_heals(segment, 240, 10, true);
    after_a_cut_its_higher_priority_wins => |segment| a_cut_heals(segment, 220, 30, false);
    of_equal_priorities_our_higher_address_wins => |segment| a_cut_heals(segment, 230, 30, true);
    of_equal_priorities_its_higher_address_wins => |segment| a_cut_heals(segment, 230, 10, false);
}

//! A machine that was paused while its clock stood still, told by the stamps of its host.

use super::*;

/// Stamps of a host whose clock is ahead, every second up to `line`'s tenth.
fn stamped(line: &mut Line) {
    for at in (1000..10_000).step_by(1000) {
        let at = at + millis(line.now) / 1000 * 1000;
        line.until(at);
        line.router.host_stamp(ms(at), ms(at + 777_000));
    }
    assert_eq!(line.done(), Vec::<String>::new());
}

#[test]
fn a_holder_that_was_paused_lets_go_and_listens_before_it_says_more() {
    let mut line = Line::master();
    stamped(&mut line);
    let at = millis(line.now) + 50;
    line.until(at);
    line.router.host_stamp(ms(at), ms(at + 777_000 + 4000));
    assert_eq!(line.done(), ["remove"]);
    let (reason, _) = line.router.since();
    assert!(matches!(reason, Reason::Paused(time) if time >= ms(3900) && time <= ms(4000)), "{reason:?}");
    assert_eq!(line.until(at + 100), vec![]);
    // Nobody took its place: it takes it again.
    line.until(at + 110);
    assert_eq!((line.state(), line.router.priority()), (State::Master, 240));
}

#[test]
fn what_was_about_to_be_said_is_not_said() {
    let mut line = Line::master();
    stamped(&mut line);
    let due = line.router.next_wake().expect("it holds").0;
    line.now = due;
    line.router.wake(due);
    line.router.host_stamp(due, due + ms(777_000 + 4000));
    assert_eq!(line.done(), ["remove"]);
}

#[test]
fn a_short_pause_changes_nothing_nor_do_stamps_that_waited_or_stay_away() {
    let mut line = Line::master();
    stamped(&mut line);
    let at = millis(line.now);
    line.router.host_stamp(ms(at + 1), ms(at + 777_000 + 200));
    for (after, waited) in [(1000, 900), (2000, 0), (50_000, 0), (3_600_000, 0)] {
        line.until(at + after);
        line.router.host_stamp(ms(at + after), ms(at + after + 777_000 - waited));
        assert_eq!(line.state(), State::Master);
    }
}

#[test]
fn a_freeze_that_the_clock_shows_is_not_taken_for_a_second_one() {
    let mut line = Line::master();
    stamped(&mut line);
    let at = millis(line.now) + 5000;
    line.frozen_until(at).router.host_stamp(ms(at), ms(at + 777_000));
    assert_eq!(line.done(), ["remove"]);
    assert!(matches!(line.router.since().0, Reason::WokeLate(_)));
}

#[test]
fn a_backup_that_was_paused_listens_anew() {
    let mut line = Line::backup(240);
    for at in (100..10_000).step_by(100) {
        line.until(at);
        line.hears(HIGH, 240);
        line.router.host_stamp(ms(at), ms(at));
    }
    // The rest of its Down interval was for adverts that it has missed.
    line.until(10_190);
    line.router.host_stamp(ms(10_190), ms(14_190));
    assert_eq!(line.until(10_400), vec![]);
    assert_eq!(line.until(10_500).len(), 3);
}

#[test]
fn the_stale_holder_that_was_told_nothing_loses_with_the_first_advert() {
    let mut line = Line::master();
    // Its clock stood still, so it knows nothing; the other one took over with one more than it had.
    assert_eq!(line.hears(LOW, 241).done(), ["remove", "advert 240"], "the address goes first");
    assert_eq!((line.state(), line.router.holder(line.now)), (State::Backup, Some(LOW)));
}

#[test]
fn a_router_that_takes_no_part_learns_the_clocks_only() {
    let mut line = Line::new(240);
    for at in 0..10 {
        line.router.host_stamp(ms(at * 1000), ms(at * 9000));
    }
    assert_eq!((line.done(), line.state()), (vec![], State::Init));
}

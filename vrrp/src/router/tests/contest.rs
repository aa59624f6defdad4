//! A way that carries in one direction only: this router hears the other holder, which is deaf to it.

use super::*;

/// A holder that hears the deaf `HIGH` claim the address with `theirs` every 100 ms for so long.
fn contested(line: &mut Line, theirs: u8, for_ms: u64) -> Vec<(u64, String)> {
    let (begin, mut all) = (millis(line.now), Vec::new());
    for at in (begin..=begin + for_ms).step_by(100) {
        all.extend(line.until(at));
        line.hears(HIGH, theirs);
        all.extend(line.until(at));
    }
    all
}

#[test]
fn the_hearer_yields_after_five_seconds_of_asserting_itself() {
    let mut line = Line::master();
    let begin = millis(line.now);
    let all = contested(&mut line, 230, 5000);
    assert_eq!(line.state(), State::Master);
    assert!(times(&all, "advert 240").len() >= 50);
    let all = contested(&mut line, 230, 100);
    assert_eq!(times(&all, "remove"), [begin + 5100]);
    assert_eq!(line.router.since().0, Reason::Unheard(HIGH));
    assert_eq!((line.router.holder(line.now), line.router.priority()), (Some(HIGH), 229));
}

#[test]
fn it_stays_away_while_the_deaf_one_is_there_even_if_that_one_becomes_unfit() {
    let mut line = Line::master();
    contested(&mut line, 230, 5200);
    contested(&mut line, 150, 100);
    assert_eq!(line.state(), State::Master, "an unfit one is worth a try");
    contested(&mut line, 150, 5200);
    assert_eq!((line.state(), line.router.priority()), (State::Backup, 149));
    contested(&mut line, 150, 58_000);
    assert_eq!(line.state(), State::Backup, "twice as long as the first time");
    let all = contested(&mut line, 150, 40_000);
    assert_eq!(times(&all, "add").len(), 1, "and then tries again");
}

#[test]
fn with_preempt_it_tries_again_after_its_backoff_and_no_sooner() {
    let mut line = Line::preempting(240, Some(ms(0)));
    line.router.ready(ms(0));
    line.until(400);
    contested(&mut line, 230, 5200);
    contested(&mut line, 230, 29_000);
    assert_eq!(line.state(), State::Backup);
    contested(&mut line, 230, 20_000);
    assert_ne!(line.router.since().0, Reason::Silence);
    let (reason, since) = line.router.since();
    assert!(since >= ms(35_000) && since <= ms(56_000), "{reason:?} {since:?}");
}

#[test]
fn when_the_deaf_one_is_gone_it_is_back_in_full() {
    let mut line = Line::master();
    contested(&mut line, 230, 5200);
    line.until(millis(line.now) + 400);
    assert_eq!((line.state(), line.router.priority()), (State::Master, 240));
}

#[test]
fn claims_with_pauses_between_them_are_no_contest() {
    let mut line = Line::master();
    for _ in 0..10 {
        contested(&mut line, 230, 2000);
        let at = millis(line.now) + 600;
        line.until(at);
    }
    assert_eq!(line.state(), State::Master);
}

/// A keepalived that drops our adverts puts off its own by an interval with each of them, so that it was never
/// heard again after its first: both held the address.
#[test]
fn one_that_any_advert_keeps_silent_is_heard_as_long_as_it_claims_the_address() {
    let mut line = Line::master();
    line.hears(HIGH, 230);
    let (begin, mut dropped) = (millis(line.now), millis(line.now));
    for at in begin..begin + 8000 {
        if !times(&line.until(at), "advert 240").is_empty() {
            dropped = at;
        } else if at >= dropped + 102 {
            // A little later than its timer says: it reads what waits first.
            dropped = at;
            line.hears(HIGH, 230);
        }
    }
    assert_eq!((line.state(), line.router.since().0), (State::Backup, Reason::Unheard(HIGH)));
}

#[test]
fn who_was_contradicted_is_back_at_its_pace_a_second_later() {
    let mut line = Line::master();
    line.until(2000);
    let all = line.hears(HIGH, 239).until(4000);
    let adverts = times(&all, "advert 240");
    let gaps: Vec<_> = adverts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.iter().all(|gap| [100, 150].contains(gap)), "{gaps:?}");
    assert_eq!((gaps[0], gaps.last()), (150, Some(&100)));
    assert!(gaps.is_sorted_by(|before, after| before >= after), "{gaps:?}");
}

#[test]
fn an_order_to_take_over_ends_the_yielding() {
    let mut line = Line::master();
    contested(&mut line, 230, 5200);
    line.router.take_over(line.now).expect("fit");
    assert_eq!((line.state(), line.router.priority()), (State::Master, 240));
}

#[test]
fn a_backup_leaves_the_lesser_of_two_holders_to_the_other() {
    for stranger in [100, 210, 239] {
        let mut line = Line::backup(240);
        for at in (100..3000).step_by(100) {
            line.until(at);
            line.hears(HIGH, 240);
            // A flood of them, at intervals that would have the real one's death noticed late.
            for _ in 0..3 {
                line.hears_every(LOW, stranger, ms(40_950));
            }
            assert_eq!((line.done(), line.state()), (vec![], State::Backup), "{stranger} at {at}");
        }
        // The holder dies, and that is noticed by its own intervals, whatever the stranger says.
        line.until(2900 + 190);
        assert_eq!(line.state(), State::Backup);
        line.hears_every(LOW, stranger, ms(40_950)).until(2900 + 307);
        assert_eq!(line.state(), State::Master, "{stranger}");
    }
}

#[test]
fn whoever_follows_a_silent_holder_is_listened_to() {
    let mut line = Line::backup(254);
    // It cannot say more than the one before it said.
    line.until(304);
    line.hears(LOW, 241);
    assert_eq!((line.until(600), line.state()), (vec![], State::Backup));
    assert_eq!(line.router.holder(line.now), Some(LOW));
}

#[test]
fn a_holder_that_became_unfit_is_replaced_by_what_it_says_itself() {
    let mut line = Line::backup(240);
    line.until(100);
    line.hears(HIGH, 240);
    line.until(150);
    assert_eq!(line.hears(HIGH, 105).done(), TAKES_OVER);
}

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

#[test]
fn an_order_to_take_over_ends_the_yielding() {
    let mut line = Line::master();
    contested(&mut line, 230, 5200);
    line.router.take_over(line.now).expect("fit");
    assert_eq!((line.state(), line.router.priority()), (State::Master, 240));
}

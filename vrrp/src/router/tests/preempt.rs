//! `preempt`, and the priority said after taking over from silence.

use super::*;

#[test]
fn with_preempt_a_lower_holder_is_replaced_after_the_delay() {
    let mut line = Line::preempting(240, Some(ms(1000)));
    line.router.ready(ms(0));
    for at in (0..1000).step_by(100) {
        line.until(at);
        line.hears(HIGH, 230);
        assert_eq!((line.done(), line.state()), (vec![], State::Backup), "at {at}");
    }
    line.until(1000);
    assert_eq!(line.hears(HIGH, 230).done(), TAKES_OVER);
    assert_eq!(line.router.since().0, Reason::Preempted(HIGH));
}

#[test]
fn the_delay_begins_anew_when_the_holder_was_not_lower_meanwhile() {
    let mut line = Line::preempting(240, Some(ms(1000)));
    line.router.ready(ms(0));
    for at in (0..1900).step_by(100) {
        line.until(at);
        line.hears(HIGH, if at == 900 { 240 } else { 230 });
    }
    assert_eq!(line.state(), State::Backup);
    for at in (1900..=2000).step_by(100) {
        line.until(at);
        line.hears(HIGH, 230);
    }
    assert_eq!(line.state(), State::Master);
}

#[test]
fn without_a_delay_the_first_advert_of_a_lower_one_is_enough() {
    let mut line = Line::preempting(240, Some(ms(0)));
    line.router.ready(ms(0));
    assert_eq!(line.hears(HIGH, 240).done(), Vec::<String>::new());
    assert_eq!(line.hears(HIGH, 239).done(), TAKES_OVER);
}

#[test]
fn an_unfit_one_waits_with_preempting_until_it_is_fit() {
    let mut line = Line::preempting(240, Some(ms(0)));
    line.router.ready(ms(0));
    line.router.set_unfit(ms(0), Unfit::Draining, true);
    line.hears(HIGH, 230);
    assert_eq!(line.state(), State::Backup);
    line.router.set_unfit(ms(0), Unfit::Draining, false);
    line.hears(HIGH, 230);
    assert_eq!(line.state(), State::Master);
}

#[test]
fn an_owner_of_the_address_outranks_everybody() {
    let mut line = Line::master();
    line.hears(LOW, 255);
    assert_eq!((line.state(), line.router.since().0), (State::Backup, Reason::Outranked(LOW)));
    let mut line = Line::preempting(254, Some(ms(0)));
    line.router.ready(ms(0));
    line.hears(LOW, 255);
    assert_eq!(line.state(), State::Backup);
}

#[test]
fn who_takes_over_from_silence_outranks_the_silent_one() {
    let mut line = Line::backup(250);
    assert_eq!(
        line.until(320).iter().map(|(_, effect)| &**effect).collect::<Vec<_>>(),
        ["advert 251", "add", "announce"]
    );
    assert_eq!(line.router.priority(), 251);
    line.until(59_000);
    assert_eq!(line.router.priority(), 251);
    line.until(61_000);
    assert_eq!(line.router.priority(), 240, "a machine that was paused for so long was replaced");
}

#[test]
fn a_lower_silent_one_needs_no_outranking_and_the_highest_cannot_be_outranked() {
    for (theirs, said) in [(239, 240), (240, 241), (254, 254), (255, 254)] {
        let mut line = Line::backup(theirs);
        line.until(320);
        assert_eq!(line.router.priority(), said, "{theirs}");
    }
}

#[test]
fn the_former_holder_that_listens_is_outranked_no_longer() {
    for theirs in [250, 0] {
        let mut line = Line::backup(250);
        line.until(5000);
        // Its last claim when it heard us, or its manager's word that it is dead.
        line.hears(HIGH, theirs);
        line.until(5500);
        assert_eq!(line.router.priority(), 251);
        line.until(6100);
        assert_eq!((line.router.priority(), line.state()), (240, State::Master));
    }
}

#[test]
fn a_trouble_of_the_one_that_took_over_is_not_hidden() {
    let mut line = Line::backup(250);
    line.until(1000);
    line.router.set_unfit(ms(1000), Unfit::UplinkLost, true);
    assert_eq!(line.done(), ["advert 155"]);
}

#[test]
fn an_unfit_one_that_takes_over_does_not_pretend() {
    let mut line = Line::backup(190);
    line.router.set_unfit(ms(0), Unfit::UplinkLost, true);
    line.until(500);
    assert_eq!((line.state(), line.router.priority()), (State::Master, 155));
}

#[test]
fn with_preempt_the_outranking_is_short() {
    let mut line = Line::preempting(230, Some(ms(0)));
    line.router.ready(ms(0));
    line.hears(HIGH, 240);
    line.until(400);
    assert_eq!(line.router.priority(), 241);
    line.until(1400);
    assert_eq!(line.router.priority(), 230);
}

#[test]
fn what_was_heard_before_a_long_standstill_is_forgotten() {
    let mut line = Line::new(240);
    line.hears_every(HIGH, 250, ms(10_000));
    line.frozen_until(60_000).router.ready(ms(60_000));
    assert_eq!(line.router.next_wake(), Some((Duration::from_micros(60_306_250), WakeReason::Down)));
    line.until(60_400);
    assert_eq!((line.state(), line.router.priority()), (State::Master, 240));
}

#[test]
fn ipv6_routers_compare_their_link_local_addresses() {
    let own: IpAddr = "fe80::10".parse().expect("an address");
    let config = RouterConfig { vrid: 50, own, priority: 240, interval: INTERVAL, preempt: None };
    let mut router = Router::new(ms(0), config);
    router.ready(ms(0));
    router.wake(ms(310));
    let advert = Advert { vrid: 50, priority: 240, interval: INTERVAL, addresses: Vec::new() };
    router.receive(ms(310), "fe80::9".parse().expect("an address"), &advert);
    assert_eq!(router.state(), State::Master);
    router.receive(ms(310), HIGH, &advert);
    assert_eq!(router.state(), State::Master, "of the other family: another virtual router");
    router.receive(ms(310), "fe80::11".parse().expect("an address"), &advert);
    assert_eq!(router.state(), State::Backup);
}

#[test]
fn one_that_has_nothing_to_serve_with_takes_over_only_when_nobody_else_does() {
    let mut line = Line::new(240);
    line.router.set_serving(ms(0), false);
    line.router.ready(ms(0));
    line.hears(HIGH, 190);
    assert_eq!(line.until(900), vec![]);
    assert_eq!(line.until(930).len(), 3);
    line.router.set_serving(line.now, true);
    line.router.set_serving(line.now, false);
    line.until(5000);
    assert_eq!(line.state(), State::Master, "a holder stays");
}

#[test]
fn when_a_holder_lets_go_it_lets_all_others_go_first() {
    let mut line = Line::new(240);
    line.router.set_serving(ms(0), false);
    line.router.ready(ms(0));
    line.hears(HIGH, 240).hears(HIGH, 0);
    assert_eq!(line.until(106), vec![]);
    assert_eq!(line.until(107).len(), 3);
}

#[test]
fn it_takes_part_like_any_other_as_soon_as_it_can_serve() {
    let mut line = Line::new(240);
    line.router.set_serving(ms(0), false);
    line.router.ready(ms(0));
    line.hears(HIGH, 190);
    line.until(100);
    line.router.set_serving(line.now, true);
    assert_eq!(line.until(406), vec![]);
    assert_eq!(line.until(407).len(), 3);
    let mut line = Line::new(240);
    line.router.ready(ms(0));
    line.router.set_serving(ms(0), false);
    line.router.set_serving(ms(0), true);
    assert_eq!(line.hears(HIGH, 190).done(), TAKES_OVER);
}

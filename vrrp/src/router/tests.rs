//! Time lines: what one router does, and when. Its priority is 240 and its interval 100 ms unless said
//! otherwise, so that Skew is 6.25 ms and Down 306.25 ms.

use std::net::Ipv4Addr;

use super::*;

mod contest;
mod pause;
mod preempt;

const OWN: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 10, 10));
const LOW: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 10, 9));
const HIGH: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 10, 20));
const INTERVAL: Duration = ms(100);

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

struct Line {
    router: Router,
    now: Duration,
}

impl Line {
    fn new(priority: u8) -> Self {
        Line::preempting(priority, None)
    }

    fn preempting(priority: u8, preempt: Option<Duration>) -> Self {
        let config = RouterConfig { vrid: 50, own: OWN, priority, interval: INTERVAL, preempt };
        Line { router: Router::new(ms(0), config), now: ms(0) }
    }

    /// Ready, and listening to a holder at `HIGH` that advertised `theirs` at 0 ms.
    fn backup(theirs: u8) -> Self {
        let mut line = Line::new(240);
        line.router.ready(line.now);
        line.hears(HIGH, theirs);
        line.done();
        line
    }

    /// Holds the address alone; its term began a second ago and its last advert is just out.
    fn master() -> Self {
        let mut line = Line::new(240);
        line.router.ready(line.now);
        line.until(1310);
        while line.router.next_wake().is_some_and(|(at, _)| at <= line.now) {
            line.router.wake(line.now);
        }
        line.done();
        line
    }

    fn hears(&mut self, source: IpAddr, priority: u8) -> &mut Self {
        self.hears_every(source, priority, INTERVAL)
    }

    fn hears_every(&mut self, source: IpAddr, priority: u8, interval: Duration) -> &mut Self {
        let advert = Advert { vrid: 50, priority, interval, addresses: Vec::new() };
        self.router.receive(self.now, source, &advert);
        self
    }

    /// Jumps to `at` without waking the router: it is frozen.
    fn frozen_until(&mut self, at: u64) -> &mut Self {
        self.now = ms(at);
        self
    }

    /// Lets time pass until `at` milliseconds, waking the router whenever it wants; what it did with
    /// the time at which it did it.
    fn until(&mut self, at: u64) -> Vec<(u64, String)> {
        let mut all: Vec<_> = self.done().into_iter().map(|effect| (millis(self.now), effect)).collect();
        while let Some((due, _)) = self.router.next_wake().filter(|(due, _)| *due <= ms(at)) {
            self.now = due;
            self.router.wake(due);
            all.extend(self.done().into_iter().map(|effect| (millis(due), effect)));
        }
        self.now = ms(at);
        all
    }

    /// What it wants done now.
    fn done(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        while let Some(effect) = self.router.poll_effect(self.now) {
            all.push(match effect {
                Effect::SendAdvert { priority, .. } => format!("advert {priority}"),
                Effect::Offer { to, .. } => format!("offer to {to}"),
                Effect::AddAddress => "add".to_owned(),
                Effect::RenewAddress => "renew".to_owned(),
                Effect::RemoveAddress => "remove".to_owned(),
                Effect::Announce => "announce".to_owned(),
                Effect::Changed(_) => continue,
            });
        }
        all
    }

    fn state(&self) -> State {
        self.router.state()
    }
}

fn millis(at: Duration) -> u64 {
    u64::try_from(at.as_millis()).expect("short")
}

/// The milliseconds at which `what` was done.
fn times(all: &[(u64, String)], what: &str) -> Vec<u64> {
    all.iter().filter(|(_, effect)| effect == what).map(|(at, _)| *at).collect()
}

const TAKES_OVER: [&str; 3] = ["advert 240", "add", "announce"];

#[test]
fn in_init_it_only_remembers_the_holder() {
    let mut line = Line::new(240);
    line.hears(HIGH, 100);
    assert_eq!((line.done(), line.state()), (vec![], State::Init));
    assert_eq!(line.router.holder(ms(100)), Some(HIGH));
    assert_eq!(line.router.holder(ms(400)), None, "not heard for too long");
    assert_eq!(line.router.next_wake(), None);
}

#[test]
fn takes_over_after_silence_for_down() {
    let mut line = Line::new(240);
    line.router.ready(ms(0));
    let all = line.until(306);
    assert_eq!(all, vec![]);
    let all = line.until(310);
    assert_eq!(all, TAKES_OVER.map(|effect| (306, effect.to_owned())));
    assert_eq!(line.router.since(), (Reason::Silence, Duration::from_micros(306_250)));
}

#[test]
fn down_and_skew_follow_the_learned_interval() {
    let mut line = Line::new(240);
    line.router.ready(ms(0));
    line.hears_every(HIGH, 240, ms(1000));
    assert_eq!(line.router.next_wake(), Some((Duration::from_micros(3_062_500), WakeReason::Down)));
    line.hears(HIGH, 0);
    assert_eq!(line.router.next_wake(), Some((Duration::from_micros(62_500), WakeReason::Down)));
}

#[test]
fn fit_routers_do_not_preempt_each_other() {
    let mut line = Line::backup(200);
    for at in (0..3000).step_by(100) {
        line.until(at);
        line.hears(HIGH, 200);
    }
    assert_eq!((line.done(), line.state()), (vec![], State::Backup));
}

#[test]
fn an_unfit_holder_is_preempted_at_once_by_a_fit_one() {
    let mut line = Line::backup(240);
    line.hears(HIGH, 199);
    assert_eq!(line.done(), TAKES_OVER);
    assert_eq!(line.router.since().0, Reason::UnfitHolder(HIGH));
}

#[test]
fn between_unfit_ones_only_a_higher_one_preempts() {
    let mut line = Line::backup(240);
    line.router.set_unfit(ms(0), Unfit::Hung, true);
    for (at, theirs, state) in [(0, 136, State::Backup), (100, 135, State::Backup), (200, 134, State::Master)]
    {
        line.until(at);
        line.hears(HIGH, theirs);
        // 105 parts of 256 of the interval below the preferred one.
        line.until(at + 42);
        assert_eq!(line.state(), state, "{theirs}");
    }
}

#[test]
fn who_is_preferred_less_leaves_an_unfit_holder_to_the_others_for_a_moment() {
    let backup = || {
        let mut line = Line::new(210);
        line.router.ready(ms(0));
        line.hears(HIGH, 240);
        line.hears(HIGH, 185);
        line
    };
    let mut line = backup();
    assert_eq!(line.until(11), vec![]);
    // The holder says it again; that counts from the first time.
    line.hears(HIGH, 185);
    assert_eq!(line.until(12).len(), 3);
    let mut line = backup();
    line.until(5);
    line.hears(LOW, 230);
    assert_eq!((line.until(200), line.router.holder(ms(200))), (vec![], Some(LOW)));
}

#[test]
fn an_offer_goes_to_one_alone_and_ends_when_it_is_taken() {
    let mut line = Line::master();
    line.router.release_to(line.now, LOW).expect("it takes part");
    let offered = ["advert 240".to_owned(), format!("offer to {LOW}")];
    assert_eq!(line.done(), offered);
    let again: Vec<String> = line.until(1410).into_iter().map(|(_, effect)| effect).collect();
    assert_eq!(again, offered, "what one misses the next one says");
    // Somebody else of lower priority is answered as ever.
    line.hears(HIGH, 230);
    assert_eq!((line.state(), line.done()[0].as_str()), (State::Master, "advert 240"));
    line.hears(LOW, 230);
    assert_eq!((line.state(), line.router.since().0), (State::Backup, Reason::Outranked(LOW)));
}

#[test]
fn an_offer_that_nobody_takes_ends() {
    let mut line = Line::master();
    line.router.release_to(line.now, HIGH).expect("it takes part");
    let end = millis(line.now) + 3 * 306;
    let all = line.until(end + 300);
    let last = times(&all, &format!("offer to {HIGH}")).last().copied();
    assert!(last.is_some_and(|last| last <= end), "{last:?}");
    assert_eq!(line.state(), State::Master);
    line.hears(HIGH, 230);
    assert_eq!(line.state(), State::Master);
    line.router.release_to(line.now, HIGH).expect("it takes part");
    line.router.take_over(line.now).expect("it holds it");
    line.hears(HIGH, 230);
    assert_eq!(line.state(), State::Master, "taken back");
}

#[test]
fn who_is_offered_the_address_takes_it_and_outranks_the_holder_for_a_while() {
    let mut line = Line::new(200);
    line.router.ready(ms(0));
    line.hears(HIGH, 240);
    assert!(line.router.offered(ms(0), HIGH));
    assert_eq!(line.done(), ["advert 241", "add", "announce"]);
    assert_eq!(line.router.since().0, Reason::Offered(HIGH));
    line.until(1000);
    assert_eq!((line.router.priority(), line.state()), (200, State::Master));
}

#[test]
fn an_offer_of_a_stranger_is_none_and_one_to_an_unfit_router_changes_nothing() {
    let mut line = Line::backup(240);
    assert!(!line.router.offered(ms(0), LOW));
    let mut unfit = Line::backup(190);
    assert!(!unfit.router.offered(ms(0), HIGH), "only a fit one has something to offer");
    line.router.set_unfit(ms(0), Unfit::Draining, true);
    assert!(line.router.offered(ms(0), HIGH));
    line.router.set_unfit(ms(0), Unfit::Draining, false);
    line.router.set_serving(ms(0), false);
    assert!(line.router.offered(ms(0), HIGH));
    assert_eq!((line.done(), line.state()), (vec![], State::Backup));
}

#[test]
fn priority_0_of_the_holder_leaves_skew() {
    let mut line = Line::backup(240);
    line.frozen_until(50).hears(HIGH, 0);
    assert_eq!(line.until(56), vec![]);
    assert_eq!(line.until(57).len(), 3);
    assert_eq!(line.router.since().0, Reason::Released(HIGH));
}

#[test]
fn priority_0_of_another_counts_for_nothing() {
    let mut line = Line::backup(240);
    line.frozen_until(50).hears(LOW, 0);
    assert_eq!(line.until(300), vec![]);
    assert_eq!(line.router.holder(ms(300)), Some(HIGH));
}

#[test]
fn priority_0_in_error_is_taken_back_by_the_next_advert() {
    let mut line = Line::backup(240);
    line.hears(HIGH, 0).hears(HIGH, 230);
    assert_eq!(line.until(300), vec![]);
}

#[test]
fn a_holder_answers_priority_0_even_in_its_own_name() {
    for source in [HIGH, OWN] {
        let mut line = Line::master();
        assert_eq!(line.hears(source, 0).done(), ["advert 240"]);
    }
}

#[test]
fn a_holder_answers_a_lower_one_at_once_and_announces_again() {
    let mut line = Line::master();
    line.until(2000);
    assert_eq!(line.hears(HIGH, 239).done(), ["advert 240", "announce"]);
    let mut all = Vec::new();
    for at in 2001..2400 {
        line.hears(HIGH, 239);
        all.extend(line.until(at));
    }
    assert_eq!(times(&all, "announce"), [2250], "rate-limited");
}

#[test]
fn a_holder_yields_to_a_higher_one() {
    for (source, theirs) in [(LOW, 241), (HIGH, 240)] {
        let mut line = Line::master();
        assert_eq!(line.hears(source, theirs).done(), ["remove", "advert 240"]);
        assert_eq!((line.state(), line.router.since().0), (State::Backup, Reason::Outranked(source)));
        assert_eq!(line.router.holder(line.now), Some(source));
    }
}

#[test]
fn who_reads_a_lower_and_then_a_higher_one_says_nothing_to_the_lower() {
    let mut line = Line::master();
    assert_eq!(line.hears(LOW, 230).hears(HIGH, 241).done(), ["remove", "advert 240"]);
}

#[test]
fn among_equals_the_higher_address_stays() {
    let mut line = Line::master();
    line.hears(LOW, 240);
    assert_eq!(line.state(), State::Master);
}

#[test]
fn its_own_echo_is_ignored() {
    let mut line = Line::master();
    assert_eq!(line.hears(OWN, 254).done(), Vec::<String>::new());
}

#[test]
fn a_holder_advertises_renews_and_announces_on_schedule() {
    let mut line = Line::new(240);
    line.router.ready(ms(0));
    let all = line.until(10_400);
    assert_eq!(times(&all, "advert 240").len(), 101);
    assert_eq!(times(&all, "renew").len(), 10);
    assert_eq!(times(&all, "announce"), [306, 406, 806, 5806]);
}

#[test]
fn an_orderly_stop_removes_the_address_and_says_so() {
    let mut line = Line::master();
    line.router.stop(line.now);
    assert_eq!(line.done(), ["remove", "advert 0"]);
    assert_eq!(line.state(), State::Init);
    let mut line = Line::backup(240);
    line.router.stop(line.now);
    assert_eq!(line.done(), Vec::<String>::new());
}

#[test]
fn a_frozen_holder_lets_go_before_it_says_anything() {
    let inputs: [fn(&mut Line); 6] = [
        |line| line.router.wake(line.now),
        |line| line.router.set_unfit(line.now, Unfit::Draining, true),
        |line| assert_eq!(line.router.take_over(line.now), Err(Refused::Unfit)),
        |line| line.router.release(line.now).expect("it takes part"),
        |line| line.router.stop(line.now),
        |line| {
            line.hears(LOW, 100);
        },
    ];
    for (index, input) in inputs.into_iter().enumerate() {
        let mut line = Line::master();
        if index == 2 {
            line.router.set_unfit(line.now, Unfit::Draining, true);
            line.done();
        }
        line.frozen_until(millis(line.now) + 301);
        input(&mut line);
        assert_eq!(line.done(), ["remove"], "input {index}");
    }
}

#[test]
fn a_holder_that_was_only_a_little_late_goes_on() {
    let mut line = Line::master();
    let at = millis(line.now) + 290;
    line.frozen_until(at).router.wake(ms(at));
    assert!(line.done().contains(&"advert 240".to_owned()));
}

#[test]
fn frozen_between_decision_and_deed() {
    let mut line = Line::new(240);
    line.router.ready(ms(0));
    line.frozen_until(310).router.wake(ms(310));
    line.frozen_until(700);
    assert_eq!(line.done(), ["remove"], "the advert and the announcement are not made any more");
    assert!(matches!(line.router.since().0, Reason::WokeLate(_)));
}

#[test]
fn after_a_freeze_it_listens_for_down_whatever_it_hears() {
    let mut line = Line::master();
    line.frozen_until(3000);
    line.hears(HIGH, 100).hears(HIGH, 230);
    assert_eq!(line.done(), ["remove"], "the unfit advert may be old");
    assert_eq!(line.until(3300), vec![]);
    assert_eq!(line.router.holder(ms(3300)), Some(HIGH));
}

#[test]
fn a_frozen_backup_listens_again() {
    let mut line = Line::backup(240);
    line.frozen_until(5000).router.wake(ms(5000));
    assert_eq!(line.until(5300), vec![]);
    assert_eq!(line.until(5310).len(), 3);
}

#[test]
fn release_offers_the_address_and_keeps_it_if_nobody_wants_it() {
    let mut line = Line::master();
    line.router.release(line.now).expect("it takes part");
    assert_eq!(line.done(), ["advert 185"]);
    let (begin, down) = (millis(line.now), 327);
    let all = line.until(begin + 2000);
    assert!(times(&all, "advert 240")[0] >= begin + 900);
    assert!(times(&all, "advert 240")[0] <= begin + 3 * down);
    assert_eq!(line.state(), State::Master);
}

#[test]
fn after_a_release_that_was_taken_it_is_fit_again() {
    let mut line = Line::master();
    line.router.release(line.now).expect("it takes part");
    line.hears(LOW, 230);
    assert_eq!((line.state(), line.router.priority()), (State::Backup, 240));
    line.done();
    line.hears(LOW, 230);
    assert_eq!(line.state(), State::Backup, "and does not take it back");
}

#[test]
fn take_over_outranks_the_holder_until_it_listens() {
    let mut line = Line::backup(250);
    line.router.take_over(ms(0)).expect("fit");
    assert_eq!(line.done(), ["advert 251", "add", "announce"]);
    assert_eq!(line.router.since().0, Reason::Ordered);
    line.until(1000);
    assert_eq!(line.router.priority(), 240);
}

#[test]
fn take_over_is_refused_where_it_would_be_undone() {
    let mut line = Line::new(240);
    assert_eq!(line.router.take_over(ms(0)), Err(Refused::NotReady));
    line.router.ready(ms(0));
    line.router.set_unfit(ms(0), Unfit::UplinkLost, true);
    assert_eq!(line.router.take_over(ms(0)), Err(Refused::Unfit));
}

#[test]
fn a_holder_tells_its_troubles_at_once() {
    let mut line = Line::master();
    line.router.set_unfit(line.now, Unfit::Hung, true);
    assert_eq!(line.done(), ["advert 135"]);
    line.router.set_unfit(line.now, Unfit::Hung, true);
    assert_eq!(line.done(), Vec::<String>::new(), "nothing new");
    line.router.set_unfit(line.now, Unfit::Hung, false);
    line.router.set_priority(line.now, 201);
    assert_eq!(line.done(), ["advert 240", "advert 201"]);
}

#[test]
fn an_advert_of_another_router_is_ignored() {
    let mut line = Line::master();
    let advert = Advert { vrid: 51, priority: 254, interval: INTERVAL, addresses: Vec::new() };
    line.router.receive(line.now, HIGH, &advert);
    assert_eq!(line.done(), Vec::<String>::new());
}

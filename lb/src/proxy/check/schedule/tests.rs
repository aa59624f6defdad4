//! Stories of one upstream.

use rand::SeedableRng;
use rand::rngs::SmallRng;
use wire::checks::Check;

use super::*;

fn policy(check: Check) -> Arc<PoolPolicy> {
    Arc::new(PoolPolicy { check, eject_min_ms: 1_000, ..PoolPolicy::default() })
}

fn exact() -> Check {
    Check { active: true, jitter: 0.0, fall: 3, rise: 2, ..Check::default() }
}

/// Runs the checks of a schedule and says what each came to.
struct Story {
    schedule: Schedule,
    rng: SmallRng,
    now: Instant,
}

impl Story {
    fn of(check: Check) -> Self {
        let (mut rng, now) = (SmallRng::seed_from_u64(1), Instant::now());
        Story { schedule: Schedule::new(policy(check), false, now, &mut rng), rng, now }
    }

    /// The milliseconds that were waited for a check, and what follows from it.
    fn next(&mut self, passed: bool) -> (u128, Step) {
        let due = self.schedule.due().expect("a check is due");
        let waited = due - self.now;
        self.now = due;
        self.schedule.began(self.now);
        (waited.as_millis(), self.schedule.ended(Some(passed), self.now, &mut self.rng))
    }

    fn ejected(&mut self, hold: u64, penalty: u64) {
        let [hold, penalty] = [hold, penalty].map(Duration::from_millis);
        self.schedule.ejected(Ejection { hold, penalty }, self.now, &mut self.rng);
    }
}

#[test]
fn so_many_in_a_row_eject_and_so_many_readmit() {
    let mut story = Story::of(exact());
    assert!(story.next(true).0 <= 250, "the first comes soon");
    assert_eq!(story.next(false), (2_000, Step::None));
    assert_eq!(story.next(false), (250, Step::None));
    assert_eq!(story.next(true), (250, Step::None), "not in a row");
    assert_eq!(story.next(false), (2_000, Step::None));
    assert_eq!(story.next(false), (250, Step::None));
    assert_eq!(story.next(false), (250, Step::Eject(3)));
    story.ejected(0, 1_000);
    let waits: Vec<_> = (0..6).map(|_| story.next(false).0).collect();
    assert_eq!(waits, [250, 375, 562, 843, 1_000, 1_000]);
    assert_eq!(story.next(true), (1_000, Step::None));
    assert_eq!(story.next(true), (250, Step::Readmit));
    assert_eq!(story.next(true), (2_000, Step::None));
}

#[test]
fn whoever_cannot_be_spared_is_asked_on_and_said_again() {
    let mut story = Story::of(Check { fall: 1, ..exact() });
    story.next(true);
    assert_eq!(story.next(false).1, Step::Eject(1));
    assert_eq!(story.next(false), (2_000, Step::Eject(2)));
    assert_eq!(story.next(true), (2_000, Step::None));
}

#[test]
fn a_penalty_is_served_and_an_interval_given_is_kept_to() {
    let mut story = Story::of(Check { unhealthy_interval_ms: Some(300), ..exact() });
    story.ejected(5_000, 9_000);
    let other = Check { unhealthy_interval_ms: Some(300), port: Some(1), ..exact() };
    assert!(story.schedule.adopt(policy(other), story.now, &mut story.rng));
    assert_eq!(story.next(false).0, 5_000, "another check shortens nothing");
    assert_eq!(story.next(false).0, 300);
    story.ejected(0, 100);
    assert_eq!(story.next(false).0, 250);
}

#[test]
fn trouble_has_it_asked_at_once_but_not_all_the_time() {
    let mut story = Story::of(exact());
    story.next(true);
    story.now += Duration::from_millis(1_000);
    story.schedule.trouble(story.now);
    assert_eq!(story.next(true).0, 0);
    story.now += Duration::from_millis(10);
    story.schedule.trouble(story.now);
    assert_eq!(story.next(true).0, 240);
    story.ejected(0, 1_000);
    story.schedule.trouble(story.now);
    assert_eq!(story.next(false).0, 250, "whoever is out has its own times");
}

#[test]
fn without_active_only_who_is_out_is_asked() {
    let mut story = Story::of(Check { active: false, rise: 1, ..exact() });
    assert_eq!(story.schedule.due(), None);
    story.schedule.trouble(story.now);
    assert_eq!(story.schedule.due(), None);
    story.ejected(0, 1_000);
    assert_eq!(story.next(true).1, Step::Readmit);
    assert_eq!(story.schedule.due(), None);
}

#[test]
fn another_check_begins_anew_and_another_policy_does_not() {
    let mut story = Story::of(exact());
    story.next(true);
    story.next(false);
    story.next(false);
    let other = PoolPolicy { max_tries: 9, ..PoolPolicy::clone(story.schedule.policy()) };
    let due = story.schedule.due();
    assert!(!story.schedule.adopt(Arc::new(other), story.now, &mut story.rng));
    assert_eq!(story.schedule.due(), due);
    assert!(story.schedule.adopt(policy(Check { port: Some(1), ..exact() }), story.now, &mut story.rng));
    let (waited, step) = story.next(false);
    assert!(waited <= 250 && step == Step::None, "{waited} {step:?}");
    assert!(story.schedule.adopt(policy(Check::default()), story.now, &mut story.rng));
    assert_eq!(story.schedule.due(), None, "no checks any more");
}

#[test]
fn what_says_nothing_counts_for_nothing_and_waits_vary() {
    let mut story = Story::of(Check { jitter: 0.2, ..exact() });
    story.next(false);
    story.next(false);
    assert_eq!(story.schedule.ended(None, story.now, &mut story.rng), Step::None);
    assert_eq!(story.next(false).1, Step::Eject(3));
    let waits: std::collections::BTreeSet<_> = (0..50).map(|_| story.next(true).0).skip(1).collect();
    assert!(waits.len() > 10 && waits.iter().all(|wait| (1_600..=2_400).contains(wait)), "{waits:?}");
}

#[test]
fn what_others_check_is_asked_only_after_trouble_and_until_it_passes() {
    let mut story = Story::of(exact());
    assert_eq!(story.next(true).1, Step::None);
    story.schedule.leave_to_others(true, story.now, &mut story.rng);
    assert_eq!(story.schedule.due(), None);
    story.now += Duration::from_secs(60);
    story.schedule.trouble(story.now);
    assert_eq!(story.next(false), (0, Step::None), "at once");
    assert_eq!(story.next(false), (250, Step::None), "it has to say that it is well");
    assert_eq!(story.next(true), (250, Step::None));
    assert_eq!(story.schedule.due(), None);

    story.schedule.wanted(story.now);
    assert_eq!(story.next(true), (0, Step::None), "nobody else is left");
    assert_eq!(story.schedule.due(), None);

    story.schedule.trouble(story.now);
    for step in [Step::None, Step::None, Step::Eject(3)] {
        assert_eq!(story.next(false).1, step);
    }
    story.ejected(0, 1_000);
    assert_eq!(story.next(false), (250, Step::None), "who ejected it brings it back");
    assert_eq!(story.next(true), (375, Step::None));
    assert_eq!(story.next(true), (250, Step::Readmit));
    assert_eq!(story.schedule.due(), None);

    story.schedule.leave_to_others(false, story.now, &mut story.rng);
    assert!(story.next(true).0 <= 250, "whoever is to check it begins soon");
    assert_eq!(story.next(true), (2_000, Step::None));
    story.schedule.leave_to_others(true, story.now, &mut story.rng);
    assert!(story.schedule.adopt(policy(Check { active: false, ..exact() }), story.now, &mut story.rng));
    story.schedule.trouble(story.now);
    assert_eq!(story.schedule.due(), None, "where nobody is asked, trouble changes nothing");
}

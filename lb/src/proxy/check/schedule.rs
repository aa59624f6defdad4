//! When an upstream is asked next, and what follows from what it answered.
//!
//! ```text
//!   in use    passed          ─▶ again after interval_ms
//!             failed          ─▶ again after edge_interval_ms; the `fall`th in a row: eject
//!             trouble         ─▶ at once, but not sooner than edge_interval_ms after the last
//!   out       ejected         ─▶ after edge_interval_ms, or when its time is served
//!             failed          ─▶ again after half as long again, at most unhealthy_interval_ms or the penalty
//!             passed          ─▶ again after edge_interval_ms; the `rise`th in a row: readmit
//!   either    another check   ─▶ at once, counted anew
//! ```
//!
//! In use without `active`: never. Waits vary at random by `jitter`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::{Rng, RngExt};
use wire::proxy_config::PoolPolicy;

use super::record::Ejection;

/// What follows from a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing yet.
    None,
    /// So many in a row failed that it has to go.
    Eject(u32),
    /// It may come back.
    Readmit,
}

/// The schedule of one upstream.
#[derive(Debug)]
pub(super) struct Schedule {
    policy: Arc<PoolPolicy>,
    is_out: bool,
    /// What the last check came to, and how many before it the same.
    passing: bool,
    in_a_row: u32,
    /// The present wait while it is out, and the most it may be.
    wait: Duration,
    penalty: Duration,
    /// Its time is served then.
    held_until: Instant,
    begun: Option<Instant>,
    due: Option<Instant>,
}

impl Schedule {
    /// The one of an upstream nothing is known of, as of `now`; `is_out`: it is ejected.
    pub(super) fn new(policy: Arc<PoolPolicy>, is_out: bool, now: Instant, rng: &mut impl Rng) -> Self {
        let wait = Duration::from_millis(policy.check.edge_interval_ms);
        let penalty = Duration::from_millis(policy.eject_min_ms);
        let mut schedule = Schedule {
            policy,
            is_out,
            passing: true,
            in_a_row: 0,
            wait,
            penalty,
            held_until: now,
            begun: None,
            due: None,
        };
        schedule.begin(now, rng);
        schedule
    }

    /// When to ask; none: not until there is news.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    pub(super) fn policy(&self) -> &Arc<PoolPolicy> {
        &self.policy
    }

    /// Goes on by `policy`. Returns whether its check is another one.
    pub(super) fn adopt(&mut self, policy: Arc<PoolPolicy>, now: Instant, rng: &mut impl Rng) -> bool {
        let is_new = policy.check != self.policy.check;
        self.policy = policy;
        if is_new {
            self.in_a_row = 0;
            self.wait = self.edge();
            self.begin(now, rng);
        }
        is_new
    }

    /// Takes in that it was ejected at `now`.
    pub(super) fn ejected(&mut self, ejection: Ejection, now: Instant, rng: &mut impl Rng) {
        self.is_out = true;
        self.in_a_row = 0;
        self.penalty = ejection.penalty;
        self.wait = self.edge().min(self.longest());
        let first = self.jittered(self.wait, rng);
        self.held_until = now + ejection.hold;
        self.due = Some(self.held_until.max(now + first));
    }

    /// Takes in that a request to it failed.
    pub(super) fn trouble(&mut self, now: Instant) {
        if let Some(due) = self.due.filter(|_| !self.is_out) {
            self.due = Some(due.min(self.begun.map_or(now, |begun| now.max(begun + self.edge()))));
        }
    }

    /// Takes in that a check begins.
    pub(super) fn began(&mut self, now: Instant) {
        self.begun = Some(now);
    }

    /// Takes in that it ended; none: it says nothing.
    pub(super) fn ended(&mut self, passed: Option<bool>, now: Instant, rng: &mut impl Rng) -> Step {
        let Some(passed) = passed else {
            self.again(self.edge(), now, rng);
            return Step::None;
        };
        self.in_a_row = if passed == self.passing { self.in_a_row.saturating_add(1) } else { 1 };
        self.passing = passed;
        let check = &self.policy.check;
        let interval = Duration::from_millis(check.interval_ms);
        let (wait, step) = match (self.is_out, passed) {
            (true, true) if self.in_a_row >= check.rise => {
                self.is_out = false;
                (interval, Step::Readmit)
            }
            (true, true) => (self.edge(), Step::None),
            (true, false) => {
                self.wait = (self.wait + self.wait / 2).min(self.longest());
                (self.wait, Step::None)
            }
            (false, true) => (interval, Step::None),
            // Where it cannot be spared it stays in use, and is asked as if it were well.
            (false, false) if self.in_a_row >= check.fall => (interval, Step::Eject(self.in_a_row)),
            (false, false) => (self.edge(), Step::None),
        };
        self.again(wait, now, rng);
        step
    }

    /// The first check of a kind. Not at the same time for all, as a policy changes for all.
    fn begin(&mut self, now: Instant, rng: &mut impl Rng) {
        let spread = self.edge().mul_f64(rng.random_range(0.0..1.0));
        let earliest = if self.is_out { self.held_until } else { now };
        self.due = self.is_asked().then(|| earliest.max(now + spread));
    }

    fn again(&mut self, wait: Duration, now: Instant, rng: &mut impl Rng) {
        self.due = self.is_asked().then(|| now + self.jittered(wait, rng));
    }

    fn is_asked(&self) -> bool {
        self.is_out || self.policy.check.active
    }

    fn edge(&self) -> Duration {
        Duration::from_millis(self.policy.check.edge_interval_ms)
    }

    fn longest(&self) -> Duration {
        self.policy.check.unhealthy_interval_ms.map_or(self.penalty, Duration::from_millis)
    }

    fn jittered(&self, wait: Duration, rng: &mut impl Rng) -> Duration {
        let jitter = self.policy.check.jitter;
        wait.mul_f64(rng.random_range(1.0 - jitter..=1.0 + jitter))
    }
}

#[cfg(test)]
mod tests {
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
}

//! How fast a number may follow what the metrics ask for (`horizontal.go`: stabilization, policies, limits).

use std::time::Duration;

use super::{Behaviour, Rules, Select, Step, Time};

/// What has to be remembered of the past: for as long as a window or a period looks back.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct History {
    /// What was asked for, and when.
    asked: Vec<(Time, u32)>,
    /// By how much the number grew, and when.
    grown: Vec<(Time, u32)>,
    /// By how much it shrank.
    shrunk: Vec<(Time, u32)>,
}

impl History {
    /// The past of one who knows only that `current` were asked for.
    pub(super) fn beginning(now: Time, current: u32) -> Self {
        History { asked: vec![(now, current)], ..History::default() }
    }

    /// What becomes of `desired`: the nearest to it that stabilization windows, policies and limits allow.
    pub(super) fn allowed(&mut self, now: Time, rules: &Rules, current: u32, desired: u32) -> u32 {
        let stable = self.stabilized(now, rules, current, desired);
        if stable > current {
            let up = |start: u64, step| match step {
                Step::Machines(count) => start + u64::from(count),
                Step::Percent(percent) => (start * (100 + u64::from(percent))).div_ceil(100),
            };
            let bounds = self.bounds(now, &rules.up, current, up);
            let limit = match rules.up.select {
                Select::Max => bounds.max(),
                Select::Min => bounds.min(),
                Select::Disabled => None,
            };
            stable.min(saturated(limit).unwrap_or(current).max(current)).min(rules.max)
        } else if stable < current {
            let down = |start: u64, step| match step {
                Step::Machines(count) => start.saturating_sub(u64::from(count)),
                Step::Percent(percent) => start * u64::from(100_u32.saturating_sub(percent)) / 100,
            };
            let bounds = self.bounds(now, &rules.down, current, down);
            // The largest change downwards leaves the fewest.
            let limit = match rules.down.select {
                Select::Max => bounds.min(),
                Select::Min => bounds.max(),
                Select::Disabled => None,
            };
            stable.max(saturated(limit).unwrap_or(current).min(current)).max(rules.min)
        } else {
            current
        }
    }

    /// The number became `desired`.
    pub(super) fn changed(&mut self, now: Time, rules: &Rules, current: u32, desired: u32) {
        let longest = |behaviour: &Behaviour| behaviour.policies.iter().map(|policy| policy.period).max();
        let longest = longest(&rules.up).max(longest(&rules.down)).unwrap_or_default();
        for events in [&mut self.grown, &mut self.shrunk] {
            events.retain(|(at, _)| now.saturating_sub(*at) < longest);
        }
        if desired > current {
            self.grown.push((now, desired - current));
        } else if desired < current {
            self.shrunk.push((now, current - desired));
        }
    }

    /// The most cautious of what was asked for lately: on the way up the least, on the way down the most.
    fn stabilized(&mut self, now: Time, rules: &Rules, current: u32, desired: u32) -> u32 {
        let is_lately = |at: Time, window: Duration| now.saturating_sub(at) < window;
        let lately = |window: Duration| {
            let asked = self.asked.iter().filter(move |(at, _)| is_lately(*at, window));
            asked.map(|(_, asked)| *asked).chain([desired])
        };
        let up = lately(rules.up.stabilization).min().unwrap_or(desired);
        let down = lately(rules.down.stabilization).max().unwrap_or(desired);
        let longest = rules.up.stabilization.max(rules.down.stabilization);
        self.asked.retain(|(at, _)| is_lately(*at, longest));
        if !longest.is_zero() {
            self.asked.push((now, desired));
        }
        current.max(up).min(down)
    }

    /// What each policy allows, counted from how many there were at the beginning of its period.
    fn bounds(
        &self,
        now: Time,
        behaviour: &Behaviour,
        current: u32,
        bound: impl Fn(u64, Step) -> u64,
    ) -> impl Iterator<Item = u64> {
        behaviour.policies.iter().map(move |policy| {
            let sum = |events: &[(Time, u32)]| -> u64 {
                let within = events.iter().filter(|(at, _)| now.saturating_sub(*at) < policy.period);
                within.map(|(_, change)| u64::from(*change)).sum()
            };
            let start = (u64::from(current) + sum(&self.shrunk)).saturating_sub(sum(&self.grown));
            bound(start, policy.step)
        })
    }
}

fn saturated(limit: Option<u64>) -> Option<u32> {
    limit.map(|limit| u32::try_from(limit).unwrap_or(u32::MAX))
}

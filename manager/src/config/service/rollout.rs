//! How fast machines are built anew, from what was said of it and the room there is.

use serde::{Deserialize, Serialize};
use wire::service::{RolloutPolicy, ServiceSpec};

use super::{Fit, ensure};

/// The most machines that may be too many or too few at a time.
const MAX_AT_ONCE: u32 = 100;

/// How long a machine may take to become ready, in milliseconds.
const READY_MS: std::ops::RangeInclusive<u64> = 500..=86_400_000;
const USUAL_READY_MS: u64 = 120_000;

/// How many machines are built anew at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    /// So many more than usual there may be.
    pub surge: u32,
    /// So many less than usual may serve.
    pub max_unavailable: u32,
    /// How long it may take until a further one is ready, in milliseconds.
    pub ready_within_ms: u64,
}

impl Pace {
    /// What `said` comes to where there is room for so many machines more; nothing where no machine could be built anew.
    pub fn of(said: &RolloutPolicy, room: usize) -> Option<Self> {
        let room = u32::try_from(room).unwrap_or(u32::MAX);
        let (surge, max_unavailable) = match (said.surge, said.max_unavailable) {
            (None, None) => (room.min(1), 1 - room.min(1)),
            (Some(surge), None) => (surge.min(room), u32::from(surge == 0)),
            (surge, Some(max_unavailable)) => (surge.unwrap_or(0).min(room), max_unavailable),
        };
        let ready_within_ms = said.ready_within_ms.unwrap_or(USUAL_READY_MS);
        (surge + max_unavailable > 0).then_some(Pace { surge, max_unavailable, ready_within_ms })
    }
}

/// Whether what is said of it is possible.
pub(super) fn check(spec: &ServiceSpec) -> Fit {
    let said = &spec.rollout;
    let more = said.surge.is_some_and(|surge| surge > 0);
    ensure(!(spec.persistent && more), "rollout.surge", || {
        "expected 0: with `persistent` each machine has a disk that no other can have meanwhile".to_owned()
    })?;
    for (name, value) in [("surge", said.surge), ("max_unavailable", said.max_unavailable)] {
        let fits = value.is_none_or(|value| value <= MAX_AT_ONCE);
        ensure(fits, &format!("rollout.{name}"), || format!("expected 0 to {MAX_AT_ONCE}"))?;
    }
    let neither = said.max_unavailable == Some(0) && said.surge.unwrap_or(0) == 0;
    ensure(!neither, "rollout.max_unavailable", || {
        "expected at least 1 where `surge` is 0: else no machine could be built anew".to_owned()
    })?;
    let fits = said.ready_within_ms.is_none_or(|ms| READY_MS.contains(&ms));
    ensure(fits, "rollout.ready_within_ms", || {
        format!("expected {} to {} milliseconds", READY_MS.start(), READY_MS.end())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_follows_from_the_rest() {
        let pace = |surge, max_unavailable, room| {
            let said = RolloutPolicy { surge, max_unavailable, ready_within_ms: None };
            Pace::of(&said, room).map(|pace| (pace.surge, pace.max_unavailable))
        };
        for (surge, max_unavailable, room, expected) in [
            (None, None, 5, Some((1, 0))),
            (None, None, 0, Some((0, 1))),
            (Some(3), None, 2, Some((2, 0))),
            (Some(3), None, 0, None),
            (Some(0), None, 5, Some((0, 1))),
            (None, Some(2), 5, Some((0, 2))),
            (Some(2), Some(2), 0, Some((0, 2))),
            (Some(2), Some(0), 0, None),
        ] {
            assert_eq!(pace(surge, max_unavailable, room), expected, "{surge:?} {max_unavailable:?} {room}");
        }
    }
}

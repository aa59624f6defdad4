//! What a balancer is worth in an election: its configured priority while it is fit, less by a fixed
//! weight for each trouble while it is not. Weights are the same everywhere, so that routers with equal
//! troubles keep the order of their configured priorities.

/// Priorities from here to 254 say "fit". A router that advertises less is preempted by a fit one.
pub const FIT_FROM: u8 = 200;

/// What a holder says to one router alone, to have that one take the address ([`Router::release_to`](crate::Router::release_to)).
/// As the priority of an advert to all it would be an unfit one's, and ours never say it there.
pub const OFFER: u8 = FIT_FROM - 1;

/// The priority of the router that is preferred; each that follows it in the order of preference has so much less.
pub const PREFERRED: u8 = 240;

/// See [`PREFERRED`]. At 100 ms between adverts it makes those who take over from a silent holder do so 4 ms apart.
const RANK_STEP: u8 = 10;

/// The priority of who stands at `rank` (0 is the first) of a virtual router's order of preference. From the fifth on all
/// have the lowest priority of a fit one: among those the address decides.
#[must_use]
pub fn of_rank(rank: usize) -> u8 {
    let step = u8::try_from(rank).unwrap_or(u8::MAX).saturating_mul(RANK_STEP);
    PREFERRED.saturating_sub(step).max(FIT_FROM)
}

/// The highest priority a router may have; 255 belongs to an owner of the address (RFC 9568, section
/// 5.2.4), which would seize it back whatever its state.
pub const HIGHEST: u8 = 254;

/// Why a router cannot serve as well as it was configured to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// It was asked to let another one hold the address.
    SteppingDown,
    /// Its proxy wants no new connections.
    Draining,
    /// Its machine or host cannot reach the network beyond.
    UplinkLost,
    /// Its proxy lives but does nothing.
    Hung,
}

impl Unfit {
    const ALL: [Unfit; 4] = [Unfit::SteppingDown, Unfit::Draining, Unfit::UplinkLost, Unfit::Hung];

    /// What this trouble costs. The least is more than [`HIGHEST`] - [`FIT_FROM`], so that any one of
    /// them makes any router unfit.
    #[must_use]
    pub const fn weight(self) -> u8 {
        match self {
            Unfit::SteppingDown => 55,
            Unfit::Draining => 65,
            Unfit::UplinkLost => 85,
            Unfit::Hung => 105,
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Unfit::SteppingDown => 1,
            Unfit::Draining => 2,
            Unfit::UplinkLost => 4,
            Unfit::Hung => 8,
        }
    }
}

/// The configured priority and the troubles that lower it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fitness {
    base: u8,
    troubles: u8,
}

impl Fitness {
    pub(crate) fn new(base: u8) -> Self {
        Fitness { base: base.clamp(1, HIGHEST), troubles: 0 }
    }

    pub(crate) fn set_base(&mut self, base: u8) {
        self.base = base.clamp(1, HIGHEST);
    }

    pub(crate) fn set(&mut self, trouble: Unfit, on: bool) {
        if on {
            self.troubles |= trouble.bit();
        } else {
            self.troubles &= !trouble.bit();
        }
    }

    pub(crate) fn has(&self, trouble: Unfit) -> bool {
        self.troubles & trouble.bit() != 0
    }

    pub(crate) fn base(&self) -> u8 {
        self.base
    }

    /// The priority now, 1 to 254: 0 would say that the address is let go.
    pub(crate) fn priority(&self) -> u8 {
        if self.troubles == 0 {
            return self.base;
        }
        Unfit::ALL
            .into_iter()
            .filter(|trouble| self.has(*trouble))
            .fold(self.base, |priority, trouble| priority.saturating_sub(trouble.weight()))
            .clamp(1, OFFER - 1)
    }

    pub(crate) fn is_fit(&self) -> bool {
        self.priority() >= FIT_FROM
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_trouble_makes_any_router_unfit() {
        for trouble in Unfit::ALL {
            let mut fitness = Fitness::new(HIGHEST);
            assert!(fitness.is_fit());
            fitness.set(trouble, true);
            assert!(!fitness.is_fit(), "{trouble:?}");
            fitness.set(trouble, false);
            assert!(fitness.is_fit());
        }
    }

    #[test]
    fn each_rank_is_fit_and_lower_than_the_one_before_until_the_lowest() {
        let ranks: Vec<u8> = (0..7).map(of_rank).collect();
        assert_eq!(ranks, [240, 230, 220, 210, 200, 200, 200]);
        assert_eq!(of_rank(usize::MAX), FIT_FROM);
    }

    #[test]
    fn equal_troubles_keep_the_order() {
        for trouble in Unfit::ALL {
            let (mut a, mut b) = (Fitness::new(240), Fitness::new(230));
            a.set(trouble, true);
            b.set(trouble, true);
            assert!(a.priority() > b.priority(), "{trouble:?}");
        }
    }

    #[test]
    fn all_troubles_together_do_not_say_release() {
        let mut fitness = Fitness::new(FIT_FROM);
        Unfit::ALL.into_iter().for_each(|trouble| fitness.set(trouble, true));
        assert_eq!(fitness.priority(), 1);
    }
}

//! How many balancers and public addresses a load takes: what `manager plan vips` answers.
//!
//! Every address gets an equal part of the traffic, and every balancer the same number of addresses, so that all are active
//! alike. When balancers are lost, theirs go to the others as evenly as whole addresses can: of V addresses the fullest
//! of B - S survivors has V / (B - S), rounded up. More addresses round less; beyond V = B (B - S) nothing is gained.

use std::fmt;

use serde::Serialize;
use thiserror::Error;

/// The most balancers: a cluster has no more hosts.
pub const MAX_BALANCERS: u32 = 64;

/// The most addresses of one family on a segment: each has a virtual router id of its own (RFC 9568, section 5.2.3).
pub const MAX_ADDRESSES: u32 = 255;

/// What has to be carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// All of the traffic, in bits per second.
    pub traffic: u64,
    /// What the link of one balancer carries, in bits per second.
    pub link: u64,
    /// So many balancers may be lost at the same time.
    pub survive: u32,
    /// How full a link may become, in percent.
    pub fill: u8,
}

/// A number of balancers and addresses, and what it comes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Choice {
    /// Balancers, all active.
    pub balancers: u32,
    /// Public addresses, the same number for each balancer.
    pub addresses: u32,
    /// What each balancer carries while all live.
    pub before: Vec<Share>,
    /// What each of those that are left carries when as many are lost as are to be survived.
    pub after: Vec<Share>,
    /// Whether the fullest link is within what a link may become.
    pub fits: bool,
}

/// Balancers that carry the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Share {
    /// How many of them there are.
    pub balancers: u32,
    /// The addresses that each holds.
    pub addresses: u32,
    /// What each carries, in bits per second, rounded up.
    pub bits_per_second: u64,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The fewest that are enough: of balancers where their number is free, then of addresses.
    pub answer: Choice,
    /// What was weighed against it: fewer addresses, and, where that is free, more balancers.
    pub others: Vec<Choice>,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Impossible {
    /// Nobody would be left.
    #[error("of {balancers} balancers {survive} are to be lost, and nobody is left: plan with at least {}", survive + 1)]
    NobodyLeft {
        /// How many there were to be.
        balancers: u32,
        /// How many of them were to be lost.
        survive: u32,
    },
    /// However many addresses there are.
    #[error(
        "{balancers} balancers are too few: with {survive} lost, the others carry {} each whatever the number of \
         addresses, and a link may carry {}; {needed} are enough",
        Rate(*least), Rate(*allowed)
    )]
    TooFew {
        /// How many there were to be.
        balancers: u32,
        /// How many of them are to be lost.
        survive: u32,
        /// What each survivor carries at the least, in bits per second.
        least: u64,
        /// What a link may carry.
        allowed: u64,
        /// How many are enough.
        needed: u64,
    },
    /// A cluster has fewer hosts.
    #[error(
        "{needed} balancers are needed, and a cluster has {MAX_BALANCERS} hosts at most: plan with faster links"
    )]
    TooMany {
        /// How many are needed.
        needed: u64,
    },
    /// A segment has fewer virtual router ids.
    #[error(
        "{balancers} balancers need more than {MAX_ADDRESSES} addresses, and a segment has no more virtual router ids: \
         plan with more balancers, or with fuller links"
    )]
    TooManyAddresses {
        /// How many balancers.
        balancers: u32,
    },
}

impl Demand {
    /// What a link may carry, in bits per second.
    pub fn allowed(&self) -> u64 {
        let allowed = u128::from(self.link) * u128::from(self.fill) / 100;
        u64::try_from(allowed).unwrap_or(u64::MAX)
    }

    /// The fewest balancers for which any number of addresses is enough.
    fn needed(&self) -> u64 {
        let survivors = self.traffic.div_ceil(self.allowed().max(1)).max(1);
        survivors + u64::from(self.survive)
    }

    /// What `balancers` and `addresses` come to; `balancers` are more than are to be lost.
    pub fn choice(&self, balancers: u32, addresses: u32) -> Choice {
        let after = self.shares(balancers - self.survive, addresses);
        let fullest = after.iter().map(|share| share.addresses).max().unwrap_or(0);
        // Compared before rounding: a full link is full, and no fuller.
        let fits = u128::from(self.traffic) * u128::from(fullest)
            <= u128::from(self.allowed()) * u128::from(addresses);
        Choice { balancers, addresses, before: self.shares(balancers, addresses), after, fits }
    }

    /// `addresses` over so many balancers, as evenly as can be: the fuller ones first.
    fn shares(&self, balancers: u32, addresses: u32) -> Vec<Share> {
        let share = |count: u32, each: u32| Share {
            balancers: count,
            addresses: each,
            bits_per_second: self.carried(each, addresses),
        };
        let (each, fuller) = (addresses / balancers, addresses % balancers);
        let shares = [share(fuller, each + 1), share(balancers - fuller, each)];
        shares.into_iter().filter(|share| share.balancers > 0).collect()
    }

    fn carried(&self, each: u32, addresses: u32) -> u64 {
        let bits = (u128::from(self.traffic) * u128::from(each)).div_ceil(u128::from(addresses.max(1)));
        u64::try_from(bits).unwrap_or(u64::MAX)
    }

    /// The fewest addresses with which `balancers` are enough.
    ///
    /// # Errors
    ///
    /// When no number of addresses is.
    pub fn with_balancers(&self, balancers: u32) -> Result<Plan, Impossible> {
        let Demand { survive, .. } = *self;
        if balancers <= survive {
            return Err(Impossible::NobodyLeft { balancers, survive });
        }
        let left = balancers - survive;
        let mut others = Vec::new();
        for each in 1..=left {
            let addresses = balancers.saturating_mul(each);
            if addresses > MAX_ADDRESSES {
                break;
            }
            let choice = self.choice(balancers, addresses);
            if choice.fits {
                return Ok(Plan { answer: choice, others });
            }
            others.push(choice);
        }
        if u64::from(balancers) >= self.needed() {
            return Err(Impossible::TooManyAddresses { balancers });
        }
        let least = self.traffic.div_ceil(u64::from(left));
        Err(Impossible::TooFew { balancers, survive, least, allowed: self.allowed(), needed: self.needed() })
    }

    /// The fewest balancers that are enough, and the fewest addresses with which they are.
    ///
    /// # Errors
    ///
    /// When there are not so many.
    pub fn with_any(&self) -> Result<Plan, Impossible> {
        let needed = self.needed();
        let first = u32::try_from(needed).ok().filter(|first| *first <= MAX_BALANCERS);
        let Some(first) = first else { return Err(Impossible::TooMany { needed }) };
        let mut plan: Option<Plan> = None;
        for balancers in first..=MAX_BALANCERS {
            let Ok(next) = self.with_balancers(balancers) else { continue };
            // More of both is worth nothing; one address each is the fewest there can be.
            let is_last = next.answer.addresses == balancers;
            match &mut plan {
                None => plan = Some(next),
                Some(plan) => {
                    let fewest =
                        plan.others.iter().filter(|other| other.fits).map(|other| other.addresses).min();
                    if next.answer.addresses < fewest.unwrap_or(plan.answer.addresses) {
                        plan.others.push(next.answer);
                    }
                }
            }
            if is_last {
                break;
            }
        }
        plan.ok_or(Impossible::TooManyAddresses { balancers: first })
    }
}

/// Bits per second, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate(pub u64);

/// The units of a rate, the largest first.
const UNITS: [(&str, u64); 5] =
    [("Tbit", 1_000_000_000_000), ("Gbit", 1_000_000_000), ("Mbit", 1_000_000), ("kbit", 1_000), ("bit", 1)];

impl fmt::Display for Rate {
    #[allow(clippy::cast_precision_loss)] // shown with two decimals
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, unit) = UNITS.into_iter().find(|(_, unit)| self.0 >= *unit).unwrap_or(("bit", 1));
        let decimals = if unit == 1 { 0 } else { 2 };
        f.pad(&format!("{:.decimals$} {name}/s", self.0 as f64 / unit as f64))
    }
}

/// A rate such as `1.5Gbit`, in bits per second.
///
/// # Errors
///
/// Says what is expected.
pub fn parse_rate(text: &str) -> Result<u64, String> {
    let expected =
        || "expected a rate above 0 and up to 1000 Tbit, such as 1.5Gbit, 800Mbit or 10 Gbit/s".to_owned();
    let trimmed = text.trim().strip_suffix("/s").unwrap_or(text.trim());
    let at = trimmed.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(expected)?;
    let (number, unit) = (trimmed[..at].trim_end(), &trimmed[at..]);
    let is_unit = |(name, _): &(&str, u64)| name.eq_ignore_ascii_case(unit);
    let (_, unit) = UNITS.into_iter().find(is_unit).ok_or_else(expected)?;
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let digits =
        |text: &str| !text.is_empty() && text.len() <= 12 && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(part) {
        return Err(expected());
    }
    let number = |text: &str| text.parse::<u128>().map_err(|_| expected());
    let scale = 10_u128.pow(u32::try_from(part.len()).map_err(|_| expected())?);
    let bits = (number(whole)? * scale + number(part)?) * u128::from(unit) / scale;
    match u64::try_from(bits) {
        Ok(bits @ 1..=1_000_000_000_000_000) => Ok(bits),
        _ => Err(expected()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GBIT: u64 = 1_000_000_000;

    fn demand() -> Demand {
        Demand { traffic: 3 * GBIT / 2, link: GBIT, survive: 1, fill: 80 }
    }

    fn worst(choice: &Choice) -> u64 {
        choice.after.iter().map(|share| share.bits_per_second).max().unwrap_or(0)
    }

    #[test]
    fn three_balancers_need_six_addresses_and_four_need_four() {
        let three = demand().with_balancers(3).expect("enough");
        assert_eq!((three.answer.addresses, worst(&three.answer)), (6, 750_000_000));
        let share = |balancers, addresses, bits_per_second| Share { balancers, addresses, bits_per_second };
        assert_eq!(three.answer.before, [share(3, 2, 500_000_000)]);
        assert_eq!(three.answer.after, [share(2, 3, 750_000_000)]);
        // Three addresses leave nothing to spare.
        let [one_each] = &three.others[..] else { panic!("{:?}", three.others) };
        assert_eq!((one_each.addresses, worst(one_each), one_each.fits), (3, GBIT, false));
        assert_eq!(one_each.after, [share(1, 2, GBIT), share(1, 1, GBIT / 2)]);
        let four = demand().with_balancers(4).expect("enough");
        assert_eq!((four.answer.addresses, worst(&four.answer)), (4, 750_000_000));
        assert_eq!(four.answer.after, [share(1, 2, 750_000_000), share(2, 1, 375_000_000)]);
        // With nothing to spare three are enough.
        let full = Demand { fill: 100, ..demand() }.with_balancers(3).expect("enough");
        assert_eq!((full.answer.addresses, worst(&full.answer)), (3, GBIT));
    }

    #[test]
    fn where_their_number_is_free_the_fewest_balancers_are_taken_and_more_are_shown() {
        let plan = demand().with_any().expect("enough");
        assert_eq!((plan.answer.balancers, plan.answer.addresses), (3, 6));
        let others: Vec<_> =
            plan.others.iter().map(|other| (other.balancers, other.addresses, other.fits)).collect();
        assert_eq!(others, [(3, 3, false), (4, 4, true)]);
    }

    #[test]
    fn what_cannot_be_says_what_could() {
        let said = |plan: Result<Plan, Impossible>| plan.expect_err("impossible").to_string();
        let few = said(demand().with_balancers(2));
        assert!(
            few.contains("carry 1.50 Gbit/s each") && few.contains("800.00 Mbit/s; 3 are enough"),
            "{few}"
        );
        let none = said(demand().with_balancers(1));
        assert!(none.contains("nobody is left") && none.contains("at least 2"), "{none}");
        let huge = Demand { traffic: 1000 * GBIT, ..demand() };
        assert!(said(huge.with_any()).contains("1251 balancers are needed"));
        let tight = Demand { traffic: 63 * GBIT, fill: 100, ..demand() };
        assert!(said(tight.with_balancers(64)).contains("more than 255 addresses"), "each survivor is full");
    }

    #[test]
    fn rates_are_read_and_shown() {
        for (text, bits) in [
            ("1.5Gbit", 1_500_000_000),
            ("800Mbit", 800_000_000),
            ("10 Gbit/s", 10 * GBIT),
            ("64kbit", 64_000),
            ("1TBIT", 1_000 * GBIT),
            ("7bit", 7),
        ] {
            assert_eq!(parse_rate(text), Ok(bits), "{text}");
        }
        for wrong in
            ["", "1.5", "Gbit", "-1Gbit", "1e3Mbit", "1.Gbit", "0Gbit", "1GB", "1001Tbit", "1.5.2Gbit"]
        {
            assert!(parse_rate(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Rate(1_500_000_000).to_string(), "1.50 Gbit/s");
        assert_eq!((Rate(999).to_string(), Rate(0).to_string()), ("999 bit/s".into(), "0 bit/s".into()));
    }

    proptest! {
        #[test]
        fn an_answer_fits_and_nothing_smaller_does(
            traffic in 1..100_000u64,
            link in 1..10_000u64,
            survive in 0..4u32,
            fill in 1..=100u8,
        ) {
            let demand = Demand { traffic, link, survive, fill };
            for balancers in 1..12 {
                let Ok(Plan { answer, others }) = demand.with_balancers(balancers) else {
                    // Then every number of addresses is too few, for no survivor can have less than its equal part.
                    if balancers > survive {
                        let left = balancers - survive;
                        prop_assert!(!demand.choice(balancers, balancers * left).fits);
                    }
                    continue;
                };
                prop_assert!(answer.fits && answer.addresses % balancers == 0);
                prop_assert!(others.iter().all(|other| !other.fits && other.addresses < answer.addresses));
                prop_assert_eq!(others.len() as u32, answer.addresses / balancers - 1);
                for (shares, count) in [(&answer.before, balancers), (&answer.after, balancers - survive)] {
                    prop_assert_eq!(shares.iter().map(|share| share.balancers).sum::<u32>(), count);
                    let held: u32 = shares.iter().map(|share| share.balancers * share.addresses).sum();
                    prop_assert_eq!(held, answer.addresses);
                    let carried: u64 = shares.iter().map(|s| u64::from(s.balancers) * s.bits_per_second).sum();
                    prop_assert!(carried >= traffic && carried < traffic + u64::from(count));
                }
                prop_assert!(worst(&answer) <= demand.allowed().max(1));
            }
            if let Ok(free) = demand.with_any() {
                let balancers = free.answer.balancers;
                prop_assert!(balancers == 1 || demand.with_balancers(balancers - 1).is_err());
                let fits: Vec<_> = free.others.iter().filter(|other| other.fits).collect();
                prop_assert!(fits.iter().all(|other| other.balancers > balancers));
                prop_assert!(fits.iter().all(|other| other.addresses < free.answer.addresses));
            }
        }
    }
}

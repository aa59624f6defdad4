//! Packets that are dropped: counted by kind, and complained of, but seldom.

use std::collections::BTreeMap;
use std::time::Duration;

use wire::vip::VipStatus;

/// Each kind is complained of this often: a flood of one neither fills the log nor hides another.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);

/// The kinds that are not malformed, beside those of [`vrrp::Malformed`].
pub(super) const UNLISTED_PEER: &str = "unlisted_peer";
pub(super) const NOT_MULTICAST: &str = "not_multicast";
pub(super) const UNKNOWN_VRID: &str = "unknown_vrid";

/// What was dropped, by kind. The kinds are constants, so there are never many.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    dropped: BTreeMap<&'static str, u64>,
    from: BTreeMap<&'static str, Duration>,
}

impl Complaints {
    /// Counts one packet of this kind.
    pub(super) fn count(&mut self, kind: &'static str) {
        let count = self.dropped.entry(kind).or_default();
        *count = count.saturating_add(1);
    }

    /// Lets `say` through if nothing of this kind was complained of lately.
    pub(super) fn complain(&mut self, now: Duration, kind: &'static str, say: impl FnOnce()) {
        let from = self.from.entry(kind).or_default();
        if now >= *from {
            *from = now + COMPLAIN_EVERY;
            say();
        }
    }

    /// Writes the counts into `status`.
    pub(super) fn report(&self, status: &mut VipStatus) {
        status.dropped = self.dropped.iter().map(|(kind, count)| ((*kind).to_owned(), *count)).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_complained_of_now_and_then_and_counted_always() {
        let (mut complaints, mut said) = (Complaints::default(), Vec::new());
        for second in 0..25 {
            for kind in ["ttl", "version_2"] {
                complaints.count(kind);
                complaints.complain(Duration::from_secs(second), kind, || said.push((second, kind)));
            }
        }
        let expected = [0, 10, 20].map(|second| [(second, "ttl"), (second, "version_2")]);
        assert_eq!(said, expected.concat());
        let mut status = VipStatus::default();
        complaints.report(&mut status);
        assert_eq!(status.dropped["ttl"], 25);
    }
}

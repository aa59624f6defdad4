//! What this host's balancer is known to hold, so that it need not be told again: of the next set only what differs goes
//! over the wire.
//!
//! It is known only from its own word: while a push is under way, and after one that was not answered, nothing is. Then,
//! and where a balancer refuses the changes (it is another one by now, or of a version that knows no changes), it is
//! told all of it.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use wire::changes::{Digest, UpstreamChanges};
use wire::upstreams::UpstreamSet;

/// The set that a balancer said last it has taken.
#[derive(Debug, Default)]
pub(crate) struct Pushed(Mutex<Option<Held>>);

#[derive(Debug)]
struct Held {
    lb: IpAddr,
    set: UpstreamSet,
    digest: Digest,
}

impl Pushed {
    /// What makes `set` of what the balancer at `lb` holds, if that is known and it is less than all of it. From now on
    /// nothing is known.
    pub(crate) fn changes_to(&self, lb: IpAddr, set: &UpstreamSet) -> Option<UpstreamChanges> {
        let held = self.lock().take().filter(|held| held.lb == lb)?;
        let changes = UpstreamChanges::between(&held.set, held.digest, set)?;
        let all: usize = set.pools.values().map(Vec::len).sum();
        (changes.len() <= all / 2).then_some(changes)
    }

    /// The balancer at `lb` has taken `set`; its digest, where it is known.
    pub(crate) fn note(&self, lb: IpAddr, set: &UpstreamSet, digest: Option<Digest>) {
        let digest = digest.unwrap_or_else(|| Digest::of(set));
        *self.lock() = Some(Held { lb, set: set.clone(), digest });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Held>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use wire::upstreams::{Upstream, UpstreamState};

    use super::*;

    const LB: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 9));

    fn set(generation: u64, ids: &[&str]) -> UpstreamSet {
        let upstream = |id: &&str| Upstream {
            id: (*id).into(),
            address: [127, 0, 0, 1].into(),
            port: 80,
            weight: 1,
            zone: "a".into(),
            backup: false,
            state: UpstreamState::Ready,
            checked_elsewhere: false,
        };
        UpstreamSet { generation, pools: [("p".into(), ids.iter().map(upstream).collect())].into() }
    }

    #[test]
    fn changes_are_told_only_to_who_said_what_it_holds() {
        let pushed = Pushed::default();
        let (first, second) = (set(1, &["a.1", "b.1", "c.1", "d.1"]), set(2, &["a.1", "b.1", "c.1", "d.2"]));
        assert_eq!(pushed.changes_to(LB, &first), None, "nothing is known yet");
        pushed.note(LB, &first, None);
        let changes = pushed.changes_to(LB, &second).expect("one has changed");
        assert_eq!((changes.base, changes.generation, changes.len()), (1, 2, 2));
        assert_eq!(changes.digest, Digest::of(&second));
        assert_eq!(pushed.changes_to(LB, &second), None, "it has not answered");
        pushed.note(LB, &second, Some(changes.digest));
        assert_eq!(pushed.changes_to(IpAddr::from([127, 0, 0, 1]), &first), None, "another one");
        pushed.note(LB, &second, None);
        assert_eq!(pushed.changes_to(LB, &set(3, &["e.1", "f.1", "g.1"])), None, "hardly anything stays");
    }
}

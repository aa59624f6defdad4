//! Who is to be the primary of a pool. No clock, no chance: balancers that see the same choose the same.
//!
//! The one there is stays while it is well, whoever else comes: each change closes connections. When it is not, the
//! first one that is well follows: the one that the managers name, then those that are no backups before those
//! that are, the suspect behind all, and each by its id.
//!
//! Of several balancers one decides, the holder of the first virtual address; the managers name the others whom it
//! chose, and they take that one whatever they see of it themselves: better no connection for a while than two primaries.

use std::time::Duration;

use wire::EndpointId;

use super::super::state::pool::Rank;

/// A balancer that does not decide goes by its own view when the one that is named was not well for so long: whoever
/// decides, and the managers that tell of it, have had more time than they need.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3);

/// One that may be it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) id: EndpointId,
    /// The manager's word.
    pub(crate) rank: Rank,
    pub(crate) standing: Standing,
}

/// What this balancer found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nothing yet: its first check is not over.
    Unknown,
    /// It is well, and takes writes as far as is known.
    Well,
    /// It is well, and takes none.
    Standby,
    /// It is not well.
    Ill,
}

/// Whose word counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word<'a> {
    /// Our own. One that was named, if any, is preferred when there is nobody.
    Ours(Option<&'a EndpointId>),
    /// That of another balancer, which chose this one.
    Named(&'a EndpointId),
}

/// The primary from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Choice<'a> {
    /// None: nobody.
    pub(crate) id: Option<&'a EndpointId>,
    /// Why.
    pub(crate) reason: &'static str,
}

/// Chooses among `candidates`, of which `present` is the primary now.
pub(crate) fn choose<'a>(
    candidates: &'a [Candidate],
    present: Option<&EndpointId>,
    word: Word<'_>,
) -> Choice<'a> {
    let find = |id: &EndpointId| candidates.iter().find(|candidate| candidate.id == *id && may_be(candidate));
    let named = match word {
        Word::Named(named) => {
            if let Some(named) = find(named) {
                return Choice { id: Some(&named.id), reason: "the balancer that decides chose it" };
            }
            None
        }
        Word::Ours(named) => named,
    };
    let stays = |candidate: &&Candidate| matches!(candidate.standing, Standing::Well | Standing::Unknown);
    if let Some(present) = present.and_then(find).filter(stays) {
        return Choice { id: Some(&present.id), reason: "it is well" };
    }
    let mut order: Vec<&Candidate> = candidates.iter().filter(|candidate| may_be(candidate)).collect();
    order.sort_by_key(|candidate| (Some(&candidate.id) != named, candidate.rank, &candidate.id));
    let nobody = |reason| Choice { id: None, reason };
    for candidate in &order {
        match candidate.standing {
            Standing::Well => {
                return Choice { id: Some(&candidate.id), reason: "it is the first that is well" };
            }
            // Others may know more already, and would choose it.
            Standing::Unknown => return nobody("the first one has not been checked yet"),
            Standing::Standby | Standing::Ill => {}
        }
    }
    nobody(if order.iter().any(|candidate| candidate.standing == Standing::Standby) {
        "those that are well take no writes"
    } else {
        "none is well"
    })
}

/// Whether its manager, and people, let it be used.
fn may_be(candidate: &Candidate) -> bool {
    Rank::USED.contains(&candidate.rank)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(number: u8) -> EndpointId {
        EndpointId(format!("db-{number}"))
    }

    fn candidate(number: u8, rank: Rank, standing: Standing) -> Candidate {
        Candidate { id: id(number), rank, standing }
    }

    fn of(standings: &[Standing]) -> Vec<Candidate> {
        (1..).zip(standings).map(|(number, standing)| candidate(number, Rank::Primary, *standing)).collect()
    }

    use Standing::{Ill, Standby, Unknown, Well};

    #[test]
    fn the_first_that_is_well_becomes_it_and_stays() {
        for (standings, present, named, expected) in [
            (vec![Well, Well, Well], None, None, Some(1)),
            (vec![Well, Well, Well], Some(2), None, Some(2)),
            (vec![Well, Ill, Well], Some(2), None, Some(1)),
            (vec![Ill, Ill, Well], Some(2), None, Some(3)),
            (vec![Ill, Ill, Ill], Some(2), None, None),
            (vec![Standby, Well, Standby], None, None, Some(2)),
            (vec![Well, Standby, Standby], Some(2), None, Some(1)),
            (vec![Standby, Standby, Standby], Some(2), None, None),
            // Nobody overtakes one that was not looked at, and the present one need not be.
            (vec![Unknown, Well, Well], None, None, None),
            (vec![Well, Unknown, Well], Some(2), None, Some(2)),
            // What was named is as good as an order.
            (vec![Well, Well, Well], None, Some(3), Some(3)),
            (vec![Well, Well, Well], Some(2), Some(3), Some(2)),
            (vec![Well, Well, Ill], None, Some(3), Some(1)),
            (vec![Well, Well, Unknown], None, Some(3), None),
            (vec![Well, Well, Well], None, Some(9), Some(1)),
        ] {
            let (candidates, named) = (of(&standings), named.map(id));
            let chosen = choose(&candidates, present.map(id).as_ref(), Word::Ours(named.as_ref()));
            assert_eq!(chosen.id, expected.map(id).as_ref(), "{standings:?} {present:?} {named:?}");
        }
    }

    #[test]
    fn who_does_not_decide_takes_the_one_that_is_named_whatever_it_sees() {
        let candidates = of(&[Well, Ill, Well]);
        let chosen = |named: u8| choose(&candidates, Some(&id(1)), Word::Named(&id(named))).id.cloned();
        assert_eq!(chosen(2), Some(id(2)));
        // It is none of the pool any more.
        assert_eq!(chosen(9), Some(id(1)));
    }

    #[test]
    fn backups_and_suspects_come_last_and_who_drains_is_none() {
        let ranks = [Rank::Draining, Rank::Suspect, Rank::Backup, Rank::Primary];
        let mut candidates: Vec<_> =
            (1..).zip(ranks).map(|(number, rank)| candidate(number, rank, Well)).collect();
        let mut order = Vec::new();
        while let Some(chosen) = choose(&candidates, None, Word::Ours(None)).id.cloned() {
            order.push(chosen.clone());
            candidates.retain(|candidate| candidate.id != chosen);
        }
        assert_eq!(order, [id(4), id(3), id(2)]);
        assert_eq!(choose(&candidates, Some(&id(1)), Word::Ours(None)).id, None);
        assert_eq!(choose(&candidates, None, Word::Named(&id(1))).id, None);
    }

    fn any_candidates() -> impl Strategy<Value = Vec<Candidate>> {
        let rank =
            prop_oneof![Just(Rank::Primary), Just(Rank::Backup), Just(Rank::Suspect), Just(Rank::Draining)];
        let standing = prop_oneof![Just(Unknown), Just(Well), Just(Standby), Just(Ill)];
        proptest::collection::vec((rank, standing), 0..6).prop_map(|given| {
            (1..).zip(given).map(|(number, (rank, standing))| candidate(number, rank, standing)).collect()
        })
    }

    proptest! {
        #[test]
        fn it_does_not_depend_on_the_order_and_is_settled_at_once(
            candidates in any_candidates(), present in proptest::option::of(1u8..7), named in proptest::option::of(1u8..7)
        ) {
            let (present, named) = (present.map(id), named.map(id));
            let word = Word::Ours(named.as_ref());
            let chosen = choose(&candidates, present.as_ref(), word).id.cloned();
            let mut turned = candidates.clone();
            turned.reverse();
            prop_assert_eq!(choose(&turned, present.as_ref(), word).id.cloned(), chosen.clone());
            prop_assert_eq!(choose(&candidates, chosen.as_ref(), word).id.cloned(), chosen.clone());
            if let Some(chosen) = chosen {
                let found = candidates.iter().find(|candidate| candidate.id == chosen);
                prop_assert!(found.is_some_and(|found| matches!(found.standing, Well | Unknown)));
            }
        }
    }
}

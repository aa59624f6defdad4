//! What holds in every pool, whatever state its upstreams are in.

use proptest::prelude::*;

use super::*;

/// One upstream of a random pool.
#[derive(Clone, Debug)]
struct Drawn {
    state: UpstreamState,
    backup: bool,
    weight: u32,
    near: bool,
    mode: Option<Mode>,
    ejected: Option<bool>,
    full: bool,
    tried: bool,
    doubtful: bool,
    on_trial: bool,
}

fn drawn() -> impl Strategy<Value = Drawn> {
    use UpstreamState::{Draining, Ready, Suspect};
    let state = prop_oneof![4 => Just(Ready), 1 => Just(Suspect), 1 => Just(Draining)];
    let mode = prop_oneof![6 => Just(None), 1 => Just(Some(Mode::Drain)), 1 => Just(Some(Mode::Maintenance))];
    let ejected = prop_oneof![3 => Just(None), 1 => any::<bool>().prop_map(Some)];
    let rest = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (state, any::<bool>(), 1u32..5, any::<bool>(), mode, ejected, rest).prop_map(
        |(state, backup, weight, near, mode, ejected, (full, tried, doubtful, on_trial))| {
            let on_trial = on_trial && ejected.is_none();
            Drawn { state, backup, weight, near, mode, ejected, full, tried, doubtful, on_trial }
        },
    )
}

fn algorithm() -> impl Strategy<Value = Algorithm> {
    prop::sample::select(ALL.to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn nobody_is_chosen_who_must_not_be_and_somebody_always_who_can_be(
        drawn in prop::collection::vec(drawn(), 0..8),
        algorithm in algorithm(),
        key in any::<u64>(),
        repeatable in any::<bool>(),
    ) {
        let now = Instant::now();
        let mut policy = with(algorithm);
        policy.upstream_limits.max_requests = 1;
        let members: Vec<_> = drawn.iter().enumerate().map(|(n, drawn)| {
            let member = member(&format!("{n}"), drawn.state, drawn.backup, drawn.weight);
            let order = drawn.mode.map(|mode| Override { weight: None, mode: Some(mode) });
            let zone = (!drawn.near).then(|| "elsewhere".into());
            member.seen_from(zone.as_ref(), order.as_ref())
        }).collect();
        let pool = pool_by(policy, members);
        let mut held = Vec::new();
        let mut tried = Vec::new();
        for member in pool.members() {
            let drawn = &drawn[member.upstream.id.as_str().parse::<usize>().expect("a number")];
            if let Some(for_answers) = drawn.ejected {
                member.upstream.take_out(for_answers).expect("in use");
            }
            if drawn.on_trial {
                member.upstream.health.trial.want(now);
            }
            if drawn.full {
                held.push(begin(&pool, member));
            }
            if drawn.doubtful {
                member.upstream.asked(now, Duration::ZERO);
            }
            if drawn.tried {
                tried.push(member.upstream.clone());
            }
        }
        let ask = Ask { key: Some(key), repeatable, ..Ask::default() };
        let of = |member: &Member| &drawn[member.upstream.id.as_str().parse::<usize>().expect("a number")];
        let can = |member: &&Member| member.rank < Rank::Maintenance && !of(member).full && !of(member).tried;
        let is_well = |member: &&Member| can(member) && of(member).ejected.is_none() && !of(member).on_trial;
        match pick(&pool, &ask, &tried, now + Duration::from_millis(1)) {
            Ok(pick) => {
                prop_assert!(can(&pick.member), "{:?}", of(pick.member));
                let best = pool.members().iter().filter(is_well).map(|member| member.rank).min();
                if let Some(best) = best.filter(|best| *best < Rank::Draining) {
                    prop_assert!(pick.member.rank <= best, "the manager's word comes first");
                }
                prop_assert!(!pick.is_trial || repeatable && of(pick.member).on_trial);
            }
            Err(nobody) => {
                prop_assert!(!pool.members().iter().any(|member| can(&member)));
                let waits = pool.offered().iter().any(|member| !of(member).tried);
                prop_assert_eq!(nobody == Nobody::HasRoom, waits);
            }
        }
    }
}

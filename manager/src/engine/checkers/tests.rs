//! Who checks what of a few hosts, and what the rest make of their words.

use super::super::shared::Origin;
use super::*;

fn hosts(names: &[&str]) -> Vec<HostName> {
    names.iter().map(|name| HostName::from(*name)).collect()
}

fn placed(number: u8, zone: &str, state: UpstreamState) -> Arc<Placed> {
    let upstream = Upstream {
        id: EndpointId(format!("{zone}-db-{number}.1")),
        address: [10, 0, 0, number].into(),
        port: 80,
        weight: 1,
        zone: zone.into(),
        backup: false,
        state,
        checked_elsewhere: false,
    };
    Arc::new(Placed { upstream, origin: Origin::Own })
}

fn names<'a>(all: &'a [HostName], upstream: &Upstream) -> Vec<&'a str> {
    let hashed: Vec<_> = all.iter().map(|host| (host, hash(host.as_str()))).collect();
    checkers(&hashed, upstream).iter().flatten().map(|at| all[*at].as_str()).collect()
}

#[test]
fn the_parts_are_about_even_and_who_goes_leaves_the_others_theirs() {
    let all: Vec<HostName> = (0..20).map(|host| HostName(format!("h{host:02}"))).collect();
    let left: Vec<HostName> = all.iter().filter(|host| host.as_str() != "h07").cloned().collect();
    let mut parts = BTreeMap::new();
    for number in 0..200 {
        let upstream = &placed(number, "elsewhere", UpstreamState::Ready).upstream;
        let before = names(&all, upstream);
        assert_eq!(before.iter().collect::<BTreeSet<_>>().len(), CHECKERS, "{before:?}");
        let after = names(&left, upstream);
        let stay: Vec<&str> = before.iter().filter(|host| **host != "h07").copied().collect();
        assert_eq!(after[..stay.len()], stay, "whoever follows comes after those who stay");
        before.into_iter().for_each(|host| *parts.entry(host.to_owned()).or_insert(0) += 1);
    }
    // 30 each on average.
    assert!(parts.len() == 20 && parts.values().all(|part| (10..=60).contains(part)), "{parts:?}");
}

#[test]
fn the_own_host_comes_first_and_of_fewer_than_three_all_check() {
    let upstream = &placed(1, "b", UpstreamState::Ready).upstream;
    assert_eq!(names(&hosts(&["a", "b", "c", "d", "e"]), upstream)[0], "b");
    assert_eq!(names(&hosts(&["a", "b"]), upstream), ["b", "a"]);
    assert_eq!(names(&[], upstream), [""; 0]);
}

/// What the balancer of `own` is told of `upstreams`, where each of the hosts `a` to `f` finds what `ill` says of it.
fn told(duty: &mut Duty, own: &str, upstreams: &Arc<Vec<Arc<Placed>>>, ill: &[(&str, &str)]) -> Vec<String> {
    let all = hosts(&["a", "b", "c", "d", "e", "f"]);
    let said = |host: &HostName| {
        let of_host = ill.iter().filter(|(by, _)| host.as_str() == *by);
        of_host.map(|(_, id)| EndpointId::from(*id)).collect::<BTreeSet<_>>()
    };
    let words: Vec<_> = all.iter().map(|host| (host, said(host))).collect();
    let words: Vec<Word<'_>> = words.iter().map(|(host, ill)| (*host, ill)).collect();
    duty.seen(&own.into(), upstreams, &words);
    let text = |placed: &Arc<Placed>| {
        let Upstream { state, checked_elsewhere, .. } = placed.upstream;
        format!("{state:?}{}", if checked_elsewhere { " elsewhere" } else { "" })
    };
    duty.seen.iter().map(text).collect()
}

#[test]
fn two_of_three_convict_for_those_who_do_not_check_and_only_what_is_ready() {
    let upstreams = Arc::new(vec![
        placed(1, "a", UpstreamState::Ready),
        placed(2, "a", UpstreamState::Draining),
        placed(3, "a", UpstreamState::Suspect),
    ]);
    let all = hosts(&["a", "b", "c", "d", "e", "f"]);
    let three = names(&all, &upstreams[0].upstream);
    let other = all.iter().map(HostName::as_str).find(|host| !three.contains(host)).expect("three more");
    let mut duty = Duty::default();
    let first = |told: Vec<String>| told[0].clone();
    let id = "a-db-1.1";
    assert_eq!(first(told(&mut duty, other, &upstreams, &[])), "Ready elsewhere");
    assert_eq!(first(told(&mut duty, other, &upstreams, &[(three[0], id)])), "Ready elsewhere");
    let before = Arc::clone(&duty.seen);
    assert_eq!(first(told(&mut duty, other, &upstreams, &[(three[0], id), (other, id)])), "Ready elsewhere");
    assert!(Arc::ptr_eq(&before, &duty.seen), "what is told stays the same, and is known to");
    let two = [(three[0], id), (three[1], id)];
    assert_eq!(first(told(&mut duty, other, &upstreams, &two)), "Suspect elsewhere");
    assert_eq!(first(told(&mut Duty::default(), three[2], &upstreams, &two)), "Ready", "its own eyes");
    assert_eq!(first(told(&mut duty, other, &upstreams, &[])), "Ready elsewhere");
    for (at, word) in [(1, "Draining"), (2, "Suspect")] {
        let id = upstreams[at].upstream.id.as_str();
        let ill: Vec<(&str, &str)> = all.iter().map(|host| (host.as_str(), id)).collect();
        let told = told(&mut duty, other, &upstreams, &ill);
        assert!(told[at].starts_with(word), "its manager's word is the worse one: {told:?}");
    }
}

#[test]
fn what_was_said_in_an_earlier_life_is_not_taken_for_a_managers_word() {
    let suspect = |elsewhere| Upstream {
        checked_elsewhere: elsewhere,
        ..placed(1, "a", UpstreamState::Suspect).upstream.clone()
    };
    let pools = without_verdicts([("db".into(), vec![suspect(true), suspect(false)])].into());
    let states: Vec<_> = pools[&PoolName::from("db")].iter().map(|upstream| upstream.state).collect();
    assert_eq!(states, [UpstreamState::Ready, UpstreamState::Suspect]);
    assert!(pools[&PoolName::from("db")].iter().all(|upstream| !upstream.checked_elsewhere));
}

//! What a manager tells its balancer when few of its upstreams are others: the changes alone.
//!
//! ```text
//!   PATCH /upstreams ─▶ is `base` held? ──no──▶ 409 with the generation held: send all of it (PUT)
//!                          │ yes
//!                          ▼
//!                       `remove`, then `put` ─▶ is it what `digest` says? ──no──▶ 409
//!                                                  │ yes
//!                                                  ▼
//!                                               as a whole set of `generation`
//! ```
//!
//! A balancer of an earlier version knows no PATCH (405), and one of an earlier version than a later field of these
//! documents refuses it (400): whoever is refused, with whatever status, sends the whole set.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

use crate::upstreams::{Upstream, UpstreamSet, UpstreamState};
use crate::{EndpointId, Generation, PoolName};

/// The body of `PATCH /upstreams`: what makes the set of generation `generation` of that of generation `base`. Both have
/// the same pools.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpstreamChanges {
    /// The set that is changed: the one that the receiver holds.
    pub base: Generation,
    /// Where the set that it becomes stands in the order of all sets.
    pub generation: Generation,
    /// That of the set that it becomes.
    #[schema(value_type = String)]
    pub digest: Digest,
    /// What changes in each pool; those that are not named stay as they are.
    pub pools: BTreeMap<PoolName, PoolChanges>,
}

/// What changes in one pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PoolChanges {
    /// Upstreams that are new, or are described in another way than before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub put: Vec<Upstream>,
    /// Upstreams that are in the pool no more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<EndpointId>,
}

impl PoolChanges {
    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.put.is_empty() && self.remove.is_empty()
    }

    /// How many upstreams it names.
    pub fn len(&self) -> usize {
        self.put.len() + self.remove.len()
    }
}

impl UpstreamChanges {
    /// What makes `new` of `old`, which has the digest `digest`; none where they have not the same pools: then all of
    /// it has to be said.
    pub fn between(old: &UpstreamSet, digest: Digest, new: &UpstreamSet) -> Option<Self> {
        if !old.pools.keys().eq(new.pools.keys()) {
            return None;
        }
        let mut changes = UpstreamChanges {
            base: old.generation,
            generation: new.generation,
            digest,
            pools: BTreeMap::new(),
        };
        for ((name, old), new) in old.pools.iter().zip(new.pools.values()) {
            let (changed, digest) = between(name, old, new, changes.digest);
            changes.digest = digest;
            if !changed.is_empty() {
                changes.pools.insert(name.clone(), changed);
            }
        }
        Some(changes)
    }

    /// How many upstreams it names.
    pub fn len(&self) -> usize {
        self.pools.values().map(PoolChanges::len).sum()
    }

    /// Whether nothing changes but the generation.
    pub fn is_empty(&self) -> bool {
        self.pools.values().all(PoolChanges::is_empty)
    }
}

/// What makes `new` of `old`, and the digest of the set afterwards.
fn between(pool: &PoolName, old: &[Upstream], new: &[Upstream], digest: Digest) -> (PoolChanges, Digest) {
    // Most are where they were.
    let same = old.iter().zip(new).take_while(|(old, new)| old == new).count();
    let (old, new) = (&old[same..], &new[same..]);
    let same = old.iter().rev().zip(new.iter().rev()).take_while(|(old, new)| old == new).count();
    let (old, new) = (&old[..old.len() - same], &new[..new.len() - same]);
    let mut left: HashMap<_, _> = old.iter().map(|upstream| (&upstream.id, upstream)).collect();
    let (mut changes, mut digest) = (PoolChanges::default(), digest);
    for upstream in new {
        match left.remove(&upstream.id) {
            Some(before) if before == upstream => continue,
            Some(before) => digest = digest.without(pool, before),
            None => {}
        }
        digest = digest.with(pool, upstream);
        changes.put.push(upstream.clone());
    }
    for upstream in old.iter().filter(|upstream| left.contains_key(&upstream.id)) {
        digest = digest.without(pool, upstream);
        changes.remove.push(upstream.id.clone());
    }
    (changes, digest)
}

/// What a set says, in a number: the sum of those of its pools and upstreams, in whatever order they are. It tells a set
/// that is not the one that was meant; nobody has to be kept from making two of the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest(pub u64);

impl Digest {
    /// That of `set`.
    pub fn of(set: &UpstreamSet) -> Self {
        set.pools.iter().fold(Digest::default(), |digest, (pool, upstreams)| {
            upstreams.iter().fold(digest.with_pool(pool), |digest, upstream| digest.with(pool, upstream))
        })
    }

    /// That of the set with `pool` as well.
    #[must_use]
    pub fn with_pool(self, pool: &PoolName) -> Self {
        Digest(self.0.wrapping_add(Hash::default().text(pool.as_str()).end()))
    }

    /// That of the set with `upstream` in `pool` as well.
    #[must_use]
    pub fn with(self, pool: &PoolName, upstream: &Upstream) -> Self {
        Digest(self.0.wrapping_add(hash(pool, upstream)))
    }

    /// That of the set without `upstream` in `pool`.
    #[must_use]
    pub fn without(self, pool: &PoolName, upstream: &Upstream) -> Self {
        Digest(self.0.wrapping_sub(hash(pool, upstream)))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// As text: not every reader of JSON has integers of 64 bits.
impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let is_hex = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        match u64::from_str_radix(&text, 16) {
            Ok(digest) if is_hex => Ok(Digest(digest)),
            _ => Err(serde::de::Error::custom(format!("expected 16 hexadecimal digits, found {text:?}"))),
        }
    }
}

fn hash(pool: &PoolName, upstream: &Upstream) -> u64 {
    let Upstream { id, address, port, weight, zone, backup, state, checked_elsewhere } = upstream;
    let hash = Hash::default().text(pool.as_str()).text(id.as_str());
    let hash = match address {
        std::net::IpAddr::V4(address) => hash.bytes(&address.octets()),
        std::net::IpAddr::V6(address) => hash.bytes(&address.octets()),
    };
    let state = match state {
        UpstreamState::Ready => 0,
        UpstreamState::Suspect => 1,
        UpstreamState::Draining => 2,
    };
    hash.number((*port).into())
        .number((*weight).into())
        .text(zone.as_str())
        .number(u64::from(*backup))
        .number(state)
        .flag(*checked_elsewhere)
        .end()
}

/// FNV-1a with 64 bits, whose bits are mixed at the end, as sums are made of them.
struct Hash(u64);

impl Default for Hash {
    fn default() -> Self {
        Hash(0xcbf2_9ce4_8422_2325)
    }
}

impl Hash {
    /// The length first: no two texts can be taken for two others.
    fn text(self, text: &str) -> Self {
        self.bytes(text.as_bytes())
    }

    fn bytes(self, bytes: &[u8]) -> Self {
        let hash = self.number(bytes.len() as u64);
        bytes.iter().fold(hash, |hash, &byte| hash.take(byte.into()))
    }

    fn number(self, number: u64) -> Self {
        self.take(number)
    }

    /// What is not set counts for nothing: who knows no such field has the same digest then.
    fn flag(self, is_set: bool) -> Self {
        if is_set { self.take(1) } else { self }
    }

    fn take(self, part: u64) -> Self {
        Hash((self.0 ^ part).wrapping_mul(0x0100_0000_01b3))
    }

    fn end(self) -> u64 {
        let mixed = (self.0 ^ self.0 >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
        let mixed = (mixed ^ mixed >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
        mixed ^ mixed >> 32
    }
}

/// Makes of `pools` what they become by `changes`: the new ones come last. Pools that are not there are made.
pub fn apply(
    pools: &mut BTreeMap<PoolName, Vec<Upstream>>,
    changes: impl IntoIterator<Item = (PoolName, PoolChanges)>,
) {
    for (name, PoolChanges { put, remove }) in changes {
        let pool = pools.entry(name).or_default();
        let mut put: HashMap<_, _> =
            put.into_iter().enumerate().map(|(at, upstream)| (upstream.id.clone(), (at, upstream))).collect();
        let remove: std::collections::HashSet<_> = remove.into_iter().collect();
        pool.retain_mut(|upstream| {
            if let Some((_, new)) = put.remove(&upstream.id) {
                *upstream = new;
                return true;
            }
            !remove.contains(&upstream.id)
        });
        let mut new: Vec<_> = put.into_values().collect();
        new.sort_by_key(|(at, _)| *at);
        pool.extend(new.into_iter().map(|(_, upstream)| upstream));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstream(number: u32, life: u32) -> Upstream {
        Upstream {
            id: EndpointId(format!("m{number}.{life}")),
            address: [10, 0, 0, u8::try_from(number).expect("small")].into(),
            port: 80,
            weight: 1,
            zone: "a".into(),
            backup: false,
            state: UpstreamState::Ready,
            checked_elsewhere: false,
        }
    }

    fn set(generation: Generation, upstreams: impl IntoIterator<Item = Upstream>) -> UpstreamSet {
        UpstreamSet { generation, pools: [("p".into(), upstreams.into_iter().collect())].into() }
    }

    #[test]
    fn changes_name_what_differs_and_make_the_new_set_of_the_old() {
        let old = set(4, (0..9).map(|n| upstream(n, 0)));
        let suspect = Upstream { state: UpstreamState::Suspect, ..upstream(7, 0) };
        let new = [upstream(0, 0), upstream(1, 1), upstream(2, 0), suspect, upstream(8, 0), upstream(9, 0)];
        let new = set(5, new);
        let changes = UpstreamChanges::between(&old, Digest::of(&old), &new).expect("the same pools");
        let pool = &changes.pools[&PoolName::from("p")];
        let put: Vec<_> = pool.put.iter().map(|upstream| upstream.id.as_str()).collect();
        let removed: Vec<_> = pool.remove.iter().map(EndpointId::as_str).collect();
        assert_eq!((changes.base, changes.generation), (4, 5));
        assert_eq!(put, ["m1.1", "m7.0", "m9.0"]);
        assert_eq!(removed, ["m1.0", "m3.0", "m4.0", "m5.0", "m6.0"]);
        assert_eq!(changes.digest, Digest::of(&new));
        let mut made = old.pools.clone();
        apply(&mut made, changes.pools.clone());
        let mut expected = new.pools.clone();
        for pools in [&mut made, &mut expected] {
            pools.values_mut().for_each(|pool| pool.sort_by(|a, b| a.id.cmp(&b.id)));
        }
        assert_eq!(made, expected);
        let text = serde_json::to_string(&changes).expect("text");
        assert_eq!(serde_json::from_str::<UpstreamChanges>(&text).expect("the same"), changes);
    }

    #[test]
    fn another_order_is_no_change_and_other_pools_are_no_changes() {
        let old = set(1, (0..5).map(|n| upstream(n, 0)));
        let turned = set(2, (0..5).rev().map(|n| upstream(n, 0)));
        let changes = UpstreamChanges::between(&old, Digest::of(&old), &turned).expect("the same pools");
        assert!(changes.is_empty() && changes.digest == Digest::of(&old));
        let mut more = turned.clone();
        more.pools.insert("q".into(), Vec::new());
        assert_eq!(UpstreamChanges::between(&old, Digest::of(&old), &more), None);
        assert_ne!(Digest::of(&more), Digest::of(&turned));
    }

    #[test]
    fn every_field_counts_in_a_digest() {
        let one = upstream(1, 0);
        let digest = |upstream: Upstream| Digest::of(&set(1, [upstream]));
        let others = [
            Upstream { id: "m1.1".into(), ..one.clone() },
            Upstream { address: [10, 0, 0, 2].into(), ..one.clone() },
            Upstream { port: 81, ..one.clone() },
            Upstream { weight: 2, ..one.clone() },
            Upstream { zone: "b".into(), ..one.clone() },
            Upstream { backup: true, ..one.clone() },
            Upstream { state: UpstreamState::Suspect, ..one.clone() },
            Upstream { state: UpstreamState::Draining, ..one.clone() },
            Upstream { checked_elsewhere: true, ..one.clone() },
        ];
        for other in others {
            assert_ne!(digest(other.clone()), digest(one.clone()), "{other:?}");
        }
    }

    #[test]
    fn a_field_that_is_not_known_is_refused() {
        let text =
            r#"{"base":1,"generation":2,"digest":"00000000000000ff","pools":{"p":{"put":[],"new":1}}}"#;
        assert!(serde_json::from_str::<UpstreamChanges>(text).is_err());
        let text = r#"{"base":1,"generation":2,"digest":"ff","pools":{}}"#;
        assert!(serde_json::from_str::<UpstreamChanges>(text).is_err());
    }
}

//! A whole set that says nearly the same as the one before it. A manager that pushes whole sets sends most upstreams as it
//! sent them the last time, to the byte; those need not be parsed, checked and looked up again.
//!
//! ```text
//!   before   {"generation":7,"pools":{"p":[{A},{B},{C},{D}]}}
//!   now      {"generation":8,"pools":{"p":[{A},{X},{C},{D}]}}      put X, remove B
//! ```
//!
//! An object that begins as one that was read before does, with all of its bytes, is that object: JSON's objects say
//! themselves where they end. Whatever is not as plain as this is left to the one parser that can say what is wrong.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use axum::body::Bytes;
use wire::changes::PoolChanges;
use wire::upstreams::Upstream;
use wire::{Generation, PoolName};

/// A set as it was sent, and where in it each upstream stands.
#[derive(Debug)]
pub(super) struct Resent {
    text: Bytes,
    pub(super) generation: Generation,
    pools: Vec<(PoolName, Vec<Range<u32>>)>,
}

/// What the next one differs by.
#[derive(Debug)]
pub(super) struct Difference {
    pub(super) pools: BTreeMap<PoolName, PoolChanges>,
    /// The upstreams put that are not in the set before; they come first of those put.
    pub(super) new: BTreeMap<PoolName, usize>,
    /// The set that was sent.
    pub(super) sent: Resent,
}

impl Resent {
    /// The set `text`, which was parsed already; none if it is too plain or not plain enough for this.
    pub(super) fn of(text: Bytes) -> Option<Self> {
        let mut pools = Vec::new();
        let generation = walk(&text, |name, walker| {
            let mut members = Vec::new();
            walker.each(|walker| {
                members.push(walker.object()?);
                Some(())
            })?;
            pools.push((name, members));
            Some(())
        })?;
        Some(Resent { text, generation, pools })
    }

    /// How `text` differs; none if that is not plain to see.
    pub(super) fn difference(&self, text: Bytes) -> Option<Difference> {
        let mut before = self.pools.iter();
        let (mut pools, mut new, mut sent) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        let generation = walk(&text, |name, walker| {
            let (_, members) = before.next().filter(|(known, _)| *known == name)?;
            let mut compared =
                Compared { text: &self.text, before: members, at: 0, left: Vec::new(), put: Vec::new() };
            let mut now = Vec::with_capacity(members.len());
            walker.each(|walker| {
                now.push(compared.next(walker)?);
                Some(())
            })?;
            let (changes, count) = compared.end()?;
            if !changes.is_empty() {
                new.insert(name.clone(), count);
                pools.insert(name.clone(), changes);
            }
            sent.push((name, now));
            Some(())
        })?;
        // As many pools as before.
        if before.next().is_some() {
            return None;
        }
        Some(Difference { pools, new, sent: Resent { text, generation, pools: sent } })
    }
}

/// One pool, as far as it is compared.
struct Compared<'a> {
    text: &'a [u8],
    before: &'a [Range<u32>],
    /// The next one of those before.
    at: usize,
    /// Those before that were not found where they were.
    left: Vec<usize>,
    put: Vec<Upstream>,
}

impl Compared<'_> {
    fn object(&self, at: usize) -> Option<&[u8]> {
        let range = self.before.get(at)?;
        self.text.get(range.start as usize..range.end as usize)
    }

    /// Takes the upstream that the walker stands at.
    fn next(&mut self, walker: &mut Walker<'_>) -> Option<Range<u32>> {
        let stays = |at| self.object(at).and_then(|object| walker.same(object));
        let found = match stays(self.at) {
            Some(range) => Some((self.at, range)),
            // One may have gone.
            None => stays(self.at + 1).map(|range| (self.at + 1, range)),
        };
        if let Some((at, range)) = found {
            self.left.extend(self.at..at);
            self.at = at + 1;
            walker.at = range.end as usize;
            return Some(range);
        }
        let range = walker.object()?;
        self.put.push(serde_json::from_slice(&walker.text[range.start as usize..range.end as usize]).ok()?);
        // It has come between the others, or it stands in the place of one.
        let is_between = self
            .object(self.at)
            .is_some_and(|object| walker.next_object().is_some_and(|next| next.same(object).is_some()));
        if !is_between && self.at < self.before.len() {
            self.left.push(self.at);
            self.at += 1;
        }
        Some(range)
    }

    /// What changes, the new ones first, and how many they are.
    fn end(mut self) -> Option<(PoolChanges, usize)> {
        self.left.extend(self.at..self.before.len());
        let mut left = HashMap::new();
        for &at in &self.left {
            let upstream: Upstream = serde_json::from_slice(self.object(at)?).ok()?;
            left.insert(upstream.id.clone(), upstream);
        }
        let (mut changed, mut new) = (Vec::new(), Vec::new());
        for upstream in self.put {
            match left.remove(&upstream.id) {
                // It stands elsewhere.
                Some(before) if before == upstream => {}
                Some(_) => changed.push(upstream),
                None => new.push(upstream),
            }
        }
        let count = new.len();
        new.append(&mut changed);
        Some((PoolChanges { put: new, remove: left.into_keys().collect() }, count))
    }
}

/// Goes over the text of a set and has `pool` go over the upstreams of each pool. Returns the generation; none if the
/// text is none of a set, or is one that is written in an unusual way.
fn walk<'a>(
    text: &'a [u8],
    mut pool: impl FnMut(PoolName, &mut Walker<'a>) -> Option<()>,
) -> Option<Generation> {
    // Places are kept in 32 bits.
    u32::try_from(text.len()).ok()?;
    let mut walker = Walker { text, at: 0 };
    let (mut generation, mut has_pools) = (None, false);
    walker.fields(|key, walker| match key {
        "generation" if generation.is_none() => {
            generation = Some(walker.number()?);
            Some(())
        }
        "pools" if !has_pools => {
            has_pools = true;
            let mut names = Vec::new();
            walker.fields(|name, walker| {
                let name = PoolName::from(name);
                if names.contains(&name) {
                    return None;
                }
                names.push(name.clone());
                pool(name, walker)
            })
        }
        _ => None,
    })?;
    walker.space();
    (walker.at == text.len() && has_pools).then_some(generation)?
}

#[derive(Clone, Copy)]
struct Walker<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Walker<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    /// Takes `byte`, if it is the next one.
    fn takes(&mut self, byte: u8) -> bool {
        self.space();
        let is_here = self.peek() == Some(byte);
        self.at += usize::from(is_here);
        is_here
    }

    /// Goes over what is between `open` and `close`, with a comma between any two.
    fn list(&mut self, open: u8, close: u8, mut each: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        if !self.takes(open) {
            return None;
        }
        if self.takes(close) {
            return Some(());
        }
        loop {
            self.space();
            each(self)?;
            if self.takes(close) {
                return Some(());
            }
            if !self.takes(b',') {
                return None;
            }
        }
    }

    /// Goes over the values of an array.
    fn each(&mut self, each: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.list(b'[', b']', each)
    }

    /// Goes over the fields of an object.
    fn fields(&mut self, mut each: impl FnMut(&'a str, &mut Self) -> Option<()>) -> Option<()> {
        self.list(b'{', b'}', |walker| {
            let key = walker.key()?;
            if !walker.takes(b':') {
                return None;
            }
            walker.space();
            each(key, walker)
        })
    }

    /// A string in which nothing is escaped.
    fn key(&mut self) -> Option<&'a str> {
        let rest = self.text.get(self.at..)?.strip_prefix(b"\"")?;
        let length = memchr::memchr(b'"', rest)?;
        let key = &rest[..length];
        if key.iter().any(|&byte| byte == b'\\' || byte < b' ') {
            return None;
        }
        self.at += length + 2;
        std::str::from_utf8(key).ok()
    }

    fn number(&mut self) -> Option<u64> {
        let rest = self.text.get(self.at..)?;
        let length = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = rest.split_at(length);
        // Which may be followed by what makes another number of it.
        if digits.len() > 1 && digits[0] == b'0' || matches!(rest.first(), Some(b'.' | b'e' | b'E')) {
            return None;
        }
        self.at += length;
        std::str::from_utf8(digits).ok()?.parse().ok()
    }

    /// Where `object` stands, if it stands here.
    fn same(&self, object: &[u8]) -> Option<Range<u32>> {
        self.text[self.at..].starts_with(object).then_some(())?;
        Some(u32::try_from(self.at).ok()?..u32::try_from(self.at + object.len()).ok()?)
    }

    /// Takes the object that begins here. Only where it ends is looked for: who wants to know what it says parses it.
    fn object(&mut self) -> Option<Range<u32>> {
        if self.peek() != Some(b'{') {
            return None;
        }
        let (start, mut depth) = (self.at, 0_usize);
        loop {
            let rest = self.text.get(self.at..)?;
            match *rest.first()? {
                b'"' => self.at += string(rest)?,
                b'{' | b'[' => (self.at, depth) = (self.at + 1, depth + 1),
                b'}' | b']' => {
                    (self.at, depth) = (self.at + 1, depth.checked_sub(1)?);
                    if depth == 0 {
                        return Some(u32::try_from(start).ok()?..u32::try_from(self.at).ok()?);
                    }
                }
                _ => self.at += 1,
            }
        }
    }

    /// As it stands at the next object of the array.
    fn next_object(mut self) -> Option<Self> {
        self.takes(b',').then_some(())?;
        self.space();
        Some(self)
    }
}

/// How long the string is that `text` begins with, its quotes included.
fn string(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
        match text[at] {
            b'"' => return Some(at + 1),
            _ => at += 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use wire::upstreams::UpstreamSet;

    use super::*;

    fn object(number: u8, port: u8) -> String {
        format!("{{\"id\":\"m{number}\",\"address\":\"10.0.0.{number}\",\"port\":{}}}", u16::from(port) + 1)
    }

    fn text(generation: u64, members: &[(u8, u8)]) -> String {
        let objects: Vec<_> = members.iter().map(|&(number, port)| object(number, port)).collect();
        format!("{{\"generation\":{generation},\"pools\":{{\"p\":[{}]}}}}", objects.join(","))
    }

    fn sent(text: &str) -> Option<Resent> {
        Resent::of(Bytes::copy_from_slice(text.as_bytes()))
    }

    fn unique(members: Vec<(u8, u8)>) -> Vec<(u8, u8)> {
        let mut seen = std::collections::HashSet::new();
        members.into_iter().filter(|(number, _)| seen.insert(*number)).collect()
    }

    #[test]
    fn one_that_is_replaced_gone_or_put_between_is_all_that_is_read() {
        let before = sent(&text(7, &[(1, 0), (2, 0), (3, 0), (4, 0)])).expect("plain");
        for (now, put, removed) in [
            (&[(1, 0), (9, 0), (3, 0), (4, 0)][..], &["m9"][..], &["m2"][..]),
            (&[(1, 0), (3, 0), (4, 0)], &[], &["m2"]),
            (&[(1, 0), (9, 0), (2, 0), (3, 0), (4, 0)], &["m9"], &[]),
            (&[(1, 0), (2, 7), (3, 0), (4, 0)], &["m2"], &[]),
            (&[(4, 0), (3, 0), (2, 0), (1, 0)], &[], &[]),
        ] {
            let found = before.difference(text(8, now).into()).expect("plain");
            let changes = found.pools.get(&PoolName::from("p")).cloned().unwrap_or_default();
            let ids: Vec<_> = changes.put.iter().map(|upstream| upstream.id.as_str()).collect();
            assert_eq!((&ids[..], found.sent.generation), (put, 8), "{now:?}");
            let ids: Vec<_> = changes.remove.iter().map(|id| id.as_str()).collect();
            assert_eq!(ids, removed, "{now:?}");
        }
    }

    #[test]
    fn what_is_not_plain_is_left_to_the_parser() {
        let plain = text(7, &[(1, 0), (2, 0)]);
        let before = sent(&plain).expect("plain");
        for unusual in [
            plain.replace("\"p\"", "\"\\u0070\""),
            plain.replace("\"p\"", "\"q\""),
            plain.replace("\"generation\":7", "\"generation\":7.0"),
            plain.replace("\"generation\":7", "\"generation\":-7"),
            plain.replace("\"generation\":7,", ""),
            plain.replace("\"generation\":7", "\"generation\":7,\"generation\":7"),
            plain.replace("\"pools\"", "\"more\":1,\"pools\""),
            plain.replace("},{", "},,{"),
            plain.replace("},{", "}{"),
            plain.replace("}]", "},]"),
            plain.replace("}]", "},1]"),
            plain.replace("m2\"", "m2"),
            plain.replace("\"port\":1", "\"port\":\"1\"").replacen("\"port\":\"1\"", "\"port\":1", 1),
            format!("{plain}x"),
            plain[..plain.len() - 1].to_owned(),
            String::new(),
        ] {
            assert!(before.difference(unusual.clone().into()).is_none(), "{unusual}");
        }
        let spaced = plain.replace(',', " ,\n ").replace(':', "\t: ");
        assert!(before.difference(spaced.into()).expect("spaces mean nothing").pools.is_empty());
        assert!(sent(&plain.replace("}]}", "}],\"p\":[]}")).is_none(), "a pool named twice");
    }

    proptest! {
        #[test]
        fn what_differs_makes_the_one_of_the_other(
            before in prop::collection::vec((0u8..40, 0u8..2), 0..30),
            now in prop::collection::vec((0u8..40, 0u8..2), 0..30),
        ) {
            let (before, now) = (unique(before), unique(now));
            let (before, now) = (text(1, &before), text(2, &now));
            let found = sent(&before).expect("plain").difference(now.clone().into()).expect("plain");
            let parsed = |text: &str| serde_json::from_str::<UpstreamSet>(text).expect("a set").pools;
            let mut made = parsed(&before);
            wire::changes::apply(&mut made, found.pools);
            let mut expected = parsed(&now);
            for pools in [&mut made, &mut expected] {
                pools.values_mut().for_each(|pool| pool.sort_by(|a, b| a.id.cmp(&b.id)));
            }
            prop_assert_eq!(made, expected);
            // And what is remembered of it is as good as what was remembered first.
            let again = found.sent.difference(now.into()).expect("plain");
            prop_assert!(again.pools.is_empty());
        }
    }
}

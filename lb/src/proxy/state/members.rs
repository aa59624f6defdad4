//! The upstreams of a pool, in the order in which they may be used, so that a new set costs what changes in it: they
//! stand in pieces that the pools of two snapshots share where nothing has changed.
//!
//! ```text
//!   View ─▶ Shelf: primary, near │ primary, far │ backup, near │ …     one for each rank and nearness
//!             └─▶ pieces of 64 members, all full but the last: any member is two steps away
//! ```
//!
//! The order within a shelf means nothing: whoever goes leaves its place to one that comes, or to the last.

use std::slice;
use std::sync::Arc;

use super::pool::{Member, RANKS, Rank};

/// The members of a piece.
const PIECE: usize = 64;

/// The shelves of a pool: two for each rank.
pub(super) const SHELVES: usize = 2 * RANKS;

/// Members of one rank, all in this balancer's zone or all in others.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shelf {
    pieces: Vec<Arc<[Member]>>,
    len: usize,
    /// They may weigh differently.
    is_uneven: bool,
}

/// The shelf for `member`.
pub(super) fn shelf_of(member: &Member) -> usize {
    member.rank as usize * 2 + usize::from(!member.near)
}

/// The shelves for `members`, each in their order.
pub(super) fn shelved(members: Vec<Member>) -> [Shelf; SHELVES] {
    let mut sorted: [Vec<Member>; SHELVES] = Default::default();
    for member in members {
        sorted[shelf_of(&member)].push(member);
    }
    sorted.map(Shelf::new)
}

impl Shelf {
    fn new(members: Vec<Member>) -> Self {
        let is_uneven = members.windows(2).any(|pair| pair[0].weight != pair[1].weight);
        let len = members.len();
        let mut members = members.into_iter();
        let pieces = (0..len.div_ceil(PIECE)).map(|_| members.by_ref().take(PIECE).collect()).collect();
        Shelf { pieces, len, is_uneven }
    }

    /// The one at this place.
    pub(super) fn get(&self, at: usize) -> Option<&Member> {
        self.pieces.get(at / PIECE)?.get(at % PIECE)
    }

    /// Puts `member` into the place of another one.
    pub(super) fn set(&mut self, at: usize, member: Member) {
        self.is_uneven |= self.len > 1 && self.get(0).is_some_and(|first| first.weight != member.weight);
        let piece = self.pieces.get_mut(at / PIECE).map(Arc::make_mut);
        if let Some(place) = piece.and_then(|piece| piece.get_mut(at % PIECE)) {
            *place = member;
        }
    }

    /// Puts `member` behind the others. Returns its place.
    pub(super) fn push(&mut self, member: Member) -> usize {
        self.is_uneven |= self.get(0).is_some_and(|first| first.weight != member.weight);
        match self.pieces.last_mut() {
            Some(last) if last.len() < PIECE => *last = last.iter().cloned().chain([member]).collect(),
            _ => self.pieces.push(Arc::new([member])),
        }
        self.len += 1;
        self.len - 1
    }

    /// Takes the one at this place away. The last one has its place now; that one is returned, unless it was the last.
    pub(super) fn take(&mut self, at: usize) -> Option<&Member> {
        let last = self.pieces.last_mut()?;
        let moved = last.last()?.clone();
        if last.len() == 1 {
            self.pieces.pop();
        } else {
            *last = last[..last.len() - 1].into();
        }
        self.len -= 1;
        if at == self.len {
            return None;
        }
        self.set(at, moved);
        self.get(at)
    }
}

/// Shelves that stand side by side, as one row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a>(&'a [Shelf]);

impl<'a> View<'a> {
    pub(super) fn new(shelves: &'a [Shelf]) -> Self {
        View(shelves)
    }

    /// How many there are.
    pub(crate) fn len(self) -> usize {
        self.0.iter().map(|shelf| shelf.len).sum()
    }

    /// Whether there are none.
    pub(crate) fn is_empty(self) -> bool {
        self.0.iter().all(|shelf| shelf.len == 0)
    }

    /// The one at this place.
    pub(crate) fn get(self, mut at: usize) -> Option<&'a Member> {
        for shelf in self.0 {
            if at < shelf.len {
                return shelf.get(at);
            }
            at -= shelf.len;
        }
        None
    }

    /// The one at this place of a shelf.
    pub(super) fn at(self, shelf: usize, at: usize) -> Option<&'a Member> {
        self.0.get(shelf)?.get(at)
    }

    /// All of them.
    pub(crate) fn iter(self) -> Iter<'a> {
        Iter { shelves: self.0.iter(), pieces: [].iter(), members: [].iter() }
    }

    /// Those of `rank`, of all members.
    pub(crate) fn ranked(self, rank: Rank) -> View<'a> {
        self.shelves(rank as usize * 2, 2)
    }

    /// Those of `rank` that are near, or far, of all members.
    pub(crate) fn part(self, rank: Rank, near: bool) -> View<'a> {
        self.shelves(rank as usize * 2 + usize::from(!near), 1)
    }

    /// Those of `rank` and of the ranks above, of all members.
    pub(super) fn down_to(self, rank: Rank) -> View<'a> {
        self.shelves(0, rank as usize * 2 + 2)
    }

    /// Where `rank` begins, of all members.
    pub(crate) fn start(self, rank: Rank) -> usize {
        self.shelves(0, rank as usize * 2).len()
    }

    /// Whether they may weigh differently.
    pub(crate) fn is_uneven(self) -> bool {
        self.0.iter().filter(|shelf| shelf.len > 0).count() > 1 || self.0.iter().any(|shelf| shelf.is_uneven)
    }

    fn shelves(self, from: usize, count: usize) -> View<'a> {
        View(self.0.get(from..from + count).unwrap_or_default())
    }
}

impl<'a> IntoIterator for View<'a> {
    type Item = &'a Member;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

#[cfg(test)]
impl std::ops::Index<usize> for View<'_> {
    type Output = Member;

    fn index(&self, at: usize) -> &Member {
        self.get(at).expect("there is one at this place")
    }
}

/// Goes over members, one after the other.
#[derive(Clone, Debug)]
pub(crate) struct Iter<'a> {
    shelves: slice::Iter<'a, Shelf>,
    pieces: slice::Iter<'a, Arc<[Member]>>,
    members: slice::Iter<'a, Member>,
}

impl<'a> Iterator for Iter<'a> {
    type Item = &'a Member;

    fn next(&mut self) -> Option<&'a Member> {
        loop {
            if let Some(member) = self.members.next() {
                return Some(member);
            }
            match self.pieces.next() {
                Some(piece) => self.members = piece.iter(),
                None => self.pieces = self.shelves.next()?.pieces.iter(),
            }
        }
    }
}

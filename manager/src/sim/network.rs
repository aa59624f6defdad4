//! The network between hosts, and the bridge within each: what arrives, when, and how often.
//!
//! Each direction of each link has its own faults. What is a packet (an advert, an ARP announcement) is
//! lost when it is lost; what goes over TCP comes later instead, as if it had been sent again, unless the
//! link is cut.

use std::time::Duration;

use super::dice::Dice;

/// TCP sends again after this, and after twice as long the next time (RFC 6298, section 2.4, in Linux).
const SENT_AGAIN: Duration = Duration::from_millis(200);

/// After so many losses in a row the sender has given up.
const GIVEN_UP: u32 = 6;

/// Beyond this a delay disturbs an election of 100 ms adverts.
pub(super) const SLOW: Duration = Duration::from_millis(20);

/// One direction between two hosts, or the bridge of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Link {
    /// Nothing arrives.
    pub(super) cut: bool,
    /// So many packets of a hundred are lost.
    pub(super) loss: u8,
    /// So many arrive twice.
    pub(super) twice: u8,
    /// Each is late by this …
    pub(super) delay: Duration,
    /// … and by up to this, so that later ones overtake it.
    pub(super) jitter: Duration,
}

impl Link {
    /// Whether what is sent arrives soon, and once.
    pub(super) fn is_clean(&self) -> bool {
        *self == Link::default()
    }
}

/// When something arrives: never, once or twice.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Arrivals(pub(super) [Option<Duration>; 2]);

/// All links.
#[derive(Clone, Debug)]
pub(super) struct Network {
    links: Vec<Link>,
    hosts: usize,
}

impl Network {
    pub(super) fn new(hosts: usize) -> Self {
        Network { links: vec![Link::default(); hosts * hosts], hosts }
    }

    pub(super) fn link(&self, from: usize, to: usize) -> &Link {
        &self.links[from * self.hosts + to]
    }

    pub(super) fn link_mut(&mut self, from: usize, to: usize) -> &mut Link {
        &mut self.links[from * self.hosts + to]
    }

    pub(super) fn heal(&mut self) {
        self.links.fill(Link::default());
    }

    /// Whether both directions are clean.
    pub(super) fn is_clean(&self, one: usize, other: usize) -> bool {
        self.link(one, other).is_clean() && self.link(other, one).is_clean()
    }

    /// Whether nothing passes in either direction.
    pub(super) fn is_cut(&self, one: usize, other: usize) -> bool {
        self.link(one, other).cut && self.link(other, one).cut
    }

    /// A packet from host to host.
    pub(super) fn packet(&self, from: usize, to: usize, dice: &mut Dice) -> Arrivals {
        let link = self.link(from, to);
        if link.cut || dice.chance(link.loss) {
            return Arrivals::default();
        }
        let again = dice.chance(link.twice).then(|| self.way(from, to, dice));
        Arrivals([Some(self.way(from, to, dice)), again])
    }

    /// A request or an answer over TCP. Twice: somebody on the way has sent it again.
    pub(super) fn stream(&self, from: usize, to: usize, dice: &mut Dice) -> Arrivals {
        let link = self.link(from, to);
        if link.cut {
            return Arrivals::default();
        }
        let mut late = Duration::ZERO;
        for attempt in 0..GIVEN_UP {
            if !dice.chance(link.loss) {
                let again = dice.chance(link.twice).then(|| late + self.way(from, to, dice));
                return Arrivals([Some(late + self.way(from, to, dice)), again]);
            }
            late += SENT_AGAIN * (1 << attempt);
        }
        Arrivals::default()
    }

    fn way(&self, from: usize, to: usize, dice: &mut Dice) -> Duration {
        let link = self.link(from, to);
        let usual = if from == to { dice.us(100, 200) } else { dice.us(300, 600) };
        let jitter = match u64::try_from(link.jitter.as_micros()) {
            Ok(jitter) if jitter > 0 => dice.us(0, jitter),
            _ => Duration::ZERO,
        };
        usual + link.delay + jitter
    }
}

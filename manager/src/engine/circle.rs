//! Who lives, where there are too many hosts for each to ask all the others: SWIM, by the crate foca.
//!
//! ```text
//!   up to 8 hosts    each tells every other twice a second; who is silent for two seconds is lost
//!   more             each asks one other twice a second. No answer: it has three others ask. Still none: it is suspected,
//!                    and what everybody says carries that on. It objects within two seconds, or is lost.
//!                    Snapshots go from their host to the others when something changes, and else seldom.
//! ```
//!
//! What a host has only its own manager tells, in either case: gossip is about who lives, and about nothing else. Who is at an
//! address that gossip names is admitted as one that a snapshot names; a packet counts only if who sent it is who it says.
//!
//! SWIM here has neither clock nor sockets: timers are kept and packets handed out by the engine, and what is random comes
//! from a seed that the host's own address is, so that the same events give the same actions. See Das, Gupta, Motivala:
//! SWIM (2002).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::net::IpAddr;
use std::num::{NonZeroU8, NonZeroUsize};
use std::time::Duration;

use bytes::Bytes;
use foca::{
    AccumulatingRuntime, Codec, Foca, Header, Identity, Message, NoCustomBroadcast, PeriodicParams,
    PostcardCodec, Timer,
};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use serde::{Deserialize, Serialize};
use wire::Problem;

use crate::address_pool::bits;

use super::{Command, Engine, Job, Outcome, Peer, Plan, Severity, Time};

/// With so many peers, a host gossips: up to 8 hosts tell each other all the time.
pub const CIRCLE: usize = 8;

/// Somebody is asked this often.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// Who has not answered by then is asked by others.
const ANSWER_WITHIN: Duration = Duration::from_millis(200);

/// So many others.
const ASKED_BY: NonZeroUsize = NonZeroUsize::MIN.saturating_add(2);

/// Who is suspected has so long to object.
const OBJECTS_WITHIN: Duration = Duration::from_secs(2);

/// Each piece of news is said so often by each host that knows it: a multiple of the logarithm of the number of hosts.
const SAID: NonZeroU8 = NonZeroU8::MIN.saturating_add(9);

/// News is said at least this often while there is any, to [`ASKED_BY`] others.
const SAY_EVERY: Duration = Duration::from_millis(200);

/// A life that was lost is remembered for so long, so that old news does not bring it back.
const LOST_FOR: Duration = Duration::from_secs(300);

/// A peer that is not known to live is told of us so often, one at a time.
const ANNOUNCE_EVERY: Duration = Duration::from_secs(1);

/// The largest packet, in bytes. All of 256 hosts fit in one.
pub const MAX_PACKET: NonZeroUsize = NonZeroUsize::MIN.saturating_add(8_191);

/// The most packets that wait for one peer, and that are taken from it at once. What is more is lost, as on any network.
pub const MAX_PACKETS: usize = 16;

/// A manager, in one of its lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Member {
    address: IpAddr,
    /// The epoch of its snapshots, and how often it was taken for lost in that.
    life: (u64, u32),
}

impl Member {
    /// Whoever is at `address`.
    fn at(address: IpAddr) -> Self {
        Member { address, life: (0, 0) }
    }
}

impl Identity for Member {
    type Addr = IpAddr;

    fn addr(&self) -> IpAddr {
        self.address
    }

    fn renew(&self) -> Option<Self> {
        let (epoch, lost) = self.life;
        Some(Member { life: (epoch, lost.checked_add(1)?), ..self.clone() })
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        self.life > adversary.life
    }
}

type Swim = Foca<Member, PostcardCodec, SmallRng, NoCustomBroadcast>;

/// The part that this host has in it; none up to 8 hosts.
#[derive(Default)]
pub(super) struct Circle {
    swim: Option<Box<Swim>>,
    takes_part: bool,
    timers: BTreeMap<(Time, u64), Timer<Member>>,
    sequence: u64,
    /// What is to be sent.
    out: BTreeMap<IpAddr, VecDeque<Bytes>>,
    announce_at: Time,
    /// The last peer that was told of us because it is not known to live.
    announced: Option<IpAddr>,
}

impl fmt::Debug for Circle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let members = self.swim.as_ref().map(|swim| swim.num_members());
        f.debug_struct("Circle")
            .field("members", &members)
            .field("timers", &self.timers)
            .finish_non_exhaustive()
    }
}

/// What is compared with a plan is planned by a copy: it sends the same, and takes no further part.
#[cfg(test)]
impl Clone for Circle {
    fn clone(&self) -> Self {
        Circle {
            swim: None,
            takes_part: self.takes_part,
            timers: self.timers.clone(),
            sequence: self.sequence,
            out: self.out.clone(),
            announce_at: self.announce_at,
            announced: self.announced,
        }
    }
}

impl Circle {
    /// This process stood still for `gap`.
    pub(super) fn excuse(&mut self, gap: Duration) {
        self.timers = std::mem::take(&mut self.timers)
            .into_iter()
            .map(|((at, sequence), timer)| ((at + gap, sequence), timer))
            .collect();
        self.announce_at += gap;
    }

    /// How much is remembered.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.timers.len() + self.out.values().map(VecDeque::len).sum::<usize>()
    }

    /// When it has something to do next.
    fn due(&self) -> Option<Time> {
        let timer = self.timers.keys().next().map(|(at, _)| *at);
        self.takes_part.then(|| timer.map_or(self.announce_at, |at| at.min(self.announce_at)))
    }

    fn send(&mut self, to: IpAddr, packet: Bytes) {
        let waiting = self.out.entry(to).or_default();
        if waiting.len() == MAX_PACKETS {
            waiting.pop_front();
        }
        waiting.push_back(packet);
    }
}

fn settings() -> foca::Config {
    foca::Config {
        probe_period: ASK_EVERY,
        probe_rtt: ANSWER_WITHIN,
        num_indirect_probes: ASKED_BY,
        max_transmissions: SAID,
        suspect_to_down_after: OBJECTS_WITHIN,
        remove_down_after: Some(LOST_FOR),
        max_packet_size: MAX_PACKET,
        notify_down_members: true,
        periodic_announce: None,
        periodic_announce_to_down_members: None,
        periodic_gossip: Some(PeriodicParams { frequency: SAY_EVERY, num_members: ASKED_BY }),
    }
}

impl Engine {
    /// Whether there are so many hosts that they gossip about who lives.
    pub(super) fn in_circle(&self) -> bool {
        #[cfg(test)]
        if let Some(from) = self.circle_from {
            return self.peers.len() >= from;
        }
        self.peers.len() >= CIRCLE
    }

    /// Does what is due in the circle of hosts; returns whether something was.
    pub(super) fn turn_circle(&mut self, now: Time) -> bool {
        if !self.in_circle() {
            if self.circle.takes_part {
                self.circle = Circle::default();
                self.peers.values_mut().for_each(|peer| peer.member = None);
            }
            return false;
        }
        let begins = !std::mem::replace(&mut self.circle.takes_part, true);
        if begins {
            let life = Member { address: self.config.address, life: (self.desired.epoch, 0) };
            let random = SmallRng::seed_from_u64(bits(self.config.address) as u64);
            self.circle.swim = Some(Box::new(Foca::new(life, settings(), random, PostcardCodec)));
            let all: Vec<IpAddr> = self.peers.keys().copied().collect();
            all.into_iter().for_each(|peer| self.announce_to(now, peer));
            self.circle.announce_at = now + ANNOUNCE_EVERY;
        }
        if !begins && self.circle.due().is_none_or(|due| now < due) {
            return false;
        }
        self.renew_life(now);
        while let Some(entry) = self.circle.timers.first_entry().filter(|entry| entry.key().0 <= now) {
            let timer = entry.remove();
            self.swim(now, |swim, runtime| swim.handle_timer(timer, runtime));
        }
        if now >= self.circle.announce_at {
            self.circle.announce_at = now + ANNOUNCE_EVERY;
            let unknown = |peer: &&Peer| peer.member != Some(true);
            let after = |peer: &&Peer| self.circle.announced.is_none_or(|last| peer.address > last);
            let mut unknown = self.peers.values().filter(unknown).peekable();
            let first = unknown.peek().map(|peer| peer.address);
            if let Some(next) = unknown.find(after).map(|peer| peer.address).or(first) {
                self.circle.announced = Some(next);
                self.announce_to(now, next);
            }
        }
        true
    }

    /// Tells a peer of us, which answers with all that it knows.
    fn announce_to(&mut self, now: Time, peer: IpAddr) {
        self.swim(now, |swim, runtime| swim.announce(Member::at(peer), runtime));
    }

    /// An earlier life of ours may be known that had a higher epoch than this one began with.
    fn renew_life(&mut self, now: Time) {
        let epoch = self.desired.epoch;
        let outdated = |swim: &Swim| swim.identity().life.0 < epoch;
        if self.circle.swim.as_deref().is_some_and(outdated) {
            let life = Member { address: self.config.address, life: (epoch, 0) };
            self.swim(now, |swim, runtime| swim.change_identity(life, runtime));
        }
    }

    /// Has the protocol do something, and does what comes of it. What it cannot do concerns a packet that makes no sense, or
    /// comes too late.
    fn swim(
        &mut self,
        now: Time,
        act: impl FnOnce(&mut Swim, &mut AccumulatingRuntime<Member>) -> Result<(), foca::Error>,
    ) {
        let Some(swim) = self.circle.swim.as_deref_mut() else { return };
        let mut runtime = AccumulatingRuntime::new();
        let life = swim.identity().clone();
        let _senseless = act(swim, &mut runtime);
        if *swim.identity() != life {
            // It does not ask in its new life until it hears from somebody, who may be lost by then …
            let _nothing_to_apply = swim.apply_many(std::iter::empty(), false, &mut runtime);
            // … and what is sent to the old one is not taken: two that begin anew at once would wait for each other.
            for peer in self.peers.keys() {
                let _is_sent_again = swim.announce(Member::at(*peer), &mut runtime);
            }
        }
        let lives: BTreeSet<IpAddr> = swim.iter_members().map(|member| member.id().address).collect();
        while let Some((after, timer)) = runtime.to_schedule() {
            self.circle.sequence += 1;
            self.circle.timers.insert((now + after, self.circle.sequence), timer);
        }
        for address in &lives {
            self.admit(*address);
        }
        while let Some((to, packet)) = runtime.to_send() {
            // foca tells whoever was suspected that it is down, when its time is over, even if it has objected.
            let is_wrong = lives.contains(&to.address) && says_down(&packet);
            if self.peers.contains_key(&to.address) && !is_wrong {
                self.circle.send(to.address, packet);
            }
        }
        let mut changed = Vec::new();
        for peer in self.peers.values_mut() {
            let member = Some(lives.contains(&peer.address));
            if std::mem::replace(&mut peer.member, member) != member {
                changed.push((peer.address, member == Some(true)));
            }
        }
        for (address, lives) in changed {
            let (kind, message) = match lives {
                true => ("peer.lives", "other hosts say that it lives"),
                false => ("peer.lost", "no host can reach it"),
            };
            self.note(Severity::Info, kind, address.to_string(), message.to_owned());
        }
    }

    pub(super) fn plan_circle(&mut self, now: Time, plan: &mut Plan) {
        let waiting: Vec<IpAddr> = self.circle.out.keys().copied().collect();
        for peer in waiting {
            let job = Job::Gossip(peer);
            if self.flights.contains_key(&job) {
                continue;
            }
            if let Some(packets) = self.circle.out.remove(&peer) {
                self.start(now, job, Command::Gossip { peer, packets: packets.into() }, plan);
            }
        }
        if let Some(due) = self.circle.due() {
            plan.wake_by(due, "gossip about who lives");
        }
    }

    /// A peer at `from` sends packets of the membership protocol; the answer has those for it.
    ///
    /// # Errors
    ///
    /// 403 when `from` is no peer, 400 when that are too many or too large ones.
    pub fn gossip(&mut self, now: Time, from: IpAddr, packets: &[Bytes]) -> Result<Vec<Bytes>, Problem> {
        let address = self.peer_at(from)?;
        if packets.len() > MAX_PACKETS {
            let detail = format!("expected at most {MAX_PACKETS}, and there are {}", packets.len());
            return Err(Problem::bad_parameter("packets", detail));
        }
        for (index, packet) in packets.iter().enumerate() {
            if packet.len() > MAX_PACKET.get() {
                let detail = format!("expected at most {MAX_PACKET} bytes, and there are {}", packet.len());
                return Err(Problem::bad_parameter(&format!("packets[{index}]"), detail));
            }
        }
        self.turn_circle(now);
        self.gossip_heard(now, address, packets);
        Ok(self.circle.out.remove(&address).unwrap_or_default().into())
    }

    /// What came of sending packets to the peer at `address`.
    pub(super) fn gossiped(&mut self, now: Time, address: IpAddr, outcome: Outcome) {
        // What did not arrive is lost; the protocol counts on that.
        if let Outcome::Gossiped(packets) = outcome {
            let some = &packets[..packets.len().min(MAX_PACKETS)];
            self.gossip_heard(now, address, some);
        }
    }

    fn gossip_heard(&mut self, now: Time, from: IpAddr, packets: &[Bytes]) {
        for packet in packets.iter().filter(|packet| is_from(from, packet)) {
            self.swim(now, |swim, runtime| swim.handle_data(packet, runtime));
        }
    }
}

/// Whether who sent `packet` is who it says.
fn is_from(address: IpAddr, packet: &[u8]) -> bool {
    header(packet).is_some_and(|header| header.src.address == address)
}

/// Whether `packet` tells who gets it that it is taken for lost.
fn says_down(packet: &[u8]) -> bool {
    header(packet).is_some_and(|header| header.message == Message::TurnUndead)
}

fn header(packet: &[u8]) -> Option<Header<Member>> {
    PostcardCodec.decode_header(packet).ok()
}

//! What managers say to their balancers and to each other.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use wire::EndpointId;
use wire::hand_over::{HandOver, HandOverOrder, HandOverState};
use wire::switchover::{Switchover, SwitchoverOrder, SwitchoverState};

use super::balancer::{Put, Works};
use super::bug::Bug;
use super::guest::Guest;
use super::speaker::Turn;
use super::world::{Happening, World};
use crate::config::Vip;
use crate::engine::testing::take;
use crate::engine::{Action, Command, Event, LbReading, Outcome, Time};

/// An answer that has not come by then is not waited for (`ports/balancer.rs`, `ports/peers.rs`).
const TIMEOUT: Duration = Duration::from_secs(1);

/// A connection to what stands still is looked at again after this.
const LATER: Duration = Duration::from_millis(10);

/// A request on its way: to the balancer of `host`, or to the manager of another one.
#[derive(Clone, Debug)]
pub(super) struct Call {
    host: usize,
    life: u64,
    action: Action,
    /// When it is given up.
    deadline: Time,
    /// The host's clock when it was sent.
    sent: Time,
    /// Who was there when it was sent.
    reaches: Option<Listener>,
}

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listener {
    /// A manager, by the number of its life.
    Manager(u64),
    /// A balancer, by the number of its machine.
    Machine(u64),
}

impl World {
    /// Sends a request of the manager of `host`.
    pub(super) fn call(&mut self, host: usize, action: Action) {
        let (life, deadline) = (self.hosts[host].life, self.now + TIMEOUT);
        let sent = self.now + self.hosts[host].ahead;
        let Some(to) = self.target(host, &action.command) else {
            return self.unanswered(host, life, action.id, deadline);
        };
        let call = Call { host, life, reaches: self.listener(to, &action.command), action, deadline, sent };
        let [first, again] = self.network.stream(host, to, &mut self.dice).0;
        let Some(first) = first else { return self.unanswered(host, life, call.action.id, deadline) };
        if first > TIMEOUT {
            // It will arrive all the same.
            self.unanswered(host, life, call.action.id, deadline);
        }
        if let Some(again) = again {
            self.after(again, Happening::Request(call.clone()));
        }
        self.after(first, Happening::Request(call));
    }

    /// Who would take a request at `to` now.
    fn listener(&self, to: usize, command: &Command) -> Option<Listener> {
        let this = &self.hosts[to];
        match command {
            Command::Tell { .. } | Command::Gossip { .. } | Command::Forward { .. } => {
                this.manager.as_ref().map(|_| Listener::Manager(this.life))
            }
            _ => this.balancer().map(|guest| Listener::Machine(guest.uid)),
        }
    }

    /// Whether a request still reaches somebody. What was sent on a connection reaches who is at its other end
    /// however late, even when the sender has given up or ended; another process or machine at the same
    /// address knows nothing of that connection. Only who still waits connects again.
    fn arrives(&self, call: &Call, to: usize) -> bool {
        let waits = self.hosts[call.host].life == call.life && self.now <= call.deadline;
        waits || (call.reaches.is_some() && call.reaches == self.listener(to, &call.action.command))
    }

    fn target(&self, host: usize, command: &Command) -> Option<usize> {
        match command {
            Command::Tell { peer, .. } | Command::Gossip { peer, .. } | Command::Forward { peer, .. } => {
                self.hosts.iter().position(|other| other.config.address == *peer)
            }
            _ => Some(host),
        }
    }

    fn unanswered(&mut self, host: usize, life: u64, id: u64, deadline: Time) {
        let event = Event::Finished { id, outcome: Outcome::Failed("no answer".to_owned()) };
        self.at(deadline, Happening::Told { host, life, event });
    }

    /// A request arrives.
    pub(super) fn requested(&mut self, call: Call) {
        let Some(to) = self.target(call.host, &call.action.command) else { return };
        if !self.arrives(&call, to) {
            return self.unanswered(call.host, call.life, call.action.id, call.deadline);
        }
        let Call { host, life, ref action, deadline, sent, .. } = call;
        let outcome = match &action.command {
            Command::Tell { .. } | Command::Gossip { .. } | Command::Forward { .. } => {
                let manager = self.hosts[to].manager.as_ref();
                match manager.map(|manager| manager.stalled_until) {
                    None => None,
                    Some(until) if until > self.now => {
                        return self.at(until, Happening::Request(call));
                    }
                    Some(_) => Some(match &action.command {
                        Command::Forward { order, .. } => self.switch_over(to, order),
                        _ => self.receive(host, to, &action.command),
                    }),
                }
            }
            _ => {
                let listens = |guest: &&Guest| guest.running;
                let guest = self.hosts[to].balancer().filter(listens);
                let works = guest.and_then(|guest| Some(guest.balancer.as_ref()?.proxy.works));
                match (guest, works) {
                    (Some(guest), Some(works)) if guest.frozen.is_some() || works == Works::Hung => {
                        return self.after(LATER, Happening::Request(call));
                    }
                    (Some(guest), Some(works)) if guest.up && works != Works::Dead => {
                        Some(self.balancer_answers(to, &action.command, sent))
                    }
                    (Some(_), _) => Some(Outcome::Failed("connection refused".to_owned())),
                    (None, _) => None,
                }
            }
        };
        let arrives = match outcome {
            None => None,
            Some(outcome) => {
                self.metered(host, &action.command, &outcome);
                let [way, _] = self.network.stream(to, host, &mut self.dice).0;
                way.map(|way| (self.now + way, outcome)).filter(|(at, _)| *at <= deadline)
            }
        };
        match arrives {
            Some((at, outcome)) => {
                self.at(
                    at,
                    Happening::Told { host, life, event: Event::Finished { id: action.id, outcome } },
                );
            }
            None => self.unanswered(host, life, action.id, deadline),
        }
    }

    fn receive(&mut self, from: usize, to: usize, command: &Command) -> Outcome {
        let (now, sender) = (self.now, self.hosts[from].config.address);
        let twice = self.options.everything_twice;
        let receiver = &mut self.hosts[to];
        let at = now + receiver.ahead;
        let Some(manager) = receiver.manager.as_mut() else { return Outcome::Done };
        manager.dirty = true;
        // Its certificate says that it belongs to the cluster.
        manager.engine.admit(sender);
        if twice {
            let _same = take(&mut manager.engine, at, sender, command);
        }
        take(&mut manager.engine, at, sender, command)
    }

    /// The manager of `host` is asked for a switchover. What becomes of it is not waited for.
    fn switch_over(&mut self, host: usize, order: &SwitchoverOrder) -> Outcome {
        let (now, receiver) = (self.now, &mut self.hosts[host]);
        let at = now + receiver.ahead;
        let Some(manager) = receiver.manager.as_mut() else { return Outcome::Done };
        manager.dirty = true;
        match manager.engine.switch_over(at, order.clone()) {
            Ok(view) => {
                let view = Switchover { state: SwitchoverState::Done, ..view };
                Outcome::SwitchedOver(Box::new(view))
            }
            Err(problem) => Outcome::Failed(problem.detail),
        }
    }

    /// The balancer of `host` offers addresses to others. What comes before and after that concerns connections, of which
    /// there are none here.
    fn hand_over(&mut self, host: usize, order: &HandOverOrder) -> Outcome {
        self.checks.disturbed(self.now);
        let vips = self.hosts[host].config.vips.clone();
        let meant = |vip: &Vip| order.addresses.is_empty() || order.addresses.contains(&vip.address);
        for (at, vip) in vips.iter().enumerate().filter(|(_, vip)| meant(vip)) {
            let v4 = |to: &&IpAddr| to.is_ipv4();
            let to = order.to.get(&vip.address).and_then(|to| to.iter().find(v4).copied());
            if !self.speaker_turn(host, Turn::Offer(at, to)) {
                return Outcome::Failed("the VIP speaker is not reachable".to_owned());
            }
            self.checks.handed_over += 1;
        }
        let done = HandOver { number: 1, state: HandOverState::Done, ..HandOver::default() };
        Outcome::HandedOver(Box::new(done))
    }

    fn balancer_answers(&mut self, host: usize, command: &Command, sent: Time) -> Outcome {
        let disk_full = self.now < self.hosts[host].troubles.full_until;
        let (any, twice) = (self.has_bug(Bug::AnyGenerationIsTaken), self.options.everything_twice);
        if let Command::HandOver { order, .. } = command {
            return self.hand_over(host, order);
        }
        if let Command::Rank { priorities, .. } = command {
            for (at, vip) in self.hosts[host].config.vips.clone().iter().enumerate() {
                if let Some(priority) = priorities.get(&vip.address) {
                    self.speaker_turn(host, Turn::Rank(at, *priority));
                }
            }
            return Outcome::Done;
        }
        if let Command::ReadLb { .. } = command {
            // The question brings the time of the host, as it was when it was asked (`ports/balancer.rs`).
            self.speaker_turn(host, Turn::Stamp(sent));
        }
        let status = self.vip_status(host);
        let asks = matches!(command, Command::ReadLb { pools: true, .. });
        let pools = asks.then(|| self.pools_health(host));
        let before = if self.options.measured { BTreeSet::new() } else { self.living_upstreams(host) };
        let this = &mut self.hosts[host];
        let Some(balancer) = this.guests.get_mut(&this.lb).and_then(|guest| guest.balancer.as_mut()) else {
            return Outcome::Failed("connection refused".to_owned());
        };
        let put = match command {
            Command::Push { set, .. } => {
                let set = &set.to_wire();
                let held = balancer.proxy.set.generation;
                if twice {
                    let _same = balancer.proxy.put(set, disk_full, any);
                }
                let put = balancer.proxy.put(set, disk_full, any);
                if !matches!(put, Put::Refused(_)) {
                    balancer.acknowledged = balancer.acknowledged.max(set.generation);
                }
                let generation = balancer.proxy.set.generation;
                self.check_taken(host, held, generation, &before);
                self.say(|| format!("{host}: lb holds set {generation}"));
                put
            }
            Command::Configure { config, .. } => balancer.proxy.configure(config),
            Command::ReadLb { documents, .. } => {
                let Some(vip) = status else {
                    return Outcome::Failed("the VIP speaker is not reachable".to_owned());
                };
                return Outcome::LbRead(Box::new(LbReading {
                    vip,
                    upstreams: documents.then(|| balancer.proxy.set.clone()),
                    config_generation: documents.then_some(balancer.proxy.config.generation),
                    pools,
                }));
            }
            _ => return Outcome::Done,
        };
        match put {
            Put::Taken | Put::Known => Outcome::Done,
            Put::Refused(problem) => match problem.held {
                Some(held) => {
                    self.reached.refused_generations += 1;
                    Outcome::Stale(held)
                }
                None => Outcome::Failed(problem.detail),
            },
        }
    }

    /// The upstreams of the balancer of `host` that would answer it, and that nobody is about to take away.
    /// An upstream is one incarnation of a machine: one that was rebuilt is another one.
    pub(super) fn living_upstreams(&self, host: usize) -> BTreeSet<EndpointId> {
        let Some(balancer) = self.hosts[host].balancer().and_then(|guest| guest.balancer.as_ref()) else {
            return BTreeSet::new();
        };
        let upstreams = balancer.proxy.set.pools.values().flatten().map(|upstream| &upstream.id);
        upstreams.filter(|id| self.is_usable(id)).cloned().collect()
    }

    fn is_usable(&self, id: &EndpointId) -> bool {
        self.hosts.iter().any(|host| {
            host.guests.values().any(|guest| {
                guest.serves()
                    && !self.checks.condemned.contains(&guest.uid)
                    && !host.dismissed.contains(&guest.purpose.id)
                    && *id == EndpointId::of(&guest.purpose.id, guest.purpose.incarnation)
            })
        })
    }
}

//! Moves public addresses from one host's balancer to another's, because somebody asked for it or because
//! the balancer that holds them is to be stopped.
//!
//! ```text
//!                 held here                the other one is ready      handed over
//!   switch_over ────────────▶ Preparing ────────────────────────▶ HandingOver ───▶ Confirming ──▶ Done
//!        │                        │ not in time                        │ undone            its manager
//!        │ held on another host   ▼                                    ▼                   says so
//!        └──▶ Forwarded ───▶ as that one's manager says              Failed
//! ```
//!
//! The addresses move only to a balancer that is ready, fit, and uses every endpoint of this host. How they
//! move without failing a request, and how that is undone, is the balancer's business (its `PUT /hand-over`).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;
use wire::switchover::{Switchover, SwitchoverOrder, SwitchoverState};
use wire::{HostName, MachineId, Problem};

use super::machines::HAND_OVER;
use super::{Engine, Severity, Time, lb_id, millis};

mod steps;
mod takers;

/// While the other balancer is not ready, it is looked at again this often.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// The new holder's manager has so long to say that its balancer holds the address.
const CONFIRM: Duration = Duration::from_secs(3);

/// What a forwarded switchover may take beyond its own time.
const FORWARD_MARGIN: Duration = Duration::from_secs(15);

/// Kept connections without a request have at most so long.
const MOST_IDLE_MS: u64 = 2_000;

/// A switchover, present or past.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Switching {
    view: Switchover,
    /// The host that was named, or chosen, for each address.
    to: BTreeMap<IpAddr, HostName>,
    /// Requests in progress may take so long.
    finish_ms: u64,
    began: Time,
    /// When the present phase ends at the latest.
    until: Time,
    /// How many of the balancer's steps were told.
    told: usize,
}

impl Switching {
    fn enter(&mut self, now: Time, state: SwitchoverState, until: Time) {
        self.view.state = state;
        self.view.took_ms = millis(now.saturating_sub(self.began));
        self.until = until;
    }
}

impl Engine {
    /// The present or the last switchover that was asked for here.
    pub fn switchover(&self, now: Time) -> Option<Switchover> {
        let switching = self.switching.as_ref()?;
        let mut view = switching.view.clone();
        if !view.state.is_over() {
            view.took_ms = millis(now.saturating_sub(switching.began));
        }
        Some(view)
    }

    /// Moves public addresses to another host's balancer.
    ///
    /// # Errors
    ///
    /// 400 for a time that makes no sense and for `from` with `vip`, 404 for an unknown host or address, 409 in maintenance, when another one is on its
    /// way, nobody or several hold the addresses, or the other balancer cannot take them.
    pub fn switch_over(&mut self, now: Time, order: SwitchoverOrder) -> Result<Switchover, Problem> {
        self.refuse_in_maintenance()?;
        let SwitchoverOrder { to, vip, from, timeout_ms } = &order;
        let limits = SwitchoverOrder::SHORTEST_MS..=SwitchoverOrder::LONGEST_MS;
        if !limits.contains(timeout_ms) {
            let expected = format!("timeout: expected {} to {} ms", limits.start(), limits.end());
            return Err(Problem::bad_parameter("timeout_ms", expected));
        }
        if self.is_switching() {
            return Err(Problem::conflict("a switchover is on its way already: GET /switchover shows it"));
        }
        let addresses = match (from, vip) {
            (Some(_), Some(_)) => {
                return Err(Problem::bad_parameter(
                    "from",
                    "expected either `from` or `vip`: what a host holds, or one",
                ));
            }
            (Some(from), None) => self.all_held_by(now, from)?,
            (None, vip) => self.meant(*vip)?,
        };
        let is_all_of_one = from.is_some();
        let from = self.common_holder(now, &addresses)?;
        if to.as_ref() == Some(&from) {
            return Err(Problem::conflict(format!("the balancer of {from} holds the address already")));
        }
        if let Some(to) = to {
            self.host_exists(to)?;
        }
        let timeout = Duration::from_millis(*timeout_ms);
        if from == self.config.name {
            if self.ready_lb().is_none() {
                let detail = format!("{} is not ready, or is being replaced: wait until it is", lb_id(&from));
                return Err(Problem::conflict(detail));
            }
            let to = match to {
                Some(to) => self.can_take(now, to, &addresses).map(|()| all_to(&addresses, to)),
                None if is_all_of_one => {
                    let each = addresses.iter();
                    each.map(|address| Ok((*address, self.fittest(now, &[*address])?))).collect()
                }
                None => self.fittest(now, &addresses).map(|to| all_to(&addresses, &to)),
            };
            let to = to.map_err(Problem::conflict)?;
            return Ok(self.begin_switching(now, addresses, to, now + timeout, timeout_ms / 2));
        }
        let peer = self.peer_called(&from).map(|peer| peer.address);
        let Some(peer) = peer else {
            return Err(Problem::conflict(format!("the manager of {from} is not heard: ask it itself")));
        };
        let to = all_to(&addresses, to.as_ref().unwrap_or(&self.config.name));
        let mut view =
            self.begin_switching(now, addresses, to, now + timeout + FORWARD_MARGIN, timeout_ms / 2);
        view.from = lb_id(&from);
        view.state = SwitchoverState::Forwarded;
        if let Some(switching) = &mut self.switching {
            switching.view = view.clone();
        }
        self.forward = Some((peer, order));
        Ok(view)
    }

    /// A balancer that is to be stopped lets go of what it holds, each address to whom it would go if it died. `until` is
    /// when it is stopped all the same.
    pub(super) fn switch_before_stop(&mut self, now: Time, until: Time) -> bool {
        if self.is_switching() {
            return true;
        }
        let addresses = self.held_here();
        let taker = |address: &IpAddr| Some((*address, self.fittest(now, &[*address]).ok()?));
        let to: BTreeMap<IpAddr, HostName> = addresses.iter().filter_map(taker).collect();
        if to.is_empty() {
            return false;
        }
        let wait = until.saturating_sub(now) / 4;
        self.begin_switching(now, addresses, to, now + wait, millis(HAND_OVER / 2));
        true
    }

    fn begin_switching(
        &mut self,
        now: Time,
        addresses: Vec<IpAddr>,
        to: BTreeMap<IpAddr, HostName>,
        until: Time,
        finish_ms: u64,
    ) -> Switchover {
        let number = self.switching.as_ref().map_or(0, |last| last.view.number) + 1;
        let mut targets: BTreeMap<IpAddr, MachineId> =
            to.iter().map(|(address, host)| (*address, lb_id(host))).collect();
        let first = addresses.iter().find_map(|address| targets.get(address)).cloned();
        let first = first.unwrap_or_else(|| lb_id(&self.config.name));
        if targets.values().all(|target| *target == first) {
            targets.clear();
        }
        let view = Switchover {
            number,
            state: SwitchoverState::Preparing,
            addresses,
            from: lb_id(&self.config.name),
            to: first,
            targets,
            hand_over: None,
            took_ms: 0,
            reason: None,
        };
        let message = format!("from {} to {}", view.from, view.to);
        self.note_switching("switchover.asked", Severity::Info, &view, message);
        self.switching = Some(Switching { view: view.clone(), to, finish_ms, began: now, until, told: 0 });
        view
    }

    pub(super) fn is_switching(&self) -> bool {
        self.switching.as_ref().is_some_and(|switching| !switching.view.state.is_over())
    }
}

/// All of `addresses` go to `host`.
fn all_to(addresses: &[IpAddr], host: &HostName) -> BTreeMap<IpAddr, HostName> {
    addresses.iter().map(|address| (*address, host.clone())).collect()
}

/// What waits to be asked of another manager.
pub(super) type Forward = Option<(IpAddr, SwitchoverOrder)>;

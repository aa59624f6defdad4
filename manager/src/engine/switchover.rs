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

use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;
use wire::switchover::{Switchover, SwitchoverOrder, SwitchoverState};
use wire::{HostName, Problem};

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
    /// The host that was named, or chosen.
    to: HostName,
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
    /// 400 for a time that makes no sense, 404 for an unknown host or address, 409 in maintenance, when another one is on its
    /// way, nobody or several hold the addresses, or the other balancer cannot take them.
    pub fn switch_over(&mut self, now: Time, order: SwitchoverOrder) -> Result<Switchover, Problem> {
        self.refuse_in_maintenance()?;
        let SwitchoverOrder { to, vip, timeout_ms } = &order;
        let limits = SwitchoverOrder::SHORTEST_MS..=SwitchoverOrder::LONGEST_MS;
        if !limits.contains(timeout_ms) {
            let expected = format!("timeout: expected {} to {} ms", limits.start(), limits.end());
            return Err(Problem::bad_parameter("timeout_ms", expected));
        }
        if self.is_switching() {
            return Err(Problem::conflict("a switchover is on its way already: GET /switchover shows it"));
        }
        let addresses = self.meant(*vip)?;
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
                Some(to) => self.can_take(now, to, &addresses).map(|()| to.clone()),
                None => self.fittest(now, &addresses),
            };
            let to = to.map_err(Problem::conflict)?;
            return Ok(self.begin_switching(now, addresses, to, now + timeout, timeout_ms / 2));
        }
        let peer = self.peer_called(&from).map(|peer| peer.address);
        let Some(peer) = peer else {
            return Err(Problem::conflict(format!("the manager of {from} is not heard: ask it itself")));
        };
        let to = to.clone().unwrap_or_else(|| self.config.name.clone());
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

    /// A balancer that is to be stopped lets go of what it holds. `until` is when it is stopped all the same.
    pub(super) fn switch_before_stop(&mut self, now: Time, until: Time) -> bool {
        if self.is_switching() {
            return true;
        }
        let addresses = self.held_here();
        match self.fittest(now, &addresses) {
            Ok(to) => {
                let wait = until.saturating_sub(now) / 4;
                self.begin_switching(now, addresses, to, now + wait, millis(HAND_OVER / 2));
                true
            }
            Err(_) => false,
        }
    }

    fn begin_switching(
        &mut self,
        now: Time,
        addresses: Vec<IpAddr>,
        to: HostName,
        until: Time,
        finish_ms: u64,
    ) -> Switchover {
        let number = self.switching.as_ref().map_or(0, |last| last.view.number) + 1;
        let view = Switchover {
            number,
            state: SwitchoverState::Preparing,
            addresses,
            from: lb_id(&self.config.name),
            to: lb_id(&to),
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

/// What waits to be asked of another manager.
pub(super) type Forward = Option<(IpAddr, SwitchoverOrder)>;

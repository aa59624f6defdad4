//! Whether this host reaches the network beyond: its balancer sees only the cable to the bridge, never the one
//! that leaves the host.
//!
//! ```text
//!   reading ──▶ no carrier ─────────────────────────────┐
//!           ──▶ nothing received for 3 s, although      ├─▶ lost ──▶ the balancer is told: its priority
//!               neighbours were asked (ARP)             │            is lower by a weight
//!   asked   ──▶ none of several targets answers for 3 s ┘
//! ```
//!
//! It is a weight and no more: where the other host has lost its uplink too, the order stays as it was, and
//! where there is no other, the balancer serves on.

use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;

use super::{Command, Engine, Job, Outcome, Plan, Severity, Time, lb_id};

/// Silence on a cable that has a carrier means nothing before this.
const FROZEN: Duration = Duration::from_secs(3);

/// Neighbours are asked this often, so that there is something to be received.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// What has come back counts only after so long: by then this host's balancer has heard who took its place,
/// and does not claim the address.
const BACK_AFTER: Duration = Duration::from_secs(1);

/// A longer time between two adverts needs longer: so many of them.
const BACK_AFTER_ADVERTS: u32 = 5;

/// While it is lost, the balancer is told again this often: its speaker may have been started anew.
const TELL_AGAIN: Duration = Duration::from_secs(1);

/// One silent target may be switched off; only that of all of several means something.
const SEVERAL: usize = 2;

/// What was read of the uplink's interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UplinkReading {
    /// It is there.
    Link {
        /// Whether something is at the other end of the cable.
        carrier: bool,
        /// How many packets it has received since it was made.
        received: u64,
    },
    /// There is no such interface.
    Missing,
    /// It cannot be read; in words.
    Unreadable(String),
}

/// The uplink, as far as it is known.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Uplink {
    /// Whether there is a carrier; none before the first reading.
    carrier: Option<bool>,
    /// Why it cannot be read.
    unreadable: Option<String>,
    received: u64,
    /// When something was last received, or the carrier came back.
    received_at: Time,
    /// When a target last answered, or the carrier came back.
    answered_at: Time,
    /// When a question to the targets last went without an answer.
    unanswered_at: Option<Time>,
    ask_at: Time,
    /// Why it counts as lost.
    lost: Option<String>,
    /// Since when nothing is wrong with it any more, though it still counts as lost.
    well_since: Option<Time>,
    /// What the balancer was told last, and when to tell it again.
    told: Option<bool>,
    tell_at: Time,
}

impl Uplink {
    /// Nothing was read for `gap`, for a reason of our own.
    pub(super) fn excuse(&mut self, gap: Duration) {
        self.received_at += gap;
        self.answered_at += gap;
    }

    /// The balancer has forgotten what it was told.
    pub(super) fn lb_forgot(&mut self) {
        self.told = None;
        self.tell_at = Time::ZERO;
    }
}

impl Engine {
    /// Whether this host's uplink is lost; none where none is configured.
    pub fn uplink_lost(&self) -> Option<bool> {
        self.config.uplink.as_ref().map(|_| self.uplink.lost.is_some())
    }

    /// What a person should know about it.
    pub(super) fn uplink_warning(&self) -> Option<String> {
        let name = self.config.uplink.as_ref()?;
        let reason = self.uplink.lost.as_ref().or(self.uplink.unreadable.as_ref())?;
        Some(format!("uplink {name}: {reason}"))
    }

    pub(super) fn uplink_read(&mut self, now: Time, reading: UplinkReading) {
        let uplink = &mut self.uplink;
        match reading {
            UplinkReading::Link { carrier, received } => {
                uplink.unreadable = None;
                if carrier && uplink.carrier != Some(true) {
                    (uplink.received_at, uplink.answered_at) = (now, now);
                }
                if received != uplink.received {
                    uplink.received_at = now;
                }
                uplink.received = received;
                uplink.carrier = Some(carrier);
            }
            // One that was there and is not any more has no carrier.
            UplinkReading::Missing if uplink.carrier.is_some() => uplink.carrier = Some(false),
            // One that never was is a mistake in the file, and no reason to give an address away.
            UplinkReading::Missing => {
                self.uplink_unreadable(now, "there is no such interface: correct `uplink`".to_owned());
            }
            UplinkReading::Unreadable(reason) => {
                uplink.carrier = None;
                self.uplink_unreadable(now, reason);
            }
        }
    }

    fn uplink_unreadable(&mut self, now: Time, reason: String) {
        let name = self.config.uplink.clone().unwrap_or_default();
        self.trouble(now, "host.uplink-unknown", name, format!("the uplink cannot be read: {reason}"));
        self.uplink.unreadable = Some(reason);
    }

    /// So many of the targets have answered.
    pub(super) fn targets_asked(&mut self, now: Time, outcome: Outcome) {
        let uplink = &mut self.uplink;
        uplink.ask_at = now + ASK_EVERY;
        match outcome {
            Outcome::Answered(0) => uplink.unanswered_at = Some(now),
            Outcome::Answered(_) => uplink.answered_at = now,
            Outcome::Failed(reason) => {
                let name = self.config.uplink.clone().unwrap_or_default();
                self.trouble(
                    now,
                    "host.uplink-unasked",
                    name,
                    format!("neighbours cannot be asked: {reason}"),
                );
            }
            _ => {}
        }
    }

    pub(super) fn uplink_told(&mut self, now: Time, lost: bool, outcome: Outcome) {
        // It may have changed while the balancer was told.
        let changed = lost != self.uplink.lost.is_some();
        self.uplink.tell_at = if changed { now } else { now + TELL_AGAIN };
        match outcome {
            Outcome::Failed(reason) => {
                let lb = lb_id(&self.config.name).to_string();
                self.trouble(now, "lb.uplink-untold", lb, format!("cannot be told of the uplink: {reason}"));
            }
            _ => self.uplink.told = Some(lost),
        }
    }

    pub(super) fn plan_uplink(&mut self, now: Time, plan: &mut Plan) {
        let Some(name) = self.config.uplink.clone().filter(|_| !self.config.vips.is_empty()) else { return };
        self.judge_uplink(now, &name, plan);
        let targets = self.probe_targets();
        if self.uplink.carrier == Some(true) && !targets.is_empty() {
            let quiet = self.uplink.received_at + ASK_EVERY;
            let due =
                if targets.len() >= SEVERAL { self.uplink.ask_at } else { self.uplink.ask_at.max(quiet) };
            if now >= due {
                self.start(now, Job::AskTargets, Command::AskTargets(targets), plan);
            } else {
                plan.wake_by(due, "ask whether the uplink works");
            }
        }
        let (Some(lb), lost) = (self.ready_lb(), self.uplink.lost.is_some()) else { return };
        let known = self.uplink.carrier.is_some() || lost;
        if known && (lost || self.uplink.told != Some(lost)) {
            if now >= self.uplink.tell_at {
                self.start(now, Job::TellUplink, Command::TellUplink { lb, lost }, plan);
            } else {
                plan.wake_by(self.uplink.tell_at, "tell the balancer of the uplink");
            }
        }
    }

    fn judge_uplink(&mut self, now: Time, name: &str, plan: &mut Plan) {
        let wrong = self.wrong_with_uplink(now, plan);
        let advert = self.config.vips.iter().map(|vip| vip.advert_interval).max().unwrap_or_default();
        let back_after = BACK_AFTER.max(advert * BACK_AFTER_ADVERTS);
        let uplink = &mut self.uplink;
        match (wrong, uplink.lost.is_some()) {
            (Some(reason), was_lost) => {
                uplink.well_since = None;
                uplink.lost = Some(reason.clone());
                if !was_lost {
                    uplink.tell_at = now;
                    self.note(Severity::Error, "host.uplink-lost", name.to_owned(), reason);
                }
            }
            (None, false) => {}
            (None, true) => {
                let well_since = *uplink.well_since.get_or_insert(now);
                // Only what is heard shows that it works again.
                if now >= well_since + back_after && uplink.received_at > well_since {
                    (uplink.lost, uplink.well_since) = (None, None);
                    uplink.tell_at = now;
                    let message = "it works again".to_owned();
                    self.note(Severity::Info, "host.uplink-back", name.to_owned(), message);
                } else if now < well_since + back_after {
                    plan.wake_by(well_since + back_after, "the uplink counts again");
                }
            }
        }
    }

    /// What is wrong with the uplink now, if anything is known to be.
    fn wrong_with_uplink(&self, now: Time, plan: &mut Plan) -> Option<String> {
        let uplink = &self.uplink;
        match uplink.carrier {
            Some(true) => {}
            Some(false) => {
                return Some("no carrier: its cable or what is at the other end is dead".to_owned());
            }
            // What was known last stays.
            None => return uplink.lost.clone(),
        }
        let targets = self.probe_targets().len();
        let unanswered_since = |time| targets > 0 && uplink.unanswered_at.is_some_and(|at| at > time);
        let [frozen, silent] = [uplink.received_at, uplink.answered_at].map(|since| since + FROZEN);
        if now >= frozen && unanswered_since(uplink.received_at) {
            return Some(format!(
                "nothing was received for {} s, although {targets} neighbours were asked",
                (now - uplink.received_at).as_secs()
            ));
        }
        if now < frozen {
            plan.wake_by(frozen, "has the uplink received anything?");
        }
        if targets < SEVERAL {
            return None;
        }
        if now >= silent && unanswered_since(uplink.answered_at) {
            return Some(format!("none of {targets} neighbours beyond it answers"));
        }
        if now < silent {
            plan.wake_by(silent, "has a neighbour beyond the uplink answered?");
        }
        None
    }

    /// Whom to ask: those that are configured; else the gateway; else, where that is this host, the peers.
    fn probe_targets(&self) -> Vec<IpAddr> {
        let config = &self.config;
        if !config.probe_targets.is_empty() {
            return config.probe_targets.clone();
        }
        if config.gateway != config.address {
            return vec![config.gateway];
        }
        // One of them: a host that is switched off says nothing about this one's uplink, however many are.
        self.peers.keys().take(1).copied().collect()
    }
}

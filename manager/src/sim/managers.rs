//! Runs the production engines as the executor does: tells them what happens, starts what they plan.

use std::time::Duration;

use wire::vip::VipStatus;

use super::checks::Checker;
use super::host::{Manager, Work};
use super::trace::words;
use super::world::{Happening, Watch, World};
use crate::engine::{Action, Command, Engine, Event, Outcome};

/// The time between two heartbeats of a machine.
const BEAT: Duration = Duration::from_millis(250);

/// An unanswered connection is tried again after this.
const CONNECT_AGAIN: Duration = Duration::from_millis(100);

/// A manager that has nothing to do wakes up at most so often, and once for each peer …
const IDLE_WAKES: usize = 20;

/// … in this time.
const IDLE_TIME: Duration = Duration::from_millis(100);

/// Of so many seeds one has its plans checked.
const COMPARED: u64 = 16;

impl World {
    /// The manager of `host` starts, with what is on its disk.
    pub(super) fn start_manager(&mut self, host: usize) {
        let (now, bug) = (self.now, self.options.bug);
        self.checks.harmed(now);
        let this = &mut self.hosts[host];
        let mut engine = Engine::new(this.config.clone(), this.disk.clone(), now + this.ahead);
        engine.bug = bug;
        engine.circle_from = self.options.circle_from;
        this.manager = Some(Manager::new(engine));
        // Who was heard by the one before was not heard by this one.
        this.guests.values_mut().for_each(|guest| guest.heard = None);
        self.say(|| format!("{host}: manager starts"));
    }

    /// SIGKILL for a manager. Of what it has begun on its host, each thing was done by then or never is.
    pub(super) fn kill_manager(&mut self, host: usize) {
        let Some(manager) = self.hosts[host].manager.take() else { return };
        self.hosts[host].life += 1;
        self.say(|| format!("{host}: manager is killed"));
        for command in manager.begun.into_values() {
            if self.dice.chance(50) {
                self.effect(host, &command);
            }
        }
    }

    /// Tells the manager of `host` something, if it is still the one that is meant.
    pub(super) fn told(&mut self, host: usize, life: u64, event: Event) {
        let now = self.now;
        let this = &mut self.hosts[host];
        let Some(manager) = this.manager.as_mut().filter(|_| this.life == life) else { return };
        if manager.stalled_until > now {
            let until = manager.stalled_until;
            return self.at(until, Happening::Told { host, life, event });
        }
        if let Event::Finished { id, .. } = &event {
            manager.begun.remove(id);
        }
        let at = now + this.ahead;
        if self.options.everything_twice {
            manager.dirty |= manager.engine.observe(at, event.clone());
        }
        manager.dirty |= manager.engine.observe(at, event);
        self.stepped(host);
    }

    /// Whatever a manager does is a step at which it may crash.
    fn stepped(&mut self, host: usize) -> bool {
        if host == 0 {
            self.steps += 1;
            if self.options.kill_at == Some(self.steps) {
                self.kill_manager(host);
                let pause = self.dice.ms(1, 3_000);
                self.after(pause, Happening::Starts { host });
                return true;
            }
        }
        let Some(manager) = self.hosts[host].manager.as_mut() else { return true };
        match &mut manager.crash_in {
            None => false,
            Some(0) => {
                self.kill_manager(host);
                true
            }
            Some(left) => {
                *left -= 1;
                false
            }
        }
    }

    pub(super) fn wake_manager(&mut self, host: usize) {
        let now = self.now;
        let this = &mut self.hosts[host];
        let Some(manager) = this.manager.as_mut() else { return };
        manager.engine.observe(now + this.ahead, Event::Tick);
        manager.dirty = true;
        manager.idle.push_back(now);
        while manager.idle.front().is_some_and(|wake| now - *wake > IDLE_TIME) {
            manager.idle.pop_front();
        }
    }

    /// Starts what the manager of `host` wants, if it was told something since it was last asked.
    pub(super) fn plan(&mut self, host: usize) {
        let now = self.now;
        let peers = self.hosts.len();
        let this = &mut self.hosts[host];
        let Some(manager) = this.manager.as_mut().filter(|manager| manager.dirty) else { return };
        if manager.stalled_until > now {
            return;
        }
        manager.dirty = false;
        // What is kept between plans is compared with what is made anew in some of the runs: it takes its time.
        let checked = self.options.seed.is_multiple_of(COMPARED) && !self.options.measured;
        let at = now + this.ahead;
        let plan = if checked { manager.engine.plan_checked(at) } else { manager.engine.plan(at) };
        let notices = manager.engine.take_notices();
        manager.wake = plan.wake;
        if !plan.actions.is_empty() {
            manager.idle.clear();
        }
        if manager.idle.len() > IDLE_WAKES + peers {
            let reason = plan.wake_reason;
            self.violated(Checker::Liveness, || format!("host {host} wakes up for nothing: {reason}"));
        }
        for notice in notices {
            self.note_standbys(host, &notice);
            match notice.kind {
                "machine.unfenced" => self.reached.unconfirmed_fences += 1,
                "vip.spread" => self.reached.evened += 1,
                "host.mass-death" => self.reached.brakes += 1,
                "machine.draining" => self.given_up(host, &notice.subject.as_str().into()),
                _ => {}
            }
            self.say(|| format!("{host}: {} {}: {}", notice.kind, notice.subject, notice.message));
        }
        if !self.options.measured {
            self.check_sizes(host);
            self.check_standbys(host);
        }
        for action in plan.actions {
            if self.stepped(host) {
                return;
            }
            self.start(host, action);
        }
    }

    fn start(&mut self, host: usize, action: Action) {
        self.say(|| format!("{host}: {}", words(&action.command)));
        self.check_command(host, &action.command);
        if Work::of(&action.command).is_some() {
            return self.operate(host, action);
        }
        let life = self.hosts[host].life;
        match action.command {
            Command::Watch { machine, incarnation, address, first_beat, asked: _ } => {
                let (id, give_up) = (action.id, self.now + first_beat);
                if let Some(manager) = self.hosts[host].manager.as_mut() {
                    manager.watches.insert(machine.clone(), id);
                }
                let watch = Watch { id, machine, incarnation, address: address.ip(), uid: None, give_up };
                self.after(Duration::from_micros(500), Happening::Beat { host, life, watch });
            }
            Command::Resign { lb } => {
                self.resign(host, lb);
                let event = Event::Finished { id: action.id, outcome: Outcome::Done };
                self.after(Duration::from_micros(200), Happening::Told { host, life, event });
            }
            // No service of the simulated hosts is autoscaled by what its machines use.
            Command::ReadUsage => {
                let event = Event::Finished { id: action.id, outcome: Outcome::Used(Vec::new()) };
                self.after(Duration::from_millis(5), Happening::Told { host, life, event });
            }
            // Nor does it matter to an engine what its machines are made of.
            Command::KeepSpares(wanted) => {
                let waiting = wanted.into_iter().map(|(service, wanted)| (service, wanted.count)).collect();
                let event = Event::Finished { id: action.id, outcome: Outcome::Spares(waiting) };
                self.after(Duration::from_millis(5), Happening::Told { host, life, event });
            }
            _ => self.call(host, action),
        }
    }

    /// A watch asks its machine, or listens to it further.
    pub(super) fn beat(&mut self, host: usize, life: u64, mut watch: Watch) {
        let now = self.now;
        let this = &self.hosts[host];
        let Some(manager) = this.manager.as_ref().filter(|_| this.life == life) else { return };
        if manager.watches.get(&watch.machine) != Some(&watch.id) {
            return;
        }
        if manager.stalled_until > now {
            return self.at(manager.stalled_until, Happening::Beat { host, life, watch });
        }
        let link = *self.network.link(host, host);
        let passes = !link.cut && !self.dice.chance(link.loss);
        let guest = match watch.uid {
            None => this.guests.values().find(|guest| guest.address() == watch.address && guest.running),
            // Nearly always it is the machine that is meant, and not another one at its address.
            Some(uid) => match this.guests.get(&watch.machine).filter(|guest| guest.uid == uid) {
                Some(guest) => Some(guest).filter(|guest| guest.running),
                None => this.guests.values().find(|guest| guest.uid == uid && guest.running),
            },
        };
        let failed = |reason: &str| Some(Outcome::Failed(reason.to_owned()));
        let connected = watch.uid.is_some();
        let (uid, end, again) = match guest {
            // A stream to a machine that is gone stays open, and silent.
            None if connected => return,
            Some(guest) if passes && guest.beats(now) => (Some(guest.uid), None, BEAT + link.delay),
            Some(guest) if passes && guest.refuses() => (None, failed("refused"), BEAT),
            _ if connected => (None, None, BEAT),
            _ if now >= watch.give_up => (None, failed("no answer"), BEAT),
            _ => (None, None, CONNECT_AGAIN.min(watch.give_up - now)),
        };
        if let Some(outcome) = end {
            return self.told(host, life, Event::Finished { id: watch.id, outcome });
        }
        if let Some(uid) = uid {
            watch.uid = Some(uid);
            let (machine, incarnation) = (watch.machine.clone(), watch.incarnation);
            let guests = &mut self.hosts[host].guests;
            if guests.get(&machine).is_none_or(|guest| guest.uid != uid) {
                guests
                    .values_mut()
                    .filter(|guest| guest.uid == uid)
                    .for_each(|guest| guest.heard = Some(now));
            } else if let Some(guest) = guests.get_mut(&machine) {
                guest.heard = Some(now);
            }
            if let Some(meter) = &mut self.meter {
                meter.heartbeat();
            }
            self.told(host, life, Event::Beat { machine, incarnation });
        }
        self.after(again, Happening::Beat { host, life, watch });
    }

    /// What the balancer of `host` says of its part in the VIP.
    pub(super) fn vip_status(&self, host: usize) -> Option<VipStatus> {
        let guest = self.hosts[host].balancer()?;
        let speaker = guest.balancer.as_ref()?.speaker.as_ref()?;
        Some(speaker.status(guest.clock(self.now)))
    }
}

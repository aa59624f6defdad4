//! Who holds the VIP: at most one among those who hear each other, always somebody who serves, and nobody
//! new without cause.

use std::time::Duration;

use super::balancer::Works;
use super::checks::Checker;
use super::speaker::Speaker;
use super::world::World;

/// After this without anything that may move the VIP, there is one holder. A Down interval of 100 ms
/// adverts is 0.36 s; a holder that offers the address waits three of them; a hang is noticed after 0.3 s
/// and a proxy is looked for after 0.3 s more.
pub(super) const SETTLED: Duration = Duration::from_secs(2);

/// The same where one balancer hears another that does not hear it: it yields after five seconds.
const SETTLED_ONE_WAY: Duration = Duration::from_secs(9);

/// A balancer that could serve holds the VIP after this, unless it hears of another one that does: a Down
/// interval, another one where it was asleep itself, and what a delayed advert of a dead holder adds.
pub(super) const UNSERVED: Duration = Duration::from_millis(1_500);

/// A proxy that hangs moves the VIP no more often than this (`HANG_QUOTA` of the presence). Only a holder's
/// hang moves it: one of a standby, or a pause of its machine, is no excuse.
const HANG_QUOTA: Duration = Duration::from_secs(31);

/// The most hosts whose balancers are looked at.
const MOST: usize = 4;

/// One balancer, as somebody sees it who knows everything.
#[derive(Clone, Copy, Debug, Default)]
struct Part {
    /// It takes part in the election.
    takes: bool,
    /// It has the address, and answers at it.
    holds: bool,
    /// Its proxy works, and it is fit to hold the address: one that does holds on to it.
    able: bool,
    /// It also knows somebody to send requests to: otherwise it leaves the address to others.
    serves: bool,
    /// Its proxy does not work, but it has moved the VIP for that lately.
    excused: bool,
}

impl World {
    /// What must hold after every step.
    pub(super) fn check(&mut self) {
        if self.options.measured {
            return;
        }
        self.check_placed();
        let count = self.hosts.len();
        if count > MOST {
            return;
        }
        for host in 0..count {
            let now = self.now;
            if let Some(lb) = self.lb_mut(host) {
                lb.note_hang(now);
            }
        }
        let vips = self.hosts.iter().map(|host| host.config.vips.len()).max().unwrap_or_default();
        for vip in 0..vips {
            let mut parts = [Part::default(); MOST];
            for (host, part) in parts.iter_mut().enumerate().take(count) {
                *part = self.part(host, vip);
            }
            let parts = &parts[..count];
            if parts.iter().filter(|part| part.holds).count() > 1 {
                self.reached.two_holders += u64::from(self.checks.two_hold.insert(vip));
            } else {
                self.checks.two_hold.remove(&vip);
            }
            self.check_one(vip, parts);
            self.check_somebody(vip, parts);
        }
    }

    fn part(&self, host: usize, vip: usize) -> Part {
        let Some(guest) = self.hosts[host].balancer().filter(|guest| guest.is_alive()) else {
            return Part::default();
        };
        let Some(lb) = guest.balancer.as_ref() else { return Part::default() };
        let takes = lb.takes_part();
        let fit = lb.speaker.as_ref().is_some_and(Speaker::is_fit);
        let works = lb.proxy.works == Works::Well;
        let excused = !works && lb.hung_before.is_some_and(|hung| self.now < hung + HANG_QUOTA);
        // Whether it also takes part is for its speaker to see to.
        let able = works && fit && lb.speaker.is_some();
        let serves = able && lb.proxy.upstreams().next().is_some();
        Part { takes, holds: lb.has.contains(&vip), able, serves, excused }
    }

    /// Among those who hear each other exactly one holds the address.
    fn check_one(&mut self, vip: usize, parts: &[Part]) {
        let calm = self.now.saturating_sub(self.checks.disturbed_at);
        if calm < SETTLED {
            return;
        }
        for first in 0..parts.len() {
            if !parts[first].takes {
                continue;
            }
            let group = self.group(parts, first);
            let inside = |world: &World, clean: bool| {
                group.iter().all(|one| {
                    group.iter().all(|other| {
                        one == other || {
                            let link = world.network.link(*one, *other);
                            link.is_clean() || (!clean && link.cut)
                        }
                    })
                })
            };
            let one_way = group.len() == 2 && calm >= SETTLED_ONE_WAY && inside(self, false);
            if !inside(self, true) && !one_way {
                continue;
            }
            let holders = group.iter().filter(|host| parts[**host].holds).count();
            if holders != 1 {
                let group = group.clone();
                self.violated(Checker::OneHolder, || {
                    format!(
                        "{holders} hold VIP {vip} among the balancers of hosts {group:?}, calm for {calm:?}"
                    )
                });
            }
        }
    }

    /// Those who take part and that something passes between, in some direction and over some way.
    fn group(&self, parts: &[Part], first: usize) -> Vec<usize> {
        let mut group = vec![first];
        let mut looked_at = 0;
        while let Some(one) = group.get(looked_at).copied() {
            looked_at += 1;
            for (other, part) in parts.iter().enumerate() {
                if part.takes && !group.contains(&other) && !self.network.is_cut(one, other) {
                    group.push(other);
                }
            }
        }
        group
    }

    /// Who could serve holds the address, or hears somebody who serves and holds it.
    fn check_somebody(&mut self, vip: usize, parts: &[Part]) {
        for host in 0..parts.len() {
            let served = !parts[host].serves
                || parts[host].holds
                || parts.iter().enumerate().any(|(other, part)| {
                    part.holds && (part.able || part.excused) && !self.network.link(other, host).cut
                });
            if served {
                self.checks.starving.remove(&(vip, host));
                continue;
            }
            let since = *self.checks.starving.entry((vip, host)).or_insert(self.now);
            if self.now - since > UNSERVED {
                let priority = self.hosts[host]
                    .balancer()
                    .and_then(|guest| guest.balancer.as_ref())
                    .and_then(|lb| lb.speaker.as_ref()?.priority(vip));
                self.violated(Checker::OneHolder, || {
                    format!("the balancer of host {host} could serve VIP {vip} at priority {priority:?} for {UNSERVED:?}, and nobody it hears does")
                });
            }
        }
    }

    /// The balancer of `host` takes the address.
    pub(super) fn check_move(&mut self, host: usize) {
        let calm = self.now.saturating_sub(self.checks.disturbed_at);
        let count = self.hosts.len();
        let undisturbed = (0..count).all(|one| {
            (0..one).all(|other| self.network.is_clean(one, other) || self.network.is_cut(one, other))
        });
        if calm > SETTLED && undisturbed {
            self.violated(Checker::OneHolder, || {
                format!("the balancer of host {host} takes the VIP without cause, calm for {calm:?}")
            });
        }
    }
}

//! The speaker's loop: one turn for whatever happens first, an advert, a message over the link, a timer
//! or the end. Every turn reads all adverts that wait before it looks at a timer, so that one who slept
//! learns what it missed before it acts.

use std::future::pending;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{debug, info, warn};
use vrrp::fitness::{FIT_FROM, HIGHEST};
use vrrp::presence::{Presence, Proxy};
use vrrp::{Malformed, State, Unfit};
use wire::vip::{VipOrder, VipStatus};

use super::adverts::Arrived;
use super::announced::{Announced, Deed};
use super::complaints::{Complaints, UNKNOWN_VRID};
use super::listener::{Input, listen};
use super::member::Member;
use super::network::Network;
use super::notify::Notifier;
use super::realtime;
use super::threads::Threads;
use crate::link::Wish;
use crate::settings::Settings;

/// A turn that comes so much later than planned says nothing about the proxy, which we may have kept
/// waiting ourselves.
const LATE: Duration = Duration::from_millis(100);

/// The priorities of a balancer that can serve.
const FIT: RangeInclusive<u8> = FIT_FROM..=HIGHEST;

/// The most adverts read in one turn: a flood must not keep our own from being sent.
const MAX_ADVERTS: usize = 64;

/// Opens everything, speaks until asked to end, releases.
pub(super) async fn run(settings: &Settings) -> anyhow::Result<()> {
    let network = Network::open(settings).await?;
    network.remove_left_over(settings).await?;
    let mut inputs = listen(&settings.state_dir)?;
    let mut speaker = Speaker::new(settings, network)?;
    realtime::ask_for();
    info!(interface = settings.interface, "listening for VRRP adverts");
    let result = speaker.speak(&mut inputs).await;
    let released = speaker.release().await;
    speaker.notifier.finish();
    result.and(released)
}

struct Speaker {
    origin: Instant,
    machine: String,
    network: Network,
    /// In the order of the settings.
    members: Vec<Member>,
    announced: Option<Announced>,
    presence: Presence<Wish>,
    proxy: Proxy<Wish>,
    threads: Threads,
    complaints: Complaints,
    notifier: Notifier,
}

/// What a turn begins with.
enum Event {
    Input(Option<Input>),
    Advert,
    Timer,
    End(&'static str),
}

impl Speaker {
    fn new(settings: &Settings, network: Network) -> anyhow::Result<Self> {
        let members = settings.vips.iter().map(|vip| {
            let own = network.own(vip).context("there is no socket for this [[vip]]")?;
            info!(vrid = vip.vrid, address = %vip.address, %own, "taking part in a virtual router");
            Ok(Member::new(vip, own))
        });
        Ok(Speaker {
            origin: Instant::now(),
            machine: settings.machine.to_string(),
            members: members.collect::<anyhow::Result<_>>()?,
            announced: settings.bgp.as_ref().map(|bgp| Announced::new(&bgp.addresses)),
            network,
            presence: Presence::default(),
            proxy: Proxy::Gone,
            threads: Threads::new(),
            complaints: Complaints::default(),
            notifier: Notifier::start(&settings.notify)?,
        })
    }

    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    async fn speak(&mut self, inputs: &mut mpsc::Receiver<Input>) -> anyhow::Result<()> {
        // It keeps no log of its own, and is not ended by who asks for one.
        let _ignored = crate::signals::requests()?;
        let end = kit::shutdown::requested();
        tokio::pin!(end);
        loop {
            let due = self.next_wake();
            let timer = async {
                match due {
                    Some(due) => tokio::time::sleep_until(self.origin + due).await,
                    None => pending().await,
                }
            };
            let event = tokio::select! {
                name = &mut end => Event::End(name?),
                readable = self.network.readable() => {
                    readable?;
                    Event::Advert
                }
                input = inputs.recv() => Event::Input(input),
                () = timer => Event::Timer,
            };
            let now = self.now();
            if due.is_some_and(|due| now > due + LATE) {
                self.presence.excuse(now);
            }
            self.read_adverts();
            match event {
                Event::Input(Some(input)) => self.hear(input).await?,
                Event::Input(None) => anyhow::bail!("the link to the proxy is closed"),
                Event::Advert | Event::Timer => {}
                Event::End(name) => {
                    info!(signal = name, "ending");
                    return Ok(());
                }
            }
            self.look_at_proxy();
            for Member { router, .. } in &mut self.members {
                let now = self.origin.elapsed();
                if router.next_wake().is_some_and(|(due, _)| due <= now) {
                    router.wake(now);
                }
            }
            self.carry_out().await?;
            self.announce().await?;
            // A machine that stood still in the middle of a turn heard no ticks either.
            let end = self.now();
            if end > now + LATE {
                self.presence.excuse(end);
            }
        }
    }

    fn next_wake(&self) -> Option<Duration> {
        let routers = self.members.iter().filter_map(|member| Some(member.router.next_wake()?.0));
        let announced = self.announced.as_ref().and_then(Announced::next_wake);
        routers.chain(self.presence.next_look()).chain(announced).min()
    }

    /// Puts the addresses that a BGP daemon announces where it finds them, or takes them off.
    async fn announce(&mut self) -> anyhow::Result<()> {
        let (now, proxy) = (self.now(), self.proxy);
        let Some(deed) = self.announced.as_mut().and_then(|announced| announced.look(now, proxy)) else {
            return Ok(());
        };
        self.announce_all(deed).await
    }

    async fn announce_all(&mut self, deed: Deed) -> anyhow::Result<()> {
        let mut result = Ok(());
        for address in self.announced.iter().flat_map(Announced::addresses) {
            result = result.and(self.network.announce(*address, deed).await.map(drop));
        }
        result
    }

    /// Hands over what is held. Tries everything, whatever fails.
    async fn release(&mut self) -> anyhow::Result<()> {
        let now = self.now();
        for member in &mut self.members {
            member.router.stop(now);
        }
        let withdrawn = match self.announced.as_mut().and_then(|announced| announced.stop(now)) {
            Some(deed) => self.announce_all(deed).await,
            None => Ok(()),
        };
        self.carry_out().await.and(withdrawn)
    }

    /// Does what the routers want, and has it told. An address that fails does not keep the others waiting.
    async fn carry_out(&mut self) -> anyhow::Result<()> {
        let mut result = Ok(());
        for (index, member) in self.members.iter_mut().enumerate() {
            while let Some(effect) = member.router.poll_effect(self.origin.elapsed()) {
                match self.network.carry_out(index, &member.vip, effect).await {
                    Ok(sent) => member.count(self.origin.elapsed(), effect, sent),
                    Err(error) => result = result.and(Err(error)),
                }
            }
            if let Some(change) = member.news(self.origin.elapsed(), &self.machine) {
                self.notifier.tell(change);
            }
        }
        result
    }

    fn read_adverts(&mut self) {
        for _ in 0..MAX_ADVERTS {
            match self.network.try_receive() {
                Ok(Some(arrived)) => self.receive(arrived),
                Ok(None) => return,
                Err(error) => {
                    let now = self.now();
                    return self.complaints.complain(now, "receive", || {
                        warn!(%error, "adverts cannot be received; trying on (is the interface up?)");
                    });
                }
            }
        }
    }

    fn receive(&mut self, arrived: Arrived) {
        let now = self.now();
        let (source, vrid) = (arrived.source, arrived.vrid.unwrap_or(0));
        let member = self.members.iter_mut().find(|member| member.is(vrid, source));
        let objection = member.as_ref().and_then(|member| member.objection(&arrived));
        let (advert, member) = match (arrived.advert, member, objection) {
            (Err(error), member, _) => {
                let ours = member.is_some();
                return self.drop_malformed(now, source, error, ours);
            }
            (Ok(_), None, _) => return self.complaints.count(UNKNOWN_VRID),
            (Ok(_), Some(_), Some(kind)) => {
                self.complaints.count(kind);
                return self.complaints.complain(now, kind, || {
                    warn!(%source, vrid, kind, "dropped an advert: compare unicast_peers here and there");
                });
            }
            (Ok(advert), Some(member), None) => (advert, member),
        };
        member.receive(now, source, arrived.destination, &advert);
        let expected = vrrp::identity::advertised(vrid, member.vip.address);
        let same = advert.addresses == expected
            || source.is_ipv6() && advert.addresses.contains(&member.vip.address);
        if !same {
            let theirs = advert.addresses;
            self.complaints.complain(now, "addresses", || {
                warn!(%source, vrid, ?expected, ?theirs, "a router of this group has other addresses");
            });
        }
    }

    async fn hear(&mut self, input: Input) -> anyhow::Result<()> {
        let now = self.now();
        match input {
            Input::Tick { stream, worker, workers, wish, thread } => {
                self.threads.ticked(stream, thread);
                self.presence.tick(now, stream, worker, workers, wish);
            }
            Input::Closed { stream } => {
                self.threads.closed(stream);
                self.presence.closed(stream);
            }
            // Who asked may have gone meanwhile.
            Input::Status { answer } => drop(answer.send(self.status())),
            Input::Order { order, answer } => {
                let result = self.obey(&order);
                if order.is_routine() {
                    debug!(?order, "told");
                } else {
                    info!(?order, refused = result.as_ref().err(), "ordered");
                }
                self.carry_out().await?;
                drop(answer.send(result.map(|()| self.status())));
            }
        }
        Ok(())
    }

    /// Lets the routers know what became of the proxy.
    fn look_at_proxy(&mut self) {
        let now = self.now();
        let holds = self.members.iter().any(|member| member.router.state() == State::Master);
        let proxy = self.presence.look(now, holds, |stream| self.threads.usage(stream));
        if proxy == self.proxy {
            return;
        }
        info!(before = ?self.proxy, now = ?proxy, "the proxy changed");
        self.proxy = proxy;
        for Member { router, .. } in &mut self.members {
            match proxy {
                Proxy::Gone => router.stop(now),
                Proxy::There { hung, wish } => {
                    router.set_unfit(now, Unfit::Hung, hung);
                    router.set_unfit(now, Unfit::Draining, wish.draining);
                    router.set_serving(now, wish.serving);
                    router.ready(now);
                }
            }
        }
    }

    /// Carries out `order` on the routers it means; the first refusal is the answer.
    fn obey(&mut self, order: &VipOrder) -> Result<(), String> {
        let now = self.now();
        if let Some(stamp) = order.host_time_ms {
            for member in &mut self.members {
                member.router.host_stamp(now, Duration::from_millis(stamp));
            }
        }
        if order.priority.is_some_and(|priority| !(1..=254).contains(&priority)) {
            return Err("expected a priority from 1 to 254".to_owned());
        }
        if order.priorities.values().any(|priority| !FIT.contains(priority)) {
            return Err(format!(
                "priorities: expected {} to {}, those of fit balancers",
                FIT.start(),
                FIT.end()
            ));
        }
        let here = |address: &IpAddr| self.members.iter().any(|member| member.vip.address == *address);
        if let Some(strange) = order.priorities.keys().find(|address| !here(address)) {
            return Err(format!("priorities: {strange} is no virtual address here"));
        }
        for member in &mut self.members {
            if let Some(priority) = order.priorities.get(&member.vip.address) {
                member.router.set_priority(now, *priority);
            }
        }
        if let (Some(announced), Some(lost)) = (&mut self.announced, order.uplink_lost) {
            announced.set_uplink_lost(lost);
        }
        if self.members.is_empty() && order.is_routine() {
            return Ok(());
        }
        let meant = |member: &&mut Member| {
            order.vrid.is_none_or(|vrid| vrid == member.vip.vrid)
                && order.address.is_none_or(|address| address == member.vip.address)
        };
        let mut result = None;
        for member in self.members.iter_mut().filter(meant) {
            result = Some(result.unwrap_or(Ok(())).and(member.obey(now, order)));
        }
        result.unwrap_or_else(|| Err("there is no virtual router with this vrid or address here".to_owned()))
    }

    fn drop_malformed(&mut self, now: Duration, source: IpAddr, error: Malformed, ours: bool) {
        self.complaints.count(error.name());
        // A router of another group may speak whatever it likes.
        if ours {
            self.complaints.complain(
                now,
                error.name(),
                || warn!(%source, %error, "dropped a bad VRRP packet"),
            );
        }
    }

    fn status(&self) -> VipStatus {
        let now = self.now();
        let routers = self.members.iter().map(|member| member.status(now)).collect();
        let announced = self.announced.iter().flat_map(|announced| announced.status(now)).collect();
        let mut status = VipStatus { routers, announced, ..VipStatus::default() };
        self.complaints.report(&mut status);
        status
    }
}

//! The speaker's loop: one turn for whatever happens first, an advert, a message over the link, a timer
//! or the end. Every turn reads all adverts that wait before it looks at a timer, so that one who slept
//! learns what it missed before it acts.

use std::future::pending;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{info, warn};
use vrrp::{Router, RouterConfig, State, Unfit};
use wire::vip::{RouterState, RouterStatus, VipAction, VipOrder, VipStatus};

use super::adverts::Arrived;
use super::listener::{Input, listen};
use super::network::Network;
use super::presence::{Presence, Proxy};
use super::realtime;
use crate::settings::{Settings, Vip};

/// A turn that comes so much later than planned says nothing about the proxy, which we may have kept
/// waiting ourselves.
const LATE: Duration = Duration::from_millis(100);

/// The most adverts read in one turn: a flood must not keep our own from being sent.
const MAX_ADVERTS: usize = 64;

/// Bad packets are complained of this often.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);

/// Opens everything, speaks until asked to end, releases.
pub(super) async fn run(settings: &Settings) -> anyhow::Result<()> {
    let network = Network::open(settings)?;
    network.remove_left_over(&settings.vips).await?;
    let mut inputs = listen(&settings.state_dir)?;
    let mut speaker = Speaker::new(settings, network);
    realtime::ask_for();
    info!(own = %speaker.network.own, interface = settings.interface, "listening for VRRP adverts");
    let result = speaker.speak(&mut inputs).await;
    let released = speaker.release().await;
    result.and(released)
}

struct Speaker {
    origin: Instant,
    network: Network,
    routers: Vec<(Vip, Router)>,
    presence: Presence,
    proxy: Proxy,
    complain_from: Duration,
}

/// What a turn begins with.
enum Event {
    Input(Option<Input>),
    Advert,
    Timer,
    End(&'static str),
}

impl Speaker {
    fn new(settings: &Settings, network: Network) -> Self {
        let own = network.own;
        let routers = settings.vips.iter().map(|vip| {
            let Vip { address: _, vrid, priority, advert_interval } = *vip;
            let config = RouterConfig { vrid, own, priority, interval: advert_interval };
            (vip.clone(), Router::new(Duration::ZERO, config))
        });
        Speaker {
            origin: Instant::now(),
            routers: routers.collect(),
            network,
            presence: Presence::default(),
            proxy: Proxy::Gone,
            complain_from: Duration::ZERO,
        }
    }

    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    async fn speak(&mut self, inputs: &mut mpsc::Receiver<Input>) -> anyhow::Result<()> {
        // It keeps no log of its own, and is not ended by who asks for one.
        let _ignored = crate::reopen::requests()?;
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
                readable = self.network.adverts.readable() => {
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
            for (_, router) in &mut self.routers {
                let now = self.origin.elapsed();
                if router.next_wake().is_some_and(|(due, _)| due <= now) {
                    router.wake(now);
                }
            }
            self.carry_out().await?;
        }
    }

    fn next_wake(&self) -> Option<Duration> {
        let routers = self.routers.iter().filter_map(|(_, router)| Some(router.next_wake()?.0));
        routers.chain(self.presence.next_look()).min()
    }

    /// Hands over what is held. Tries everything, whatever fails.
    async fn release(&mut self) -> anyhow::Result<()> {
        let now = self.now();
        for (_, router) in &mut self.routers {
            router.stop(now);
        }
        self.carry_out().await
    }

    /// Does what the routers want. An address that fails does not keep the others waiting.
    async fn carry_out(&mut self) -> anyhow::Result<()> {
        let mut result = Ok(());
        for (vip, router) in &mut self.routers {
            while let Some(effect) = router.poll_effect(self.origin.elapsed()) {
                result = result.and(self.network.carry_out(vip, effect).await);
            }
        }
        result
    }

    fn read_adverts(&mut self) {
        for _ in 0..MAX_ADVERTS {
            match self.network.adverts.try_receive() {
                Ok(Some(arrived)) => self.receive(arrived),
                Ok(None) => return,
                Err(error) => {
                    self.complain(
                        || warn!(%error, "adverts cannot be received; trying on (is the interface up?)"),
                    );
                    return;
                }
            }
        }
    }

    fn receive(&mut self, (source, advert): Arrived) {
        let now = self.now();
        let advert = match advert {
            Ok(advert) => advert,
            Err(error) => return self.complain(|| warn!(%source, %error, "dropped a bad VRRP packet")),
        };
        let Some((vip, router)) = self.routers.iter_mut().find(|(vip, _)| vip.vrid == advert.vrid) else {
            return;
        };
        router.receive(now, source, &advert);
        if advert.addresses != [vip.address] {
            let (vrid, expected, theirs) = (vip.vrid, vip.address, advert.addresses);
            self.complain(
                || warn!(%source, vrid, %expected, ?theirs, "a router of this group has other addresses"),
            );
        }
    }

    /// Lets `say` through if nothing was complained of lately.
    fn complain(&mut self, say: impl FnOnce()) {
        let now = self.now();
        if now >= self.complain_from {
            self.complain_from = now + COMPLAIN_EVERY;
            say();
        }
    }

    async fn hear(&mut self, input: Input) -> anyhow::Result<()> {
        let now = self.now();
        match input {
            Input::Tick { stream, worker, workers, draining } => {
                self.presence.tick(now, stream, worker, workers, draining);
            }
            Input::Closed { stream } => self.presence.closed(stream),
            // Who asked may have gone meanwhile.
            Input::Status { answer } => drop(answer.send(self.status())),
            Input::Order { order, answer } => {
                let result = self.obey(&order);
                info!(?order, refused = result.as_ref().err(), "ordered");
                self.carry_out().await?;
                drop(answer.send(result.map(|()| self.status())));
            }
        }
        Ok(())
    }

    /// Lets the routers know what became of the proxy.
    fn look_at_proxy(&mut self) {
        let now = self.now();
        let proxy = self.presence.look(now);
        if proxy == self.proxy {
            return;
        }
        info!(before = ?self.proxy, now = ?proxy, "the proxy changed");
        self.proxy = proxy;
        for (_, router) in &mut self.routers {
            match proxy {
                Proxy::Gone => router.stop(now),
                Proxy::There { hung, draining } => {
                    router.set_unfit(now, Unfit::Hung, hung);
                    router.set_unfit(now, Unfit::Draining, draining);
                    router.ready(now);
                }
            }
        }
    }

    /// Carries out `order` on the routers it means; the first refusal is the answer.
    fn obey(&mut self, order: &VipOrder) -> Result<(), String> {
        let now = self.now();
        let VipOrder { vrid, priority, action } = *order;
        if vrid.is_some_and(|vrid| self.routers.iter().all(|(vip, _)| vip.vrid != vrid)) {
            return Err("there is no virtual router with this vrid here".to_owned());
        }
        if priority.is_some_and(|priority| !(1..=254).contains(&priority)) {
            return Err("expected a priority from 1 to 254".to_owned());
        }
        let mut result = Ok(());
        let meant = self.routers.iter_mut().filter(|(vip, _)| vrid.is_none_or(|vrid| vrid == vip.vrid));
        for (_, router) in meant {
            if let Some(priority) = priority {
                router.set_priority(now, priority);
            }
            result = result.and(match action {
                None => Ok(()),
                Some(VipAction::TakeOver) => router.take_over(now),
                Some(VipAction::Release) => router.release(now),
            });
        }
        result.map_err(|refused| refused.to_string())
    }

    fn status(&self) -> VipStatus {
        let now = self.now();
        let routers = self.routers.iter().map(|(vip, router)| {
            let (reason, since) = router.since();
            RouterStatus {
                address: vip.address.into(),
                vrid: vip.vrid,
                state: match router.state() {
                    State::Init => RouterState::Init,
                    State::Backup => RouterState::Backup,
                    State::Master => RouterState::Master,
                },
                priority: router.priority(),
                holder: router.holder(now).map(Into::into),
                reason: reason.to_string(),
                for_ms: u64::try_from(now.saturating_sub(since).as_millis()).unwrap_or(u64::MAX),
            }
        });
        VipStatus { routers: routers.collect() }
    }
}

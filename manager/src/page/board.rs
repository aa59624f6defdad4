//! Keeps the page's sections as things are, while somebody looks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::Method;
use tokio::sync::{Notify, watch};
use wire::cluster::{ClusterEvent, ClusterView};
use wire::traffic::{BalancerTraffic, Traffic};
use wire::{HostName, MachineId};

use super::sections::{self, Section};
use crate::config::LB_ADMIN_PORT;
use crate::executor::Shared;
use crate::ports::transport::Transport;

/// How often balancers and other managers are asked.
const ASK: Duration = Duration::from_secs(1);

/// How often the engine is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// How long a state is shown at least.
const DWELL: Duration = Duration::from_millis(120);

/// A first visitor waits no longer than this for what others have to tell.
const PATIENCE: Duration = Duration::from_millis(400);

/// The newest events that are shown.
pub(super) const EVENTS: usize = 60;

/// The page's content, and who looks at it.
pub struct Board {
    shared: Arc<Shared>,
    transport: Transport,
    host: HostName,
    facts: Mutex<Facts>,
    sections: watch::Sender<Arc<Vec<Section>>>,
    visited: Notify,
}

/// What others told last.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// By balancer; why there is nothing, where there is nothing.
    pub(super) traffic: BTreeMap<MachineId, Result<Traffic, String>>,
    /// The events of other managers.
    pub(super) events: BTreeMap<HostName, Vec<ClusterEvent>>,
    /// When all were asked last.
    asked: Option<Instant>,
}

/// What the page is made of.
pub(super) struct Look {
    pub(super) cluster: ClusterView,
    pub(super) facts: Facts,
    /// The newest first, of all hosts.
    pub(super) events: Vec<ClusterEvent>,
    /// The services that this host can have one more machine of.
    pub(super) services: Vec<String>,
    /// This manager only watches.
    pub(super) in_maintenance: bool,
    /// When it was taken, in milliseconds since 1970.
    pub(super) now_ms: u64,
}

impl Board {
    /// The board of the manager that `shared` is.
    pub fn new(shared: Arc<Shared>, transport: Transport) -> Self {
        let host = shared.look(|engine, _| engine.config().name.clone());
        let (sections, _) = watch::channel(Arc::default());
        Board { shared, transport, host, facts: Mutex::default(), sections, visited: Notify::new() }
    }

    pub(super) fn host(&self) -> &HostName {
        &self.host
    }

    /// The sections, no older than [`ASK`] as far as others answered in time.
    pub(super) async fn now(&self) -> Arc<Vec<Section>> {
        self.refresh().await;
        self.render(self.view());
        self.sections.borrow().clone()
    }

    /// What each balancer does, no older than the sections.
    pub(crate) async fn traffic(&self) -> Vec<BalancerTraffic> {
        self.refresh().await;
        let (view, facts) = (self.view(), self.facts().clone());
        let balancers = view.hosts.iter().filter_map(|host| Some((&host.name, host.lb.as_ref()?)));
        let told = balancers.map(|(host, lb)| {
            let (traffic, error) = match facts.traffic.get(&lb.id).cloned() {
                Some(Ok(traffic)) => (Some(traffic), None),
                Some(Err(why)) => (None, Some(why)),
                None => (None, None),
            };
            BalancerTraffic { host: host.clone(), machine: lb.id.clone(), traffic, error }
        });
        told.collect()
    }

    /// Asks all others, if that was not done lately.
    async fn refresh(&self) {
        let is_old = self.facts().asked.is_none_or(|asked| asked.elapsed() > ASK * 2);
        if is_old {
            // Whoever has answered by then is shown.
            let _ = tokio::time::timeout(PATIENCE, self.ask()).await;
        }
    }

    /// The sections from now on.
    pub(super) fn watch(&self) -> watch::Receiver<Arc<Vec<Section>>> {
        let watcher = self.sections.subscribe();
        self.visited.notify_one();
        watcher
    }

    /// Keeps the sections as things are, for ever; does nothing while nobody looks.
    pub(crate) async fn keep(&self) {
        loop {
            while self.sections.receiver_count() == 0 {
                self.visited.notified().await;
            }
            tokio::join!(self.ask_while_watched(), self.look_while_watched());
        }
    }

    async fn ask_while_watched(&self) {
        while self.sections.receiver_count() > 0 {
            let begun = Instant::now();
            self.ask().await;
            tokio::time::sleep(ASK.saturating_sub(begun.elapsed())).await;
        }
    }

    async fn look_while_watched(&self) {
        let mut views = self.shared.subscribe_views();
        while self.sections.receiver_count() > 0 {
            self.render(self.view());
            // What lasts for milliseconds only is shown all the same, for as long as it takes to see it.
            if let Ok(Ok(view)) = tokio::time::timeout(LOOK, views.recv()).await {
                self.render(view);
                tokio::time::sleep(DWELL).await;
            }
        }
    }

    /// Asks every balancer and every other manager, and notes what each says as it comes.
    async fn ask(&self) {
        let view = self.view();
        let balancers = view.hosts.iter().filter_map(|host| host.lb.as_ref());
        let balancers = balancers.map(|lb| async {
            let answer = self
                .read(&format!("http://{}/traffic", std::net::SocketAddr::new(lb.address, LB_ADMIN_PORT)))
                .await;
            self.facts().traffic.insert(lb.id.clone(), answer);
        });
        let peers = view.hosts.iter().filter(|host| host.alive && host.name != view.host);
        let peers = peers.map(|host| (host.name.clone(), host.address));
        let peers = peers.map(|(name, address)| async move {
            let path = format!("events/history?count={EVENTS}");
            let answer = self.transport.ask_peer(Method::GET, address, &path, None::<&()>).await;
            let events =
                answer.and_then(|answer| answer.accepted().map_err(|problem| problem.detail)?.json());
            // What it told last is still so.
            if let Ok(events) = events {
                self.facts().events.insert(name, events);
            }
        });
        tokio::join!(join_all(balancers), join_all(peers));
        let mut facts = self.facts();
        facts.asked = Some(Instant::now());
        facts
            .traffic
            .retain(|id, _| view.hosts.iter().any(|host| host.lb.as_ref().is_some_and(|lb| lb.id == *id)));
        facts.events.retain(|name, _| view.hosts.iter().any(|host| host.name == *name));
    }

    async fn read(&self, url: &str) -> Result<Traffic, String> {
        self.transport.read(url).await?.accepted().map_err(|problem| problem.detail)?.json()
    }

    /// Makes the sections; those that came out as before stay the same, and nobody is told of them.
    fn render(&self, cluster: ClusterView) {
        let look = self.look(cluster);
        let next = sections::of(&look);
        self.sections.send_if_modified(|held| {
            let kept: Vec<Section> = next
                .into_iter()
                .map(|section| {
                    match held.iter().find(|old| old.id == section.id && old.html == section.html) {
                        Some(old) => old.clone(),
                        None => section,
                    }
                })
                .collect();
            let same = kept.len() == held.len()
                && kept.iter().zip(held.iter()).all(|(one, other)| Arc::ptr_eq(&one.html, &other.html));
            if !same {
                *held = Arc::new(kept);
            }
            !same
        });
    }

    fn view(&self) -> ClusterView {
        self.shared.look(|engine, now| engine.cluster(now))
    }

    fn look(&self, cluster: ClusterView) -> Look {
        let (services, in_maintenance) = self.shared.look(|engine, _| {
            let services = engine.config().services.iter().map(|service| service.name.to_string()).collect();
            (services, engine.in_maintenance())
        });
        let facts = self.facts().clone();
        let mut events = self.shared.history(EVENTS);
        events.extend(facts.events.values().flatten().cloned());
        events.sort_by_key(|event| std::cmp::Reverse((event.unix_ms, event.sequence)));
        events.truncate(EVENTS);
        Look { cluster, facts, events, services, in_maintenance, now_ms: kit::page::now_ms() }
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! The rounds of a running manager: reads the files again, meets the other managers, does an owner's work, and tells
//! the engine what the balancer is to show.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use tokio::task::JoinHandle;

use super::acme::{self, Ordering};
use super::keeper::{Keeper, is_owner};
use crate::access::unix_ms;
use crate::executor::Shared;
use crate::pki::keeper::Pki;
use crate::ports::transport::Transport;

/// How often it is looked.
const EVERY: Duration = Duration::from_secs(1);

/// How often the files are read.
const READ_EVERY: Duration = Duration::from_secs(5);

/// How often each of the other managers is asked, if there is nothing new.
const ASK_EVERY: Duration = Duration::from_secs(5);

/// A manager counts as heard for so long after its last answer.
const HEARD: Duration = Duration::from_secs(20);

/// Who has just started listens for so long before it counts itself as the owner.
const LISTEN: Duration = Duration::from_secs(12);

/// All balancers show what they are to within this; then an ACME server is asked to look all the same, for it asks
/// only one of them, and says whether it saw what it expected.
const SHOWN_WITHIN: Duration = Duration::from_secs(15);

/// How often it is asked whether they do.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What fails in the same way is said again only after so long.
const SAY_AGAIN: Duration = Duration::from_secs(600);

/// One manager's rounds.
#[derive(Clone)]
pub struct Rounds {
    /// This host's address.
    pub address: IpAddr,
    /// What it holds.
    pub keeper: Arc<Keeper>,
    /// The engine knows the peers, and tells the balancer.
    pub shared: Arc<Shared>,
    /// How peers are reached.
    pub transport: Transport,
    /// Without certificates of the cluster nothing secret is told to anybody.
    pub pki: Arc<Pki>,
}

/// When each of the other managers answered last, and which certificates it can get.
type Heard = Arc<Mutex<BTreeMap<IpAddr, (Instant, BTreeSet<String>)>>>;

impl Rounds {
    /// Goes its rounds for ever.
    pub async fn walk(self) {
        let heard = Heard::default();
        let begun = Instant::now();
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut read_at, mut asked_at): (Option<Instant>, Option<Instant>) = (None, None);
        let (mut told, mut said) = (String::new(), BTreeMap::new());
        let mut ordering: Option<JoinHandle<()>> = None;
        loop {
            ticks.tick().await;
            let peers = self.peers();
            let listened = begun.elapsed() >= LISTEN || peers.is_empty();
            if listened && self.shares(&peers) && self.keeper.is_wanted() {
                if is_owner(&self.address, &now_heard(&heard, None))
                    && let Err(error) = self.keeper.tend(unix_ms())
                {
                    say(&mut said, format!("no key for session tickets can be made: {error}"));
                }
                if ordering.as_ref().is_none_or(JoinHandle::is_finished) {
                    ordering = self.order(&heard);
                }
            }
            let reads = read_at.is_none_or(|at| at.elapsed() >= READ_EVERY);
            if reads {
                read_at = Some(Instant::now());
            }
            for trouble in self.disk(reads).await {
                say(&mut said, trouble);
            }
            self.show();
            let (_, digest) = self.keeper.shared();
            if digest != told || asked_at.is_none_or(|at| at.elapsed() >= ASK_EVERY) {
                (told, asked_at) = (digest, Some(Instant::now()));
                self.ask(&peers, &heard);
            }
        }
    }

    fn peers(&self) -> Vec<IpAddr> {
        self.shared.look(|engine, _| engine.peer_addresses())
    }

    /// Whether what this manager holds may go to the others: whoever is asked has proved who it is. Alone it shares
    /// with nobody, and can always.
    fn shares(&self, peers: &[IpAddr]) -> bool {
        peers.is_empty() || self.pki.live().is_some()
    }

    /// Reads and stores; says what is wrong.
    async fn disk(&self, reads: bool) -> Vec<String> {
        let keeper = Arc::clone(&self.keeper);
        let worked = tokio::task::spawn_blocking(move || {
            let mut troubles = if reads { keeper.read_files() } else { Vec::new() };
            troubles.extend(keeper.save());
            troubles
        });
        worked.await.unwrap_or_else(|error| vec![error.to_string()])
    }

    /// Has the balancer show what is held; whether it does not yet.
    fn show(&self) -> bool {
        let front = self.keeper.front(unix_ms(), self.shares(&self.peers()));
        self.shared.ask(|engine, _| {
            engine.show(front);
            engine.front_is_behind()
        })
    }

    /// Each on its own: one that is away holds up nobody.
    fn ask(&self, peers: &[IpAddr], heard: &Heard) {
        if self.pki.live().is_none() {
            return;
        }
        for peer in peers.iter().copied() {
            let (rounds, heard) = (self.clone(), Arc::clone(heard));
            tokio::spawn(async move {
                // That a peer cannot be reached is said where it is told of the machines.
                if let Ok(met) = rounds.keeper.exchange(&rounds.transport, peer).await {
                    let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
                    heard.insert(peer, (Instant::now(), met.orders));
                }
            });
        }
    }

    /// Begins to get the next certificate that is due, if this manager is the one that does it.
    fn order(&self, heard: &Heard) -> Option<JoinHandle<()>> {
        let (shared, _) = self.keeper.shared();
        let owns = |id: &str| is_owner(&self.address, &now_heard(heard, Some(id)));
        let acme = self.keeper.acme.as_ref()?;
        let names = acme::next(acme, &shared, unix_ms(), owns)?.to_vec();
        let (rounds, acme, heard) = (self.clone(), acme.clone(), Arc::clone(heard));
        Some(tokio::spawn(async move {
            let listed = names.join(", ");
            tracing::info!(names = listed, directory = acme.directory, "a certificate is ordered");
            let asking = rounds.clone();
            let shown = Box::new(move || {
                let (rounds, heard) = (asking.clone(), Arc::clone(&heard));
                async move { rounds.until_shown(&heard).await }.boxed()
            });
            let keeper = Arc::clone(&rounds.keeper);
            let got = Ordering { acme: acme.clone(), keeper, shown }.get(&names).await;
            match &got {
                Ok(()) => tracing::info!(names = listed, "a certificate was issued"),
                Err(error) => tracing::error!(names = listed, "no certificate was issued: {error}"),
            }
            rounds.shared.metrics().count_order(got.is_ok());
            rounds.keeper.attempted(&acme::id(&acme, &names), got, unix_ms());
        }))
    }

    /// Returns when the balancers of this host and of all that are heard show what is held, or it took too long.
    async fn until_shown(&self, heard: &Heard) {
        let begun = Instant::now();
        let mut left: BTreeSet<IpAddr> = now_heard(heard, None);
        loop {
            let own_is_behind = self.show();
            for peer in left.clone() {
                let met = self.keeper.exchange(&self.transport, peer).await;
                if met.is_ok_and(|met| met.is_shown) {
                    left.remove(&peer);
                }
            }
            if !own_is_behind && left.is_empty() {
                return;
            }
            if begun.elapsed() >= SHOWN_WITHIN {
                tracing::warn!(hosts = ?left, "balancers do not answer an ACME server's questions yet; it is asked to look all the same");
                return;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// Who is heard, or of these who can get the certificate called `id`.
fn now_heard(heard: &Heard, id: Option<&str>) -> BTreeSet<IpAddr> {
    let heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
    heard
        .iter()
        .filter(|(_, (at, orders))| at.elapsed() < HEARD && id.is_none_or(|id| orders.contains(id)))
        .map(|(peer, _)| *peer)
        .collect()
}

/// What goes wrong each round is said now and then.
fn say(said: &mut BTreeMap<String, Instant>, trouble: String) {
    said.retain(|_, at| at.elapsed() < SAY_AGAIN);
    said.entry(trouble).or_insert_with_key(|trouble| {
        tracing::warn!("{trouble}");
        Instant::now()
    });
}

//! The rounds of a running manager: reads the files again, meets the other managers, does an owner's work, and tells
//! the engine what the balancer is to show.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

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

/// What fails in the same way is said again only after so long.
const SAY_AGAIN: Duration = Duration::from_secs(600);

/// One manager's rounds.
pub struct Rounds {
    /// This host's address.
    pub address: Ipv4Addr,
    /// What it holds.
    pub keeper: Arc<Keeper>,
    /// The engine knows the peers, and tells the balancer.
    pub shared: Arc<Shared>,
    /// How peers are reached.
    pub transport: Transport,
    /// Without certificates of the cluster nothing secret is told to anybody.
    pub pki: Arc<Pki>,
}

/// When each of the other managers answered last.
type Heard = Arc<Mutex<BTreeMap<Ipv4Addr, Instant>>>;

impl Rounds {
    /// Goes its rounds for ever.
    pub async fn walk(self) {
        let heard = Heard::default();
        let begun = Instant::now();
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut read_at, mut asked_at): (Option<Instant>, Option<Instant>) = (None, None);
        let (mut told, mut said) = (String::new(), BTreeMap::new());
        loop {
            ticks.tick().await;
            let reads = read_at.is_none_or(|at| at.elapsed() >= READ_EVERY);
            if reads {
                read_at = Some(Instant::now());
            }
            let peers = self.shared.look(|engine, _| engine.peer_addresses());
            let may_own = begun.elapsed() >= LISTEN || peers.is_empty();
            let owns = may_own && self.shares(&peers) && is_owner(&self.address, &now_heard(&heard));
            if owns
                && self.keeper.is_wanted()
                && let Err(error) = self.keeper.tend(unix_ms())
            {
                say(&mut said, format!("no key for session tickets can be made: {error}"));
            }
            let keeper = Arc::clone(&self.keeper);
            let worked = tokio::task::spawn_blocking(move || {
                let mut troubles = if reads { keeper.read_files() } else { Vec::new() };
                troubles.extend(keeper.save());
                troubles
            });
            for trouble in worked.await.unwrap_or_else(|error| vec![error.to_string()]) {
                say(&mut said, trouble);
            }
            let front = self.keeper.front(unix_ms(), self.shares(&peers));
            self.shared.ask(|engine, _| engine.show(front));
            let (_, digest) = self.keeper.shared();
            if digest != told || asked_at.is_none_or(|at| at.elapsed() >= ASK_EVERY) {
                (told, asked_at) = (digest, Some(Instant::now()));
                self.ask(&peers, &heard);
            }
        }
    }

    /// Whether what this manager holds may go to the others: whoever is asked has proved who it is. Alone it shares
    /// with nobody, and can always.
    fn shares(&self, peers: &[Ipv4Addr]) -> bool {
        peers.is_empty() || self.pki.live().is_some()
    }

    /// Each on its own: one that is away holds up nobody.
    fn ask(&self, peers: &[Ipv4Addr], heard: &Heard) {
        if self.pki.live().is_none() {
            return;
        }
        for peer in peers.iter().copied() {
            let (keeper, transport, heard) =
                (Arc::clone(&self.keeper), self.transport.clone(), Arc::clone(heard));
            tokio::spawn(async move {
                // That a peer cannot be reached is said where it is told of the machines.
                if keeper.exchange(&transport, peer).await.is_ok() {
                    heard.lock().unwrap_or_else(PoisonError::into_inner).insert(peer, Instant::now());
                }
            });
        }
    }
}

fn now_heard(heard: &Heard) -> BTreeSet<Ipv4Addr> {
    let heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
    heard.iter().filter(|(_, at)| at.elapsed() < HEARD).map(|(peer, _)| *peer).collect()
}

/// What goes wrong each round is said now and then.
fn say(said: &mut BTreeMap<String, Instant>, trouble: String) {
    said.retain(|_, at| at.elapsed() < SAY_AGAIN);
    said.entry(trouble).or_insert_with_key(|trouble| {
        tracing::warn!("{trouble}");
        Instant::now()
    });
}

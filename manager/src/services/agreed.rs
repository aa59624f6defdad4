//! What people put of services, kept for all hosts in an etcd.
//!
//! ```text
//!   an edit, anywhere ─▶ catch up ─▶ would it fit here? ─▶ compare and swap ─▶ this host's store ─▶ engine
//!                                                             │ another edit was first: 409
//!   every second: read what is newer ─▶ this host's store ─▶ engine
//!                      │ no member answers with a quorum
//!                      ▼
//!                    frozen: each host goes on with what it stored last, and edits are refused
//! ```
//!
//! All of it is one document, so that a definition is checked against exactly those it comes to stand beside. Its generation
//! counts the edits; etcd's own revision of it is what is compared. What is in the file of a host stays there.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use wire::cluster::AgreedView;
use wire::{HostName, Problem};

use super::changes::lock;
use super::etcd::{Etcd, Found, Swapped};
use super::{Put, Services};
use crate::config::Config;
use crate::executor::Shared;
use crate::store::{Store, Table};

/// It is asked this often whether there is something new, and whether it has a quorum.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The generation that this host went by last, under one name.
const AGREED: Table<u64> = Table::new("agreed");
const KNOWN: &str = "services";

/// The document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Document {
    /// Counts the edits.
    generation: u64,
    /// Whose manager the last one came by.
    by: HostName,
    /// By name.
    services: BTreeMap<String, Put>,
}

/// Which document this host goes by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Known {
    /// etcd's; 0 until it was read once since this process started.
    revision: u64,
    generation: u64,
}

#[derive(Debug)]
struct State {
    known: Known,
    /// Why no edit is possible.
    frozen: Option<String>,
    /// Why this host cannot follow what was agreed on.
    behind: Option<String>,
}

/// The document, as this host knows it.
pub struct Agreed {
    etcd: Etcd,
    host: HostName,
    store: Store,
    state: Mutex<State>,
}

impl Agreed {
    /// What `config` says is kept in an etcd, if anything; this host goes by what `store` has of it until that answers. Blocks
    /// while the disk does.
    ///
    /// # Errors
    ///
    /// Which file of the configuration cannot be used, and why.
    pub fn open(config: &Config, store: &Store) -> Result<Option<Arc<Self>>, String> {
        let Some(etcd) = &config.etcd else { return Ok(None) };
        let generation = store.get(&AGREED, KNOWN).unwrap_or_else(|error| {
            tracing::error!("the generation that was agreed on cannot be read: {error}");
            None
        });
        let known = Known { revision: 0, generation: generation.unwrap_or_default() };
        let state = State { known, frozen: None, behind: None };
        let (host, store) = (config.name.clone(), store.clone());
        Ok(Some(Arc::new(Agreed { etcd: Etcd::new(etcd)?, host, store, state: Mutex::new(state) })))
    }

    /// Follows what is agreed on, for ever.
    pub async fn walk(self: Arc<Self>, services: Arc<Mutex<Services>>, shared: Arc<Shared>) {
        show(&self.state(), &shared);
        loop {
            let known = self.state().known;
            match self.etcd.newer(known.revision).await {
                Err(reason) => self.freeze(&shared, reason),
                Ok(found) => {
                    self.thaw(&shared);
                    if let Some(found) = found {
                        let (agreed, services, shared) =
                            (Arc::clone(&self), Arc::clone(&services), Arc::clone(&shared));
                        let follow = move || agreed.follow(&mut lock(&services), &shared, &found);
                        if let Ok(Err(problem)) = tokio::task::spawn_blocking(follow).await {
                            tracing::debug!("what was agreed on is not followed yet: {}", problem.detail);
                        }
                    }
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Makes sure that this host goes by what is agreed on now: an edit is made of that. Blocks while etcd does.
    ///
    /// # Errors
    ///
    /// 503 where etcd has no quorum: then nothing may be changed; those of following where that is not possible.
    pub(super) fn catch_up(&self, services: &mut Services, shared: &Shared) -> Result<(), Problem> {
        let known = {
            let state = self.state();
            if let Some(reason) = &state.frozen {
                return Err(frozen(state.known, reason));
            }
            state.known
        };
        match Handle::current().block_on(self.etcd.newer(known.revision)) {
            Err(reason) => {
                self.freeze(shared, reason.clone());
                Err(frozen(known, &reason))
            }
            Ok(None) => Ok(()),
            Ok(Some(found)) => self.follow(services, shared, &found),
        }
    }

    /// Has all hosts agree on `rows`, which were made of what this one goes by. Blocks while etcd does.
    ///
    /// # Errors
    ///
    /// 503 where etcd has no quorum, 409 where somebody else was quicker.
    pub(super) fn agree(&self, shared: &Shared, rows: BTreeMap<String, Put>) -> Result<Agreement, Problem> {
        let known = self.state().known;
        let generation = known.generation + 1;
        let document = Document { generation, by: self.host.clone(), services: rows };
        let document =
            serde_json::to_vec(&document).map_err(|error| Problem::unavailable(error.to_string()))?;
        match Handle::current().block_on(self.etcd.swap(known.revision, &document)) {
            Ok(Swapped::Done(revision)) => Ok(Agreement(Known { revision, generation })),
            Ok(Swapped::Other) => Err(Problem::conflict(
                "another edit was made at the same time on another host: look at what it changed, and say it again",
            )),
            Err(reason) => {
                self.freeze(shared, reason.clone());
                let detail = format!(
                    "etcd did not say that it took this ({reason}): if it did all the same, every host will go by it when \
                     it answers again; `manager service ls` shows whether"
                );
                Err(Problem::unavailable(detail))
            }
        }
    }

    /// This host goes by `agreement` from now on, which its services are stored of.
    pub(super) fn note(&self, shared: &Shared, Agreement(known): Agreement) {
        // It is for people; the services themselves are stored.
        if let Err(error) = self.store.put(&AGREED, KNOWN, &known.generation) {
            tracing::error!("the generation that was agreed on cannot be stored: {error}");
        }
        let mut state = self.state();
        state.known = known;
        show(&state, shared);
    }

    /// Goes by the document that was found.
    fn follow(&self, services: &mut Services, shared: &Shared, found: &Found) -> Result<(), Problem> {
        if found.revision <= self.state().known.revision {
            return Ok(());
        }
        let followed = self.try_follow(services, shared, found);
        let behind = followed.as_ref().err().map(|problem| problem.detail.clone());
        let mut state = self.state();
        if state.behind != behind {
            state.behind = behind;
            show(&state, shared);
        }
        followed
    }

    fn try_follow(&self, services: &mut Services, shared: &Shared, found: &Found) -> Result<(), Problem> {
        let document: Document = serde_json::from_slice(&found.document).map_err(|error| {
            Problem::unavailable(format!("what is in etcd cannot be understood: {error}"))
        })?;
        let next = services.of_rows(document.services);
        shared.look(|engine, _| engine.check_services(&next.all()))?;
        services
            .replace(next)
            .map_err(|error| Problem::unavailable(format!("that cannot be stored: {error}")))?;
        shared.ask(|engine, now| engine.set_services(now, services.all()))?;
        tracing::info!(generation = document.generation, by = %document.by, "services are as all hosts agreed");
        self.note(shared, Agreement(Known { revision: found.revision, generation: document.generation }));
        Ok(())
    }

    fn freeze(&self, shared: &Shared, reason: String) {
        let mut state = self.state();
        if state.frozen.is_none() {
            tracing::error!("services are frozen: {reason}");
            state.frozen = Some(reason);
            show(&state, shared);
        }
    }

    fn thaw(&self, shared: &Shared) {
        let mut state = self.state();
        if state.frozen.take().is_some() {
            tracing::info!("services can be changed again: etcd answers");
            show(&state, shared);
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What all hosts go by since it was made.
#[must_use = "it is to be noted when it is stored"]
pub(super) struct Agreement(Known);

/// What people see of it.
fn show(state: &State, shared: &Shared) {
    let State { known, frozen, behind } = state;
    let view = AgreedView { generation: known.generation, frozen: frozen.clone(), behind: behind.clone() };
    shared.ask(|engine, _| engine.show_agreed(view));
}

fn frozen(known: Known, reason: &str) -> Problem {
    Problem::unavailable(format!(
        "services are frozen as generation {} has them: no etcd member answers with a quorum ({reason}). Nothing was \
         changed; say it again when `manager status` warns of it no more",
        known.generation
    ))
}

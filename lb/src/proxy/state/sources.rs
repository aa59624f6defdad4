//! Who says what is in use: a settings file that is read anew, and a manager's word that is taken back.

use std::sync::Arc;

use wire::Problem;

use super::super::lock;
use super::journal::Unstored;
use super::{CONFIG_FILE, State};
use crate::settings::Proxying;

impl State {
    /// Takes into use what the settings file says, for what no manager has said.
    pub(crate) fn use_file(&self, mut file: Proxying) {
        let mut held = lock(&self.held);
        // What is the same stays the same, and with it all that was made from it.
        keep(&held.file.config, &mut file.config);
        keep(&held.file.upstreams, &mut file.upstreams);
        if held.file == file {
            return;
        }
        let outranked = [
            ("[config]", file.config.is_some() && held.config.is_some()),
            ("[upstreams]", file.upstreams.is_some() && held.set.is_some()),
        ];
        for (table, _) in outranked.into_iter().filter(|(_, is_outranked)| *is_outranked) {
            tracing::warn!(table, "the settings file's is not in use: what a manager pushed outranks it");
        }
        held.file = file;
        self.swap(&mut held, None);
    }

    /// Forgets the upstream set that was pushed: the settings file's is in use again. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// A problem of 404 when none is held, of 500 when it would be there again after the next start.
    pub(crate) fn forget_upstreams(&self) -> Result<(), Problem> {
        // In this order, as who stores: nothing is being written now.
        let mut journal = lock(&self.journal);
        let mut held = lock(&self.held);
        if held.set.take().is_none() {
            return Err(Problem::not_found("no upstream set was pushed"));
        }
        (held.resent, held.unstored) = (None, Unstored::default());
        self.swap(&mut held, None);
        tracing::info!("pushed upstream set forgotten");
        journal.remove(&self.store).map_err(|error| still_stored("upstream set", &error))
    }

    /// The same for the configuration.
    ///
    /// # Errors
    ///
    /// As [`Self::forget_upstreams`].
    pub(crate) fn forget_config(&self) -> Result<(), Problem> {
        let _turn = lock(&self.storing);
        let mut held = lock(&self.held);
        if held.config.take().is_none() {
            return Err(Problem::not_found("no configuration was pushed"));
        }
        self.swap(&mut held, None);
        tracing::info!("pushed configuration forgotten");
        self.store.remove(CONFIG_FILE).map_err(|error| still_stored("configuration", &error))
    }
}

fn still_stored(name: &str, error: &std::io::Error) -> Problem {
    tracing::error!(%error, "{name} not in use any more but still stored");
    let detail = format!("the {name} is not in use any more, but its file remains: {error}");
    Problem::new(500, "Still stored", detail)
}

/// Keeps `old` in the place of a `new` one that says the same.
fn keep<T: PartialEq>(old: &Option<Arc<T>>, new: &mut Option<Arc<T>>) {
    if old == new {
        new.clone_from(old);
    }
}

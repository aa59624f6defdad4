//! The ruleset that the kernel has of us: said anew, looked at, and taken away. Others may change it too: people, and the
//! process whose place we take or that takes ours.
//!
//! ```text
//!   none ──take over──▶ ours ──changed, while it is──▶ ours ──stop──▶ none
//!    ▲                   │ gone, or another process's
//!    └───────────────────┘
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::nft::{self, Failure};
use super::owner::{self, Seen};
use super::plan::Plan;
use super::rules::{self, Before, Link};

/// Tells the next process of this state directory that there may be a ruleset of ours.
const MARK: &str = "nftables";

/// The ruleset.
#[derive(Debug)]
pub(super) struct Ruleset {
    mark: PathBuf,
    owner: String,
    /// What the kernel does; none: there is none of ours.
    applied: Option<Plan>,
    /// Whether there was one.
    has_begun: bool,
    /// Connections so far by the kernel's count, by port.
    connections: BTreeMap<u16, u64>,
}

impl Ruleset {
    /// None yet.
    pub(super) fn new(state_dir: &Path) -> Self {
        Ruleset {
            mark: state_dir.join(MARK),
            owner: owner::own(),
            applied: None,
            has_begun: false,
            connections: BTreeMap::new(),
        }
    }

    /// What the kernel does, if there is one of ours.
    pub(super) fn plan(&self) -> Option<&Plan> {
        self.applied.as_ref()
    }

    /// Has the kernel do as `plan` says, unless it does.
    ///
    /// # Errors
    ///
    /// Why it does not.
    pub(super) fn apply(&mut self, plan: &Plan, link: Option<&Link>) -> Result<(), String> {
        if self.applied.as_ref() == Some(plan) {
            return Ok(());
        }
        let mut result = match &self.applied {
            Some(before) => nft::apply(&rules::transaction(plan, Before::Ours(before), &self.owner, link)),
            None => self.take_over(plan, link),
        };
        if let (Some(_), Err(Failure::Absent(_))) = (&self.applied, &result) {
            // Somebody took all of it away, or has taken over.
            self.applied = None;
            result = self.take_over(plan, link);
        }
        result.map_err(|failure| failure.to_string())?;
        tracing::info!(
            ports = ?plan.ports.keys().collect::<Vec<_>>(),
            targets = plan.ports.values().map(|way| way.targets().collect::<BTreeSet<_>>().len()).sum::<usize>(),
            "the kernel forwards"
        );
        self.applied = Some(plan.clone());
        self.has_begun = true;
        Ok(())
    }

    /// Has the kernel do as `plan` says, whatever it did before; but a process that has taken over from us keeps it.
    fn take_over(&self, plan: &Plan, link: Option<&Link>) -> Result<(), Failure> {
        if self.has_begun
            && let Some(other) = owner::look()?.owner.and_then(|name| owner::living(&name))
            && other != std::process::id()
        {
            return Err(Failure::Other(format!(
                "process {other} has taken over; it is tried again when that has ended"
            )));
        }
        if let Err(error) = fs::write(&self.mark, "") {
            tracing::warn!(%error, mark = %self.mark.display(), "not noted that the kernel's ruleset is ours");
        }
        let said = |before| nft::apply(&rules::transaction(plan, before, &self.owner, link));
        match said(Before::Others) {
            // Of another kind than ours.
            Err(Failure::Other(words)) => {
                tracing::debug!(words, "what another process left is not taken over");
                said(Before::Nothing)
            }
            done => done,
        }
    }

    /// Looks whether it is ours still. Returns how many connections there were since the last look, by port.
    pub(super) fn look(&mut self) -> BTreeMap<u16, u64> {
        if self.applied.is_none() {
            return BTreeMap::new();
        }
        let Seen { owner, connections } = match owner::look() {
            Ok(seen) => seen,
            Err(failure) => {
                tracing::warn!(%failure, "the kernel's ruleset cannot be looked at");
                return BTreeMap::new();
            }
        };
        if owner.as_ref() != Some(&self.owner) {
            tracing::warn!(owner, "the kernel's ruleset is not ours any more");
            self.applied = None;
            self.connections.clear();
            return BTreeMap::new();
        }
        let before = std::mem::replace(&mut self.connections, connections);
        // Those of a ruleset that was made anew begin again.
        let since = |(port, now): (&u16, &u64)| {
            let before = before.get(port).copied().unwrap_or(0);
            (*port, now.checked_sub(before).unwrap_or(*now))
        };
        self.connections.iter().map(since).collect()
    }

    /// Takes away what was left by a process that died, and that was ours.
    pub(super) fn clear_left_over(&self) {
        if !self.mark.exists() {
            return;
        }
        match owner::look() {
            Ok(Seen { owner: Some(name), .. }) if owner::living(&name).is_none() => take_away(&name),
            Ok(_) => {}
            Err(failure) => tracing::warn!(%failure, "the kernel's ruleset cannot be looked at"),
        }
        let _ = fs::remove_file(&self.mark);
    }

    /// Takes it away, if there is one of ours.
    pub(super) fn remove(&mut self) {
        if self.applied.take().is_some() {
            take_away(&self.owner);
            let _ = fs::remove_file(&self.mark);
            self.connections.clear();
        }
    }
}

/// Takes the ruleset of `owner` away.
fn take_away(owner: &str) {
    match nft::apply(&rules::removal(owner)) {
        Ok(()) => tracing::info!("the kernel forwards no more"),
        // Another process has taken over.
        Err(Failure::Absent(_)) => {}
        Err(failure) => tracing::warn!(%failure, "the kernel's ruleset stays"),
    }
}

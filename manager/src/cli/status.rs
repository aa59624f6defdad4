//! `manager status`: the whole cluster.

use anyhow::Result;
use reqwest::Method;
use thiserror::Error;
use wire::cluster::ClusterView;

use super::watch::WatchArgs;
use super::{Client, table};

/// What `manager status` takes.
#[derive(clap::Args, Debug)]
pub struct StatusArgs {
    /// End with 3 where the cluster serves and something is missing, and with 4 where a public address is not held.
    #[arg(long, conflicts_with = "watch")]
    exit_code: bool,
    #[command(flatten)]
    watch: WatchArgs,
}

/// The cluster is not well, which was said already.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum NotWell {
    /// It serves.
    #[error("something is missing")]
    Degraded,
    /// It does not.
    #[error("a public address is not held")]
    Down,
}

impl NotWell {
    /// The exit code that says it.
    pub fn code(self) -> u8 {
        match self {
            NotWell::Degraded => 3,
            NotWell::Down => 4,
        }
    }

    fn of(view: &ClusterView) -> Option<Self> {
        let is_held = view.vips.iter().all(|vip| !vip.holders.is_empty());
        match (view.whole, is_held) {
            (true, _) => None,
            (false, true) => Some(NotWell::Degraded),
            (false, false) => Some(NotWell::Down),
        }
    }
}

impl Client {
    /// `manager status`.
    ///
    /// # Errors
    ///
    /// When the manager cannot be asked; [`NotWell`] where that was asked for.
    pub fn status(&self, args: &StatusArgs) -> Result<()> {
        let mut last = None;
        args.watch.show(|| {
            let view: ClusterView = self.ask(Method::GET, "/cluster", None::<&()>)?;
            let text = self.output().text(&view, |view| table::cluster(view, self.output().is_wide()))?;
            last = Some(view);
            Ok(text)
        })?;
        match last.as_ref().and_then(NotWell::of).filter(|_| args.exit_code) {
            Some(not_well) => Err(not_well.into()),
            None => Ok(()),
        }
    }
}

//! A table `[[fault]]`, which says what a flag `--fault` would.

use std::time::Duration;

use serde::Deserialize;

use super::Time;
use crate::faults::spec::{FaultSpec, ORDERS, Order, What, When};

/// What is broken: one thing, and one of `at`, `after`, `every` and `random`.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct FaultTable {
    /// Kills this machine, or one of this service.
    kill: Option<String>,
    /// The same; what `virsh` calls it.
    destroy: Option<String>,
    /// As `freeze`; what `virsh` calls it.
    suspend: Option<String>,
    /// As `thaw`; what `virsh` calls it.
    resume: Option<String>,
    /// Has this machine, or one of this service, stand still.
    freeze: Option<String>,
    /// Has one that stands still go on.
    thaw: Option<String>,
    /// Ends the process of the service in this machine.
    stop_process: Option<String>,
    /// Has this machine, or one of this service, built anew.
    replace: Option<String>,
    /// Cuts this host off; needs `for`.
    cut: Option<String>,
    /// Ends that before its time.
    heal: Option<String>,
    /// Stops this host's manager; needs `for`.
    stop_manager: Option<String>,
    /// Runs this command.
    exec: Option<String>,
    /// The command that ends what `exec` began.
    undo: Option<String>,
    /// So long after the start.
    at: Option<Time>,
    /// So long after all was well again after the fault before.
    after: Option<Time>,
    /// Again and again, so far apart.
    every: Option<Time>,
    /// Again and again by chance, so far apart on average.
    random: Option<Time>,
    /// How long it lasts.
    #[serde(rename = "for")]
    lasts: Option<Time>,
    /// Whether it comes although the fault before is not over.
    overlap: bool,
}

impl FaultTable {
    /// What is meant.
    ///
    /// # Errors
    ///
    /// Says what was expected.
    pub(super) fn meant(&self) -> Result<FaultSpec, String> {
        let whens = [
            self.at.map(|at| When::FromStart(at.0)),
            self.after.map(|after| When::AfterRecovery(after.0)),
            self.every.map(|apart| When::Every(apart.0)),
            self.random.map(|apart| When::Random(apart.0)),
        ];
        let mut whens = whens.into_iter().flatten();
        let (Some(when), None) = (whens.next(), whens.next()) else {
            return Err("expected one of at, after, every and random with a time such as \"5s\"".to_owned());
        };
        if matches!(when, When::Every(Duration::ZERO) | When::Random(Duration::ZERO)) {
            return Err("expected a time above 0 between faults that come again and again".to_owned());
        }
        if self.overlap && self.after.is_some() {
            return Err("`after` waits for the faults before, and `overlap` does not: take one".to_owned());
        }
        let named = [
            &self.kill,
            &self.freeze,
            &self.thaw,
            &self.stop_process,
            &self.replace,
            &self.cut,
            &self.heal,
            &self.stop_manager,
        ];
        let mut orders: Vec<(Order, &String)> = ORDERS
            .into_iter()
            .zip(named)
            .filter_map(|(order, target)| Some((order, target.as_ref()?)))
            .collect();
        let virsh = ORDERS.into_iter().zip([&self.destroy, &self.suspend, &self.resume]);
        orders.extend(virsh.filter_map(|(order, target)| Some((order, target.as_ref()?))));
        let lasts = self.lasts.map(|lasts| lasts.0).filter(|lasts| !lasts.is_zero());
        let what = match (&orders[..], &self.exec) {
            ([(order, target)], None) if self.undo.is_none() => {
                order.lasting(lasts)?;
                What::Order { order: *order, target: (*target).clone() }
            }
            ([], Some(command)) => {
                if lasts.is_some() && self.undo.is_none() {
                    return Err("`for` needs `undo`, the command that ends it".to_owned());
                }
                What::Command { command: command.clone(), undo: self.undo.clone() }
            }
            _ => {
                let expected = "expected one of kill, freeze, thaw, stop-process and replace with the name of a machine or a \
                     service, cut, heal and stop-manager with that of a host, or exec with a command and perhaps undo \
                     with another";
                return Err(expected.to_owned());
            }
        };
        Ok(FaultSpec { what, when, lasts, overlap: self.overlap })
    }
}

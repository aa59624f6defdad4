//! Refuses standbys and spares that nobody could have.

use std::collections::BTreeSet;
use std::time::Duration;

use wire::service::{ServiceSpec, StandbyMode};

use super::{Fit, MAX_MILLIS, Misfit, ensure, tcp};
use crate::config::Hypervisor;

/// The most standbys of a service on a host.
const MAX_STANDBYS: u32 = 1_000;

/// The most spares of a service on a host: each is a machine that does nothing.
const MAX_SPARES: u32 = 20;

/// A standby that was started is stopped after all others have been ready for so long: as long as it takes until a
/// machine that kept dying counts as healthy.
const DEFAULT_HOLD_MS: u64 = 30_000;

/// The machines of a service that stand by on each host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standbys {
    /// How many there are at first.
    pub count: u32,
    /// Whether they run while they stand by.
    pub mode: StandbyMode,
    /// For how long all others have to be ready before one that was started is stopped.
    pub hold: Duration,
}

/// The standbys of `spec`, and how many spares there are for its machines.
pub(super) fn check(spec: &ServiceSpec) -> Result<(Standbys, u32), Misfit> {
    let (count, mode) = (spec.standbys.unwrap_or(0), spec.standby_mode.unwrap_or_default());
    ensure(count <= MAX_STANDBYS, "standbys", || format!("expected at most {MAX_STANDBYS}"))?;
    ensure(count == 0 || spec.replicas.is_some(), "standbys", || {
        "standbys stand by for the machines of `replicas`: say how many of those there are".to_owned()
    })?;
    for (field, given) in
        [("standby_mode", spec.standby_mode.is_some()), ("standby_hold_ms", spec.standby_hold_ms.is_some())]
    {
        ensure(!given || count > 0, field, || "says nothing without `standbys`".to_owned())?;
    }
    let hold = spec.standby_hold_ms.unwrap_or(DEFAULT_HOLD_MS);
    ensure(hold <= MAX_MILLIS, "standby_hold_ms", || format!("expected 0 to {MAX_MILLIS}"))?;
    ensure(spec.standby_hold_ms.is_none() || mode == StandbyMode::Cold, "standby_hold_ms", || {
        "standbys of the mode \"hot\" always run: leave it out".to_owned()
    })?;
    let spares = spec.spares.unwrap_or(0);
    ensure(spares <= MAX_SPARES, "spares", || format!("expected at most {MAX_SPARES}"))?;
    ensure(spares == 0 || spec.endpoints.is_empty(), "spares", || {
        "says nothing of servers that others keep (`endpoints`)".to_owned()
    })?;
    ensure(spares == 0 || !spec.persistent, "spares", || {
        "a machine that keeps its disk (`persistent`) is never made of a spare: leave it out".to_owned()
    })?;
    Ok((Standbys { count, mode, hold: Duration::from_millis(hold) }, spares))
}

/// Whether machines of `hypervisor`, behind a balancer that takes requests at `ports`, can be what `spec` asks for.
///
/// # Errors
///
/// What they cannot be.
pub fn fits(spec: &ServiceSpec, hypervisor: Hypervisor, ports: &BTreeSet<u16>) -> Fit {
    tcp::collides(spec, ports)?;
    let is_clouds = hypervisor == Hypervisor::Libvirt && spec.user_data.is_some();
    ensure(spec.spares.unwrap_or(0) == 0 || !is_clouds, "spares", || {
        "a machine of a cloud's image (`user_data`) cannot become another one, only those of our own images can: leave \
         `spares` out, or have standbys with `standby_mode = \"hot\"`"
            .to_owned()
    })
}

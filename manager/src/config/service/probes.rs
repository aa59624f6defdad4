//! Refuses probes that cannot tell anything.

use std::time::Duration;

use wire::checks::StatusRange;
use wire::service::{Probe, ProbeKind, ServiceSpec};

use super::{Fit, Misfit, checks, ensure};

/// The times of a probe, in milliseconds: more often, and it is most of the machine's work; less, and it tells nothing.
const PERIOD_MS: std::ops::RangeInclusive<u64> = 50..=600_000;
const TIMEOUT_MS: std::ops::RangeInclusive<u64> = 10..=60_000;
const GRACE_MS: std::ops::RangeInclusive<u64> = 500..=3_600_000;

/// The most answers in a row that anything may take.
const MAX_ROW: u32 = 100;

/// The longest path, in bytes.
const MAX_PATH: usize = 1_024;

/// What a machine may be late by beyond its probe's times before its silence is noticed without a word of the probe.
const SILENCE_MARGIN: Duration = Duration::from_secs(2);

/// How it is found out whether a machine lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Liveness {
    /// What is asked; none: its heartbeat.
    pub probe: Option<Probe>,
    /// How long it may take to the first answer; none: as `[heartbeat]` has it.
    pub start_grace: Option<Duration>,
}

/// How it is found out whether a machine can be sent requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readiness(pub Probe);

impl Liveness {
    /// The heartbeat's.
    pub const HEARTBEAT: Liveness = Liveness { probe: None, start_grace: None };

    /// After how long a silence a machine is suspected even if its probe says nothing; none: as `[heartbeat]` has it.
    pub fn silence(&self) -> Option<Duration> {
        let probe = self.probe.as_ref()?;
        let round = Duration::from_millis(probe.period_ms + probe.timeout_ms);
        Some(round * probe.failure_threshold + SILENCE_MARGIN)
    }
}

/// The statuses that say that all is well.
pub(super) fn well() -> Vec<StatusRange> {
    "200-399".to_owned().try_into().into_iter().collect()
}

/// How the machines of `spec` are asked.
pub(super) fn check(spec: &ServiceSpec) -> Result<(Liveness, Option<Readiness>), Misfit> {
    let liveness = match &spec.liveness {
        None => Liveness::HEARTBEAT,
        Some(probe) => {
            one(probe, "liveness")?;
            ensure(!probe.kind.is_asked_by_balancers(), "liveness.kind", || {
                "is asked by balancers, who do not judge whether a machine lives: expected `heartbeat`, `http` or `tcp`, and \
                 this kind as `readiness`"
                    .to_owned()
            })?;
            if let Some(grace) = probe.start_grace_ms {
                ensure(GRACE_MS.contains(&grace), "liveness.start_grace_ms", || {
                    format!("expected {} to {} milliseconds", GRACE_MS.start(), GRACE_MS.end())
                })?;
            }
            Liveness {
                probe: (probe.kind != ProbeKind::Heartbeat).then(|| probe.clone()),
                start_grace: probe.start_grace_ms.map(Duration::from_millis),
            }
        }
    };
    let Some(probe) = &spec.readiness else { return Ok((liveness, None)) };
    one(probe, "readiness")?;
    ensure(probe.start_grace_ms.is_none(), "readiness.start_grace_ms", || {
        "a machine that is not ready is not ended for it: it is `liveness` that has a grace".to_owned()
    })?;
    // Heartbeats are a machine's liveness already, and what balancers ask this manager does not.
    let is_ours = probe.kind != ProbeKind::Heartbeat && !probe.kind.is_asked_by_balancers();
    let readiness = is_ours.then(|| Readiness(probe.clone()));
    Ok((liveness, readiness))
}

fn one(probe: &Probe, place: &str) -> Fit {
    let Probe {
        kind,
        path,
        port,
        period_ms,
        timeout_ms,
        failure_threshold,
        success_threshold,
        start_grace_ms: _,
        // What only some kinds have is looked at beside them.
        user: _,
        password: _,
        database: _,
        galera: _,
        ca: _,
        ca_file: _,
        server_name: _,
    } = probe;
    let field = |name: &str| format!("{place}.{name}");
    let is_path =
        path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic()) && path.len() <= MAX_PATH;
    ensure(is_path, &field("path"), || {
        format!("expected a path of at most {MAX_PATH} bytes that begins with a slash")
    })?;
    ensure(matches!(kind, ProbeKind::Http | ProbeKind::Https) || path == "/", &field("path"), || {
        "only `http` and `https` ask for a path".to_owned()
    })?;
    checks::words(probe, place)?;
    ensure(*port != Some(0), &field("port"), || "expected a port from 1 to 65535".to_owned())?;
    for (name, millis, range) in [("period_ms", period_ms, PERIOD_MS), ("timeout_ms", timeout_ms, TIMEOUT_MS)]
    {
        ensure(range.contains(millis), &field(name), || {
            format!("expected {} to {} milliseconds", range.start(), range.end())
        })?;
    }
    for (name, count) in [("failure_threshold", failure_threshold), ("success_threshold", success_threshold)]
    {
        ensure((1..=MAX_ROW).contains(count), &field(name), || format!("expected 1 to {MAX_ROW} in a row"))?;
    }
    Ok(())
}

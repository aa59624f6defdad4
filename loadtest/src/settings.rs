//! What a run is: the flags, the scenario under them, and what is meant where neither says anything.

mod shape;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use kit::config::Source;
use rand::RngExt;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::faults::plan;
use crate::faults::spec::{FaultSpec, What};
use crate::faults::way::Proof;
use crate::load::{Connections, Shape};
use crate::options::{MAX_CONNECTIONS, Options};
use crate::origin::{Origin, Resolve};
use crate::report::outputs::Outputs;
use crate::require::{Measured, Requirement};
use crate::scenario;
use crate::send::Trust;
use crate::target::{self, Target};

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(2);
const DEFAULT_FAULT_TIMEOUT: Duration = Duration::from_secs(60);
const DEFAULT_THRESHOLD: f64 = 95.0;

/// A run.
#[derive(Debug)]
pub struct Settings {
    /// What is asked for.
    pub url: String,
    /// When.
    pub shape: Shape,
    /// How long; none where users have a number of loops.
    pub duration: Option<Duration>,
    /// The longest that a request may take.
    pub timeout: Duration,
    /// Over which connections.
    pub connections: Connections,
    /// Whether HTTP/2 is spoken.
    pub http2: bool,
    /// Whose certificates are believed.
    pub trust: Trust,
    /// Addresses that are given.
    pub resolve: Vec<Resolve>,
    /// Whether names are looked up for each connection.
    pub look_up_each: bool,
    /// What is broken, one by one.
    pub faults: Vec<FaultSpec>,
    /// The longest that a fault may take to recover.
    pub fault_timeout: Duration,
    /// Who is asked about the cluster.
    pub managers: Vec<String>,
    /// How they are shown that faults may be ordered.
    pub proof: Proof,
    /// The goals.
    pub requirements: Vec<Requirement>,
    /// The older form of one of them.
    pub min_availability: Option<f64>,
    /// The availability that was promised.
    pub slo: Option<f64>,
    /// Below which share of successes time is degraded, in percent.
    pub success_threshold: f64,
    /// How late one request in a hundred may be sent at most, where that was said.
    pub lateness_max: Option<Duration>,
    /// What chance is drawn by.
    pub seed: u64,
    /// How many threads send.
    pub threads: usize,
    /// The most requests in flight.
    pub connections_max: u32,
    /// Where the report goes as JSON.
    pub json: Option<PathBuf>,
    /// Where its other forms go.
    pub outputs: Outputs,
    /// Where Prometheus is answered.
    pub prometheus: Option<SocketAddr>,
    targets: WrittenTargets,
}

/// Where it is written what is asked for.
#[derive(Debug)]
enum WrittenTargets {
    Flags(Box<target::Written>),
    File(PathBuf),
    Scenario(Source, Vec<target::Written>),
}

impl Settings {
    /// Puts flags and scenario together, and refuses what contradicts itself.
    ///
    /// # Errors
    ///
    /// Says what does not fit and what would.
    #[allow(clippy::too_many_lines)]
    pub fn new(options: Options) -> anyhow::Result<Self> {
        let written = options.scenario.as_deref().map(scenario::read).transpose()?;
        let beside = |file: &Option<PathBuf>| {
            written.as_ref().zip(file.as_deref()).map(|(written, file)| written.beside(file))
        };
        let default = scenario::Scenario::default();
        let file = written.as_ref().map_or(&default, |written| &written.scenario);
        let Options { load, request, goals, mut proof, .. } = options;

        // Short enough to be typed again.
        let seed = load.seed.or(file.load.seed).unwrap_or_else(|| u64::from(rand::rng().random::<u32>()));
        let time = |flag: Option<Duration>, file: Option<scenario::Time>| flag.or(file.map(|time| time.0));
        let kind =
            shape::Kind { rate: options.rate, duration: options.duration, flags: &load, file: &file.load };
        let (shape, duration) = kind.meant(seed)?;
        let timeout = time(options.timeout, file.load.timeout).unwrap_or(DEFAULT_TIMEOUT);
        ensure!(!timeout.is_zero(), "a timeout of 0: expected a time above it");
        let connections = match (options.fresh, request.keep_alive) {
            (true, _) => Connections::Fresh,
            (_, true) => Connections::Kept,
            _ => file.load.connections.unwrap_or_default(),
        };
        let connections_max = options.connections_max.or(file.load.connections_max);
        ensure!(
            connections_max.is_none_or(|max| (1..=MAX_CONNECTIONS).contains(&i64::from(max))),
            "connections-max: expected 1 to {MAX_CONNECTIONS}"
        );
        let threads = load.threads.or(file.load.threads).unwrap_or(1);
        ensure!((1..=256).contains(&threads), "{threads} threads: expected 1 to 256");
        proof.ca = proof.ca.or_else(|| beside(&file.ca));
        proof.token_file = proof.token_file.or_else(|| beside(&file.token_file));
        let trust = trust(request.insecure || file.load.insecure, proof.ca.as_deref())?;

        let managers = if options.managers.is_empty() {
            file.managers.iter().map(|manager| manager.0.clone()).collect()
        } else {
            options.managers
        };
        let mut faults = written.as_ref().map(|written| written.faults.clone()).unwrap_or_default();
        faults.extend(options.faults);
        if managers.is_empty() {
            ensure!(
                proof.token_file.is_none(),
                "--token-file says nothing without a manager: give its address with --manager URL"
            );
            for fault in &faults {
                if let What::Order { .. } = fault.what {
                    bail!("--fault \"{fault}\" is done by a manager: give its address with --manager URL");
                }
            }
        }
        let faults = match duration {
            Some(duration) => plan::single(faults, duration, seed).map_err(anyhow::Error::msg)?,
            None => {
                let repeated = faults.iter().any(FaultSpec::repeats);
                ensure!(!repeated, "faults that come again and again need --duration instead of --loops");
                faults
            }
        };

        let mut requirements: Vec<Requirement> = file.require.iter().map(|read| read.0.clone()).collect();
        requirements.extend(goals.require);
        for requirement in &requirements {
            ensure!(
                !faults.is_empty() || !requirement.needs_faults(),
                "--require '{requirement}' is about faults, and there is none: add one with --fault"
            );
        }
        let slo = goals.slo.or(file.slo.map(|slo| slo.0));
        ensure!(
            slo.is_some() || !requirements.iter().any(|requirement| requirement.measured == Measured::Budget),
            "--require 'budget…' needs --slo PERCENT, which says what the budget is"
        );

        let url = options
            .url
            .or_else(|| file.url.clone())
            .context("the scenario has no url: add it, or give one")?;
        let by_hand = request.clone();
        let targets = if let Some(file) = request.targets {
            WrittenTargets::File(file)
        } else if let Some(written) = written.as_ref().filter(|written| !written.scenario.target.is_empty()) {
            WrittenTargets::Scenario(written.source.clone(), written.scenario.target.clone())
        } else {
            WrittenTargets::Flags(Box::new(target::Written {
                method: by_hand.method.or(options.post.then(|| "POST".to_owned())),
                headers: by_hand.headers,
                body: by_hand.body,
                body_file: by_hand.body_file,
                numbered: options.post,
                status: by_hand.expect_status,
                json: by_hand.expect_json,
                regex: by_hand.expect_body,
                ..Default::default()
            }))
        };
        let mut resolve = request.resolve;
        resolve.extend(file.load.resolve.iter().map(|read| read.0.clone()));
        Ok(Settings {
            url,
            connections_max: connections_max.unwrap_or_else(|| shape::fitting(&shape, timeout)),
            shape,
            duration,
            timeout,
            connections,
            http2: request.http2 || file.load.http2,
            trust,
            resolve,
            look_up_each: request.look_up_each || file.load.look_up_each,
            faults,
            fault_timeout: time(options.fault_timeout, file.fault_timeout).unwrap_or(DEFAULT_FAULT_TIMEOUT),
            managers,
            proof,
            requirements,
            min_availability: options.min_availability,
            slo,
            success_threshold: goals
                .success_threshold
                .or(file.success_threshold.map(|percent| percent.0))
                .unwrap_or(DEFAULT_THRESHOLD),
            lateness_max: time(goals.lateness_max, file.lateness_max),
            seed,
            threads: threads as usize,
            json: options.json,
            outputs: options.outputs,
            prometheus: options.prometheus,
            targets,
        })
    }

    /// What is asked for at `origin`.
    ///
    /// # Errors
    ///
    /// Says which target is wrong.
    pub fn targets(&self, origin: &Origin) -> anyhow::Result<Vec<Target>> {
        match &self.targets {
            WrittenTargets::Flags(written) => Ok(vec![written.meant(&origin.path, Path::new("."))?]),
            WrittenTargets::File(file) => target::read(file, &origin.path),
            WrittenTargets::Scenario(source, written) => target::all(source, written, &origin.path),
        }
    }
}

fn trust(insecure: bool, ca: Option<&Path>) -> anyhow::Result<Trust> {
    if insecure {
        return Ok(Trust::Everybody);
    }
    let read = |path: &Path| {
        let read = kit::config::read_file(path, kit::config::MAX_PEM);
        let pem = read.map_err(|error| anyhow!("--ca {}: {error}", path.display()))?;
        let is_found = CertificateDer::pem_slice_iter(&pem).next().is_some_and(|found| found.is_ok());
        ensure!(is_found, "--ca {}: expected certificates as PEM, found none", path.display());
        anyhow::Ok(pem)
    };
    Ok(Trust::Authorities(ca.map(read).transpose()?))
}

//! `manager service`: shows services and defines them at run time, on every host of the cluster.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use kit::config::Source;
use reqwest::Method;
use serde::Serialize;
use wire::cluster::{ClusterView, HostView};
use wire::placement::ServicePlacement;
use wire::pools::{PoolHealth, PrimaryHealth};
use wire::service::{
    RollOrder, RolloutState, RolloutView, ServiceOrigin, ServiceProtocol, ServiceSpec, ServiceView,
};
use wire::{HostName, PoolName};

use super::client::{Client, path_of};
use super::print::table;
use super::scaling::scaled;
use crate::config::service::read_services;

/// How often it is looked how far a host is.
const LOOK: Duration = Duration::from_millis(200);

/// A manager that rolls out is not given up before it was silent for so long.
const SILENCE: Duration = Duration::from_secs(60);

/// What can be done with services.
#[derive(Subcommand, Debug)]
pub enum ServiceCommand {
    /// List the services of the host that is asked.
    Ls,
    /// Show the definition of one, without its secrets.
    Show {
        /// The service's name.
        name: String,
    },
    /// Define the services of a file, or define them anew: its `[[service]]` parts, as in a manager's file.
    Apply(ApplyArgs),
    /// Take a service away that was defined at run time; its machines are drained and stopped.
    Rm {
        /// The service's name.
        name: String,
        /// Only on the host that is asked.
        #[arg(long)]
        here: bool,
    },
}

/// What to define, and where.
#[derive(Args, Debug)]
pub struct ApplyArgs {
    /// The file. Files that it names are read here.
    file: PathBuf,
    /// Only on the host that is asked.
    #[arg(long, conflicts_with = "roll")]
    here: bool,
    /// Then have the machines of these services built anew, host after host, as their `rollout` says. Where they do not become
    /// ready, all is made again what it was before, on every host, and it ends with 1.
    #[arg(long)]
    roll: bool,
}

/// A manager to be told.
struct Told {
    host: HostName,
    url: String,
}

/// The managers to be told.
struct AllTold {
    hosts: Vec<Told>,
    /// What one is told, all go by.
    agree: bool,
}

impl AllTold {
    /// Those that are told a definition.
    fn edited(&self) -> &[Told] {
        if self.agree { &self.hosts[..self.hosts.len().min(1)] } else { &self.hosts }
    }
}

/// What was rolled out, for programs.
#[derive(Serialize)]
struct RolledOut<'a> {
    service: &'a PoolName,
    host: &'a HostName,
    machines: usize,
}

impl Client {
    /// `manager service …`.
    ///
    /// # Errors
    ///
    /// What is wrong with the file, or what a manager refused, in its words. The hosts that were told before it keep
    /// what they were told: doing it again is harmless.
    pub fn service(&self, command: &ServiceCommand) -> Result<()> {
        match command {
            ServiceCommand::Ls => {
                let views: Vec<ServiceView> = self.ask(Method::GET, "/services", None::<&()>)?;
                self.print(&views, |views| list(views))
            }
            ServiceCommand::Show { name } => {
                let view: ServiceView = self.ask(Method::GET, &path_of("/services", name), None::<&()>)?;
                self.print(&view, |view| {
                    let spec = toml::to_string(&view.spec).unwrap_or_default();
                    let where_they_are = view.placement.as_ref().map(placed).unwrap_or_default();
                    let why = view.scaling.as_ref().map(scaled).unwrap_or_default();
                    let health = view.health.as_ref().map(health).unwrap_or_default();
                    format!("{where_they_are}{why}{health}{}", spec.trim_end())
                })
            }
            ServiceCommand::Apply(args) => self.apply(args),
            ServiceCommand::Rm { name, here } => {
                for Told { host, url } in self.told(*here, false)?.edited() {
                    let path = path_of("/services", name);
                    let _left: Vec<ServiceView> = self
                        .ask_at(url, Method::DELETE, &path, None::<&()>)
                        .with_context(|| format!("host {host}"))?;
                    self.print(&name, |name| format!("{name} is being taken away on host {host}"))?;
                }
                Ok(())
            }
        }
    }

    fn apply(&self, args: &ApplyArgs) -> Result<()> {
        let source = Source::read(&args.file)?;
        let specs = read_services(&source)?;
        if specs.is_empty() {
            return Err(source.error_at(None, "expected at least one [[service]]").into());
        }
        let told = self.told(args.here, args.roll)?;
        for spec in &specs {
            for Told { host, url } in told.edited() {
                let path = path_of("/services", spec.name.as_str());
                let view: ServiceView = self
                    .ask_at(url, Method::PUT, &path, Some(spec))
                    .with_context(|| format!("service {} on host {host}", spec.name))?;
                self.print(&view, |view| {
                    let name = &view.spec.name;
                    match &view.placement {
                        None => format!(
                            "{name} is defined on host {host}, which is to have {} of it",
                            view.desired
                        ),
                        Some(ServicePlacement { total, .. }) => {
                            format!("{name} is defined on host {host}: {total} over all hosts")
                        }
                    }
                })?;
            }
        }
        for spec in specs.iter().filter(|spec| args.roll && spec.endpoints.is_empty()) {
            self.roll_out(&spec.name, &told)?;
        }
        Ok(())
    }

    /// Has all hosts build the machines of the service `name` anew, one host after the other.
    fn roll_out(&self, name: &PoolName, told: &AllTold) -> Result<()> {
        for (index, host) in told.hosts.iter().enumerate() {
            let RolloutView { state, total, reason, .. } = self.roll_on(host, name, true)?;
            let there = &host.host;
            match state {
                RolloutState::RolledBack => {
                    self.roll_back(name, told, index).with_context(|| {
                        format!(
                            "service {name} is not rolled out ({reason}). Host {there} has made it again what it was \
                             before, others could not"
                        )
                    })?;
                    bail!("service {name} is not rolled out, and is again what it was before: {reason}");
                }
                RolloutState::Failed => bail!(
                    "service {name} is not rolled out on host {there}, which has machines of both definitions now: \
                     {reason}"
                ),
                RolloutState::Done | RolloutState::Rolling | RolloutState::RollingBack => {}
            }
            self.print(&RolledOut { service: name, host: there, machines: total }, |_| {
                format!("{name} is rolled out on host {there}: {total} machines")
            })?;
        }
        Ok(())
    }

    /// The host at `index` has made the service `name` again what it was. Others do so too, where that was not for all, and
    /// those before it, where it was rolled out already, have its machines built anew.
    fn roll_back(&self, name: &PoolName, told: &AllTold, index: usize) -> Result<()> {
        let (rolled, untouched) = (&told.hosts[..index], &told.hosts[index + 1..]);
        for Told { host, url } in rolled.iter().chain(untouched).filter(|_| !told.agree) {
            let path = format!("{}/rollback", path_of("/services", name.as_str()));
            let _was: ServiceView =
                self.ask_at(url, Method::POST, &path, None::<&()>).with_context(|| format!("host {host}"))?;
        }
        for told in rolled {
            let RolloutView { state, reason, .. } = self.roll_on(told, name, false)?;
            if state != RolloutState::Done {
                bail!("host {}: {reason}", told.host);
            }
        }
        Ok(())
    }

    /// Has one host build the machines of the service `name` anew, and waits for what becomes of that. The host itself
    /// bounds how long that takes, and goes on should nobody wait any more.
    fn roll_on(&self, Told { host, url }: &Told, name: &PoolName, rollback: bool) -> Result<RolloutView> {
        let path = path_of("/services", name.as_str());
        let mut view: ServiceView = self
            .ask_at(url, Method::POST, &format!("{path}/roll"), Some(&RollOrder { rollback }))
            .with_context(|| format!("host {host}"))?;
        let mut silent_since = None;
        loop {
            match view.rollout.take() {
                None => bail!(
                    "host {host}: its manager was started anew and does not know how it ended: do it again"
                ),
                Some(rollout)
                    if !matches!(rollout.state, RolloutState::Rolling | RolloutState::RollingBack) =>
                {
                    return Ok(rollout);
                }
                Some(_) => {}
            }
            view = loop {
                std::thread::sleep(LOOK);
                match self.ask_at(url, Method::GET, &path, None::<&()>) {
                    Ok(view) => break view,
                    Err(error) if silent_since.get_or_insert_with(Instant::now).elapsed() > SILENCE => {
                        return Err(error).with_context(|| format!("host {host} goes on, and is not heard"));
                    }
                    Err(_) => {}
                }
            };
            silent_since = None;
        }
    }

    /// The managers to tell: of all hosts, each of which has to be there; only the one that is asked where all go by what
    /// that one is told, unless something has to be done on each (`all`).
    fn told(&self, here: bool, all: bool) -> Result<AllTold> {
        let view: ClusterView = self.ask(Method::GET, "/cluster", None::<&()>)?;
        let agree = view.agreed.is_some();
        if here || (agree && !all) {
            return Ok(AllTold { hosts: vec![Told { host: view.host, url: self.url().to_owned() }], agree });
        }
        if let Some(lost) = view.hosts.iter().find(|host| !host.alive) {
            bail!(
                "host {} is not heard: do it again when it is back, or with --here host by host",
                lost.name
            );
        }
        let url = |name: &HostName, address: IpAddr| {
            if *name == view.host { self.url().to_owned() } else { self.manager_at(address) }
        };
        let told = |host: &HostView| Told { host: host.name.clone(), url: url(&host.name, host.address) };
        Ok(AllTold { hosts: view.hosts.iter().map(told).collect(), agree })
    }
}

/// Where the machines of a service with a `total` are, as a comment of its definition.
fn placed(placement: &ServicePlacement) -> String {
    let ServicePlacement { total, share, ready, unplaced } = placement;
    let unplaced = match unplaced {
        0 => String::new(),
        some => format!("; no host has room for {some}"),
    };
    format!(
        "# {total} machines over all hosts, {share} of them on this one; {ready} take requests{unplaced}\n"
    )
}

/// How the machines or servers of a service are that balancers check, as comments of its definition.
fn health(health: &PoolHealth) -> String {
    let PoolHealth { upstreams, well, failing, elsewhere, ill: _, primary } = health;
    let checked = upstreams.saturating_sub(*elsewhere);
    let mut text = format!("# {well} of {checked} pass the checks of this host's balancer\n");
    if *elsewhere > 0 {
        text.push_str(&format!("# {elsewhere} more are checked by those of other hosts\n"));
    }
    for (id, reason) in failing {
        text.push_str(&format!("#   {id}: {reason}\n"));
    }
    match primary {
        None => {}
        Some(PrimaryHealth { id: Some(id), reason, .. }) => {
            text.push_str(&format!("# The primary is {id}: {reason}\n"));
        }
        Some(PrimaryHealth { id: None, reason, .. }) => {
            text.push_str(&format!("# There is no primary: {reason}\n"));
        }
    }
    text
}

/// What a service answers for: names and paths, or a port.
fn answers_for(spec: &ServiceSpec) -> String {
    if let (ServiceProtocol::Tcp, Some(listen)) = (spec.protocol, spec.listen) {
        let names = if spec.sni.is_empty() { String::new() } else { format!(" {}", spec.sni.join(", ")) };
        return format!("tcp {listen}{names}");
    }
    let routes = spec.routes.iter().flat_map(|route| {
        let path = route.path_exact.as_deref().or(route.path.as_deref()).unwrap_or("");
        let hosts = if route.hosts.is_empty() { vec!["*".to_owned()] } else { route.hosts.clone() };
        hosts.into_iter().map(move |host| format!("{host}{path}"))
    });
    let routes: Vec<String> = routes.collect();
    if routes.is_empty() { "-".to_owned() } else { routes.join(", ") }
}

fn list(views: &[ServiceView]) -> String {
    let mut rows = table(&["SERVICE", "MACHINES", "PROGRAM", "PORT", "ANSWERS FOR", "DEFINED"]);
    for ServiceView { origin, desired, placement, spec, .. } in views {
        let external = !spec.endpoints.is_empty();
        let count = match placement {
            Some(placement) => format!("{desired} of {}", placement.total),
            None if external => spec.endpoints.len().to_string(),
            None => desired.to_string(),
        };
        rows.add_row([
            spec.name.to_string(),
            count,
            if external { "(endpoints)".to_owned() } else { spec.program.clone() },
            if external { "-".to_owned() } else { spec.port.to_string() },
            answers_for(spec),
            match origin {
                ServiceOrigin::File => "in the file".to_owned(),
                ServiceOrigin::Put => "at run time".to_owned(),
            },
        ]);
    }
    rows.to_string()
}

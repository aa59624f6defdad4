//! `manager service`: shows services and defines them at run time, on every host of the cluster.

use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use kit::config::Source;
use reqwest::Method;
use wire::cluster::{ClusterView, MachineView, Phase};
use wire::placement::ServicePlacement;
use wire::service::{ServiceOrigin, ServiceSpec, ServiceView};
use wire::{HostName, Incarnation, MachineId, PoolName};

use super::client::{Client, path_of};
use super::print::table;
use super::scaling::scaled;
use crate::config::service::read_services;

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
    /// Then build the machines of these services anew, one at a time over the whole cluster: the next one's turn comes
    /// when every manager says that the cluster is whole. At the first that does not become ready, all is made again what
    /// it was before, and it ends with 1.
    #[arg(long)]
    roll: bool,
    /// With --roll: how many seconds each machine may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..))]
    step_timeout: u64,
}

/// A manager to be told.
struct Told {
    host: HostName,
    url: String,
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
                    format!("{where_they_are}{why}{}", spec.trim_end())
                })
            }
            ServiceCommand::Apply(args) => self.apply(args),
            ServiceCommand::Rm { name, here } => {
                for Told { host, url } in self.told(*here)? {
                    let path = path_of("/services", name);
                    let _left: Vec<ServiceView> = self
                        .ask_at(&url, Method::DELETE, &path, None::<&()>)
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
        let told = self.told(args.here)?;
        for spec in &specs {
            for Told { host, url } in &told {
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
        let has_machines = |spec: &ServiceSpec| spec.replicas.or(spec.total).is_some_and(|count| count > 0);
        let kept = specs.iter().filter(|spec| args.roll && has_machines(spec));
        for spec in kept {
            let Err(failed) = self.roll_service(&spec.name, args.step_timeout) else { continue };
            let name = &spec.name;
            self.roll_back(name, args.step_timeout).with_context(|| {
                format!(
                    "service {name} is not rolled out ({failed:#}), and cannot be made what it was before"
                )
            })?;
            bail!("service {name} is not rolled out, and is again what it was before: {failed:#}");
        }
        Ok(())
    }

    /// Makes the service `name` again what it was, on all hosts, and has the machines that came to be since, or did
    /// not, built anew.
    fn roll_back(&self, name: &PoolName, step_timeout: u64) -> Result<()> {
        let stuck = self.starting(name)?;
        for Told { host, url } in self.told(false)? {
            let path = format!("{}/rollback", path_of("/services", name.as_str()));
            let _was: ServiceView = self
                .ask_at(&url, Method::POST, &path, None::<&()>)
                .with_context(|| format!("host {host}"))?;
        }
        // One that keeps dying is built anew by itself; one that lives and never becomes ready is not.
        let starting = self.starting(name)?;
        for (manager, machine, _) in stuck.into_iter().filter(|machine| starting.contains(machine)) {
            let path = format!("{}/replace", path_of("/vms", machine.as_str()));
            // One that is being built anyway is refused, and that is as good.
            let _ = self.ask_at::<MachineView>(&self.manager_at(manager), Method::POST, &path, None::<&()>);
        }
        self.roll_service(name, step_timeout)
    }

    /// The machines of the service `name` that are not ready yet: where their managers are, and which builds they are.
    fn starting(&self, name: &PoolName) -> Result<Vec<(IpAddr, MachineId, Incarnation)>> {
        let view: ClusterView = self.ask(Method::GET, "/cluster", None::<&()>)?;
        let machines =
            view.hosts.iter().flat_map(|host| host.machines.iter().map(|machine| (host.address, machine)));
        let starting =
            machines.filter(|(_, machine)| machine.service == *name && machine.phase == Phase::Booting);
        Ok(starting.map(|(manager, machine)| (manager, machine.id.clone(), machine.incarnation)).collect())
    }

    /// The managers to tell: of all hosts, each of which has to be there.
    fn told(&self, here: bool) -> Result<Vec<Told>> {
        let view: ClusterView = self.ask(Method::GET, "/cluster", None::<&()>)?;
        if here {
            return Ok(vec![Told { host: view.host, url: self.url().to_owned() }]);
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
        let hosts = view.hosts.iter();
        Ok(hosts.map(|host| Told { host: host.name.clone(), url: url(&host.name, host.address) }).collect())
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

fn list(views: &[ServiceView]) -> String {
    let mut rows = table(&["SERVICE", "MACHINES", "PROGRAM", "PORT", "ANSWERS FOR", "DEFINED"]);
    for ServiceView { origin, desired, placement, scaling: _, spec } in views {
        let external = !spec.endpoints.is_empty();
        let count = match placement {
            Some(placement) => format!("{desired} of {}", placement.total),
            None if external => spec.endpoints.len().to_string(),
            None => desired.to_string(),
        };
        let answers: Vec<String> = spec
            .routes
            .iter()
            .flat_map(|route| {
                let path = route.path_exact.as_deref().or(route.path.as_deref()).unwrap_or("");
                let hosts = if route.hosts.is_empty() { vec!["*".to_owned()] } else { route.hosts.clone() };
                hosts.into_iter().map(move |host| format!("{host}{path}"))
            })
            .collect();
        rows.add_row([
            spec.name.to_string(),
            count,
            if external { "(endpoints)".to_owned() } else { spec.program.clone() },
            if external { "-".to_owned() } else { spec.port.to_string() },
            if answers.is_empty() { "-".to_owned() } else { answers.join(", ") },
            match origin {
                ServiceOrigin::File => "in the file".to_owned(),
                ServiceOrigin::Put => "at run time".to_owned(),
            },
        ]);
    }
    rows.to_string()
}

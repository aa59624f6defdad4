//! `manager image roll`: a fresh build for every machine of the cluster, one at a time.
//!
//! ```text
//!   standby balancers ──▶ the holder, which hands over as it stops ──▶ services, host by host
//!            └── between two: every manager says that the cluster is whole ──┘
//! ```
//!
//! What is next is found out anew each time, because the public address moves meanwhile. Nothing is
//! remembered: a roll that stopped is run again from the start.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{IsTerminal, Write};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use reqwest::Method;
use serde::Serialize;
use wire::cluster::{ClusterView, HostView, MachineView, Phase};
use wire::vip::RouterState;
use wire::{MachineId, PoolName};

use super::Output;
use super::client::{Client, Usage, path_of};
use crate::config::LB;

/// How often it is looked whether a machine is back.
const LOOK: Duration = Duration::from_millis(200);

/// What can be done with images.
#[derive(Subcommand, Debug)]
pub enum ImageCommand {
    /// Build every machine of the cluster anew from the newest images, one at a time and each at its
    /// address: standby balancers first, then the one that holds the public address, then the services.
    ///
    /// The next machine's turn comes when every manager says that the cluster is whole. Machines that
    /// are of the newest image already are left out; where that is not known, all are built anew. Ends
    /// with 1 at the first machine that does not come back; it can then be run again.
    Roll(RollArgs),
}

/// What to roll, and how.
#[derive(Args, Debug)]
pub struct RollArgs {
    /// Only the machines of this service; `lb` means the balancers.
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Also those that are of the newest image already.
    #[arg(long)]
    all: bool,
    /// Do not ask first.
    #[arg(long, short)]
    yes: bool,
    /// Only say which machines, and in which order.
    #[arg(long)]
    dry_run: bool,
    /// How many seconds each step may take until the cluster is whole again.
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..))]
    step_timeout: u64,
}

/// One machine that is to be built anew.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    /// Where its manager is.
    manager: IpAddr,
    machine: MachineView,
    holds_vip: bool,
}

/// One machine that was built anew, for programs.
#[derive(Serialize)]
struct Step<'a> {
    machine: &'a MachineId,
    incarnation_before: u64,
    incarnation: u64,
    took_ms: u128,
}

/// The ids of the images that machines are made from, by host and service.
type Images = BTreeMap<(IpAddr, PoolName), String>;

impl Client {
    /// `manager image …`.
    ///
    /// # Errors
    ///
    /// What the managers refused, or which machine did not come back.
    pub fn image(&self, command: &ImageCommand) -> Result<()> {
        let ImageCommand::Roll(args) = command;
        let view = self.cluster()?;
        let all = targets(&view);
        if let Some(service) = &args.service
            && !all.iter().any(|target| target.machine.service.as_str() == service)
        {
            let known: BTreeSet<&str> = all.iter().map(|target| target.machine.service.as_str()).collect();
            let known: Vec<&str> = known.into_iter().collect();
            bail!("there is no machine of `{service}`; there are machines of: {}", known.join(", "));
        }
        let images = if args.all { Images::new() } else { self.images(&view)? };
        let mut left: BTreeSet<MachineId> = all
            .iter()
            .filter(|target| args.service.as_ref().is_none_or(|name| target.machine.service.as_str() == name))
            .filter(|target| !is_newest(target, &images))
            .map(|target| target.machine.id.clone())
            .collect();
        if left.is_empty() {
            self.say("Every machine is of the newest image already; --all builds them anew all the same.");
            return Ok(());
        }
        let order: Vec<&Target> = all.iter().filter(|target| left.contains(&target.machine.id)).collect();
        if args.dry_run {
            for target in &order {
                println!("{}", target.machine.id);
            }
            return Ok(());
        }
        if !args.yes && !confirm(&order)? {
            bail!("nothing was done");
        }
        let limit = Duration::from_secs(args.step_timeout);
        self.wait(limit, |views| views.iter().all(is_well))
            .context("nothing is built anew while the cluster is not whole: mend that first")?;
        let total = left.len();
        while !left.is_empty() {
            let view = self.cluster()?;
            let Some(target) = targets(&view).into_iter().find(|target| left.contains(&target.machine.id))
            else {
                let gone: Vec<&str> = left.iter().map(MachineId::as_str).collect();
                self.say(&format!("No longer there: {}", gone.join(", ")));
                break;
            };
            self.step(&target, total - left.len() + 1, total, limit)?;
            left.remove(&target.machine.id);
        }
        self.say("Done: the cluster is whole.");
        Ok(())
    }

    /// Has one machine built anew and waits until nothing is missing in anybody's eyes.
    fn step(&self, target: &Target, number: usize, total: usize, limit: Duration) -> Result<()> {
        let started = Instant::now();
        let MachineView { id, incarnation, address, .. } = &target.machine;
        let path = format!("{}/replace", path_of("/vms", id.as_str()));
        let _: MachineView = self
            .ask_at(&self.manager_at(target.manager), Method::POST, &path, None::<&()>)
            .with_context(|| format!("{id} was not built anew; run this again when that is mended"))?;
        let is_back = |view: &ClusterView| {
            let machine = targets(view).into_iter().find(|found| found.machine.id == *id)?.machine;
            (machine.incarnation > *incarnation && machine.phase == Phase::Ready)
                .then_some(machine.incarnation)
        };
        let views = self
            .wait(limit, |views| views.iter().all(|view| is_well(view) && is_back(view).is_some()))
            .with_context(|| {
                format!(
                    "stopped at {id}, the {number}. of {total}: read `manager vm logs {id}` of its manager, mend \
                     it or put the earlier image back, and run this again"
                )
            })?;
        let built = views.first().and_then(is_back).unwrap_or_default();
        let took_ms = started.elapsed().as_millis();
        let step = Step { machine: id, incarnation_before: *incarnation, incarnation: built, took_ms };
        self.print(&step, |_| {
            format!("{number}/{total}  {id} at {address}: build {incarnation} -> {built}, whole after {took_ms} ms")
        })
    }

    /// Waits until `condition` holds of what all managers say.
    fn wait(&self, limit: Duration, condition: impl Fn(&[ClusterView]) -> bool) -> Result<Vec<ClusterView>> {
        let end = Instant::now() + limit;
        loop {
            let views = self.cluster().and_then(|own| self.views(own));
            match views {
                Ok(views) if condition(&views) => return Ok(views),
                Ok(views) if Instant::now() >= end => {
                    let missing: BTreeSet<&str> =
                        views.iter().flat_map(|view| &view.missing).map(String::as_str).collect();
                    let missing: Vec<&str> = missing.into_iter().collect();
                    let missing = if missing.is_empty() {
                        "the machine is still the old one, or a balancer takes no part yet".into()
                    } else {
                        missing.join("; ")
                    };
                    bail!("not within {} s: {missing}", limit.as_secs());
                }
                Err(error) if Instant::now() >= end => return Err(error),
                _ => std::thread::sleep(LOOK),
            }
        }
    }

    /// What every manager says, the one that was asked first.
    fn views(&self, own: ClusterView) -> Result<Vec<ClusterView>> {
        let others: Vec<IpAddr> =
            own.hosts.iter().filter(|host| host.name != own.host).map(|host| host.address).collect();
        let others = others
            .into_iter()
            .map(|address| self.ask_at(&self.manager_at(address), Method::GET, "/cluster", None::<&()>));
        std::iter::once(Ok(own)).chain(others).collect()
    }

    fn cluster(&self) -> Result<ClusterView> {
        self.ask_at(self.url(), Method::GET, "/cluster", None::<&()>)
    }

    /// The newest images of every host that is there.
    fn images(&self, view: &ClusterView) -> Result<Images> {
        let mut images = Images::new();
        for host in view.hosts.iter().filter(|host| host.alive) {
            let url = self.manager_at(host.address);
            let of_host: BTreeMap<String, String> = self.ask_at(&url, Method::GET, "/images", None::<&()>)?;
            let of_host = of_host.into_iter();
            images.extend(of_host.map(|(service, image)| ((host.address, service.as_str().into()), image)));
        }
        Ok(images)
    }

    /// Something for people; programs see it by what is printed for them.
    fn say(&self, what: &str) {
        if matches!(self.output(), Output::Table | Output::Wide) {
            println!("{what}");
        }
    }
}

/// Whether the cluster is whole, and every balancer ready to take the public addresses over: one that
/// has just started answers before it takes part.
fn is_well(view: &ClusterView) -> bool {
    let takes_part = |host: &HostView| {
        let vips = host.lb.iter().flat_map(|lb| &lb.vips);
        vips.filter(|vip| vip.state != RouterState::Init).count() == view.vips.len()
    };
    view.whole && view.hosts.iter().all(takes_part)
}

/// All machines in the order in which they are built anew.
fn targets(view: &ClusterView) -> Vec<Target> {
    let of_host = |host: &HostView| {
        let manager = host.address;
        // A standby that does not run is made of the newest image when it is needed.
        let runs = |machine: &MachineView| machine.phase != Phase::Standby;
        let machines = host.machines.clone().into_iter().filter(runs);
        machines
            .map(|machine| {
                let holds_vip = view.vips.iter().any(|vip| vip.holders.contains(&machine.id));
                Target { manager, machine, holds_vip }
            })
            .collect::<Vec<_>>()
    };
    let mut targets: Vec<Target> = view.hosts.iter().flat_map(of_host).collect();
    // Sorting keeps the order of hosts and machines where nothing else decides.
    targets.sort_by_key(|target| (target.machine.service.as_str() != LB, target.holds_vip));
    targets
}

fn is_newest(target: &Target, images: &Images) -> bool {
    let newest = images.get(&(target.manager, target.machine.service.clone()));
    newest.is_some() && newest == target.machine.image.as_ref()
}

fn confirm(order: &[&Target]) -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Err(Usage::new("nobody is there to be asked: give --yes").into());
    }
    let names: Vec<&str> = order.iter().map(|target| target.machine.id.as_str()).collect();
    print!("Build {} machines anew, one at a time: {}? [y/N] ", names.len(), names.join(", "));
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn view() -> ClusterView {
        let machine = |id: &str, service: &str| {
            json!({
                "id": id, "service": service, "address": "10.0.0.10", "phase": "ready", "reason": "",
                "incarnation": 1, "image": "old", "restarts": 0, "for_ms": 1, "crash_looping": false,
            })
        };
        let host = |name: &str, address: &str| {
            json!({
                "name": name, "address": address, "alive": true, "heard_ms_ago": 0, "epoch": 1, "desired": 3,
                "warnings": [],
                "lb": {
                    "id": format!("{name}-lb"), "address": "10.0.0.10", "generation": 1,
                    "vips": [{ "address": "10.0.0.100", "state": "backup", "priority": 200 }],
                },
                "machines": [
                    machine(&format!("{name}-lb"), "lb"),
                    machine(&format!("{name}-web-1"), "web"),
                    machine(&format!("{name}-web-2"), "web"),
                ],
            })
        };
        serde_json::from_value(json!({
            "host": "a", "whole": true, "missing": [],
            "hosts": [host("a", "10.0.0.1"), host("b", "10.0.0.2")],
            "vips": [{ "address": "10.0.0.100", "holders": ["a-lb"] }],
        }))
        .expect("a view")
    }

    #[test]
    fn the_holder_comes_after_the_standby_and_services_after_balancers() {
        let order: Vec<String> =
            targets(&view()).iter().map(|target| target.machine.id.to_string()).collect();
        assert_eq!(order, ["b-lb", "a-lb", "a-web-1", "a-web-2", "b-web-1", "b-web-2"]);
    }

    #[test]
    fn all_is_well_when_every_balancer_takes_part() {
        let mut view = view();
        assert!(is_well(&view));
        let lb = view.hosts[1].lb.as_mut().expect("a balancer");
        lb.vips[0].state = RouterState::Init;
        assert!(!is_well(&view));
        view.hosts[1].lb.as_mut().expect("a balancer").vips.clear();
        assert!(!is_well(&view));
    }

    #[test]
    fn only_a_machine_known_to_be_of_its_hosts_newest_image_is_left_out() {
        let view = view();
        let images: Images = [
            (("10.0.0.1".parse().expect("an address"), "web".into()), "old".to_owned()),
            (("10.0.0.2".parse().expect("an address"), "web".into()), "new".to_owned()),
        ]
        .into();
        let newest = |target: &Target| is_newest(target, &images).then(|| target.machine.id.to_string());
        let left_out: Vec<String> = targets(&view).iter().filter_map(newest).collect();
        assert_eq!(left_out, ["a-web-1", "a-web-2"]);
    }
}

//! What the managers say of the cluster, and what they are told to break.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use tokio::task::JoinSet;
use tokio::time::sleep;
use wire::cluster::{ClusterView, FaultKind, FaultOrder, Phase};
use wire::{HostName, MachineId, Problem};

use super::recovery::{Rule, Seen};
use super::way::{Way, Ways};

/// The managers that may be asked.
#[derive(Clone, Debug)]
pub struct Managers {
    ways: Vec<Way>,
    others: Ways,
}

/// What the managers said at one moment.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// The cluster as each of them sees it.
    pub views: Vec<ClusterView>,
    /// How the manager of a host was reached.
    ways: BTreeMap<HostName, Way>,
}

/// How often each manager is asked whether all is well.
const POLL: Duration = Duration::from_millis(25);

impl Answers {
    /// What makes the machines, by host.
    pub fn drivers(&self) -> BTreeMap<HostName, String> {
        let hosts = self.views.iter().flat_map(|view| &view.hosts);
        hosts.map(|host| (host.name.clone(), host.driver.clone())).collect()
    }
}

impl Managers {
    /// The managers that are named so, and any others there are.
    ///
    /// # Errors
    ///
    /// When there is no way to one of them.
    pub fn new(named: &[String], others: Ways) -> anyhow::Result<Self> {
        let ways = named.iter().map(|named| others.to(named)).collect::<anyhow::Result<_>>()?;
        Ok(Managers { ways, others })
    }

    /// What each manager that answers says.
    ///
    /// # Errors
    ///
    /// When none answers.
    pub async fn ask(&self) -> anyhow::Result<Answers> {
        let mut asked = JoinSet::new();
        for way in self.ways.clone() {
            asked.spawn(async move { (view(&way).await, way) });
        }
        let mut answers = Answers::default();
        let mut errors = Vec::new();
        while let Some(answered) = asked.join_next().await {
            match answered? {
                (Ok(view), way) => {
                    answers.ways.insert(view.host.clone(), way);
                    answers.views.push(view);
                }
                (Err(error), _) => errors.push(format!("{error:#}")),
            }
        }
        ensure!(!answers.views.is_empty(), "no manager answers: {}", errors.join("; "));
        Ok(answers)
    }

    /// Has `kind` done to `target`, a machine or a service of which the first ready machine is taken, by
    /// the manager of the host it is on. Gives back which machine it was.
    ///
    /// # Errors
    ///
    /// When there is no such machine, or its manager does not do it.
    pub async fn order(&self, answers: &Answers, kind: FaultKind, target: &str) -> anyhow::Result<MachineId> {
        let machines = || {
            answers.views.iter().flat_map(|view| {
                view.hosts.iter().flat_map(|host| host.machines.iter().map(move |machine| (host, machine)))
            })
        };
        let (host, machine) = machines()
            .find(|(_, machine)| machine.id.as_str() == target)
            .or_else(|| {
                machines()
                    .find(|(_, machine)| machine.service.as_str() == target && machine.phase == Phase::Ready)
            })
            .with_context(|| {
                format!("there is no machine `{target}` and no ready machine of a service of that name")
            })?;
        let way = match answers.ways.get(&host.name) {
            Some(way) => way.clone(),
            None => self.others.to_address(host.address)?,
        };
        let path = format!("/vms/{}/fault", machine.id);
        let answer =
            way.client.post(format!("{}{path}", way.url)).json(&FaultOrder { fault: kind }).send().await;
        let url = format!("{}{path}", way.named);
        let answer = answer.with_context(|| format!("POST {url}"))?;
        let status = answer.status();
        if !status.is_success() {
            let detail = answer.json::<Problem>().await.map(|problem| problem.detail).unwrap_or_default();
            let hint = match status.as_u16() {
                404 => " (faults can be ordered only with `chaos = true`)",
                401 | 403 => {
                    " (--help has the ways to prove that it may be ordered: --token-file, or unix: on its host)"
                }
                _ => "",
            };
            bail!("POST {url} answered {status}: {detail}{hint}");
        }
        Ok(machine.id.clone())
    }

    /// Asks all managers until one shows that the fault is over.
    pub async fn recovered(&self, rule: &Rule) -> ClusterView {
        let begun = Instant::now();
        let damage_anywhere = Arc::new(AtomicBool::new(false));
        let mut watches = JoinSet::new();
        // One by one they would wait for each other's timeouts.
        for way in self.ways.clone() {
            let (rule, damage_anywhere) = (rule.clone(), damage_anywhere.clone());
            watches.spawn(async move {
                let mut damage_here = false;
                loop {
                    if let Ok(view) = view(&way).await {
                        if !view.whole {
                            damage_here = true;
                            damage_anywhere.store(true, Ordering::Relaxed);
                        }
                        let damage_anywhere = damage_anywhere.load(Ordering::Relaxed);
                        let seen = Seen { since: begun.elapsed(), damage_here, damage_anywhere };
                        if rule.is_met(&view, seen) {
                            return view;
                        }
                    }
                    sleep(POLL).await;
                }
            });
        }
        loop {
            match watches.join_next().await {
                Some(Ok(view)) => return view,
                Some(Err(_)) => {}
                // Every watch died; the caller's timeout decides.
                None => std::future::pending().await,
            }
        }
    }
}

async fn view(way: &Way) -> anyhow::Result<ClusterView> {
    let answer = way.client.get(format!("{}/cluster", way.url)).send().await;
    let url = format!("{}/cluster", way.named);
    let answer = answer.with_context(|| format!("GET {url}"))?;
    ensure!(answer.status().is_success(), "GET {url} answered {}", answer.status());
    answer.json().await.with_context(|| format!("GET {url} did not answer with a cluster"))
}

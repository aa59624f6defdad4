//! What the managers say of the cluster, and what they are told to break.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use http::StatusCode;
use tokio::task::JoinSet;
use tokio::time::sleep;
use wire::cluster::{ClusterView, FaultOrder, HostView, MachineView, Phase};
use wire::{HostName, MachineId, Problem};

use super::recovery::{Rule, Seen};
use super::spec::{FaultSpec, Order, What};
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

/// What a manager that refuses says, and what can be done about it.
fn refusal(way: &Way, path: &str, status: StatusCode, detail: &str) -> String {
    let hint = match status.as_u16() {
        404 => " (faults can be ordered only with `chaos = true`)",
        401 | 403 => {
            " (--help has the ways to prove that it may be ordered: --token-file, or unix: on its host)"
        }
        _ => "",
    };
    format!("POST {}{path} answered {status}: {detail}{hint}", way.named)
}

impl Answers {
    /// All machines that any manager shows, with their hosts.
    fn machines(&self) -> impl Iterator<Item = (&HostView, &MachineView)> {
        self.views.iter().flat_map(|view| {
            view.hosts.iter().flat_map(|host| host.machines.iter().map(move |machine| (host, machine)))
        })
    }

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

    /// Refuses faults that name no machine, or whose managers would not do them, before anything is done.
    ///
    /// # Errors
    ///
    /// Says which fault it is, and what could be done.
    pub async fn check(&self, answers: &Answers, specs: &[FaultSpec]) -> anyhow::Result<()> {
        for spec in specs {
            let What::Order { order, target } = &spec.what else { continue };
            let named = answers.machines().find(|(_, machine)| {
                machine.id.as_str() == target.as_str() || machine.service.as_str() == target.as_str()
            });
            let Some((host, machine)) = named else {
                let names: BTreeSet<&str> = answers
                    .machines()
                    .flat_map(|(_, machine)| [machine.id.as_str(), machine.service.as_str()])
                    .collect();
                let question = kit::guess::question(target, names.iter().copied());
                let all = names.into_iter().collect::<Vec<_>>().join(", ");
                bail!("--fault \"{spec}\" names no machine and no service{question}; there are: {all}");
            };
            if matches!(order, Order::Harm(_)) {
                // An order that says nothing is refused as such, but only by a manager that would take one.
                let path = format!("/vms/{}/fault", machine.id);
                let way = self.way(answers, host)?;
                let (status, detail) = self.post(&way, &path, &serde_json::json!({})).await?;
                if [401, 403, 404].contains(&status.as_u16()) {
                    bail!("--fault \"{spec}\": {}", refusal(&way, &path, status, &detail));
                }
            }
        }
        Ok(())
    }

    /// Has `order` done to `target`, a machine or a service of which the first ready machine is taken, by
    /// the manager of the host it is on, who undoes it after `ttl`. Gives back which machine it was.
    ///
    /// # Errors
    ///
    /// When there is no such machine, or its manager does not do it.
    pub async fn order(
        &self,
        answers: &Answers,
        order: Order,
        target: &str,
        ttl: Option<Duration>,
    ) -> anyhow::Result<MachineId> {
        let (host, machine) = answers
            .machines()
            .find(|(_, machine)| machine.id.as_str() == target)
            .or_else(|| {
                answers
                    .machines()
                    .find(|(_, machine)| machine.service.as_str() == target && machine.phase == Phase::Ready)
            })
            .with_context(|| {
                format!("there is no machine `{target}` and no ready machine of a service of that name")
            })?;
        let way = self.way(answers, host)?;
        let ttl_ms = ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
        let (path, body) = match order {
            Order::Harm(fault) => {
                (format!("/vms/{}/fault", machine.id), serde_json::to_value(FaultOrder { fault, ttl_ms })?)
            }
            Order::Replace => (format!("/vms/{}/replace", machine.id), serde_json::json!({})),
        };
        let (status, detail) = self.post(&way, &path, &body).await?;
        if !status.is_success() {
            bail!(refusal(&way, &path, status, &detail));
        }
        Ok(machine.id.clone())
    }

    fn way(&self, answers: &Answers, host: &HostView) -> anyhow::Result<Way> {
        match answers.ways.get(&host.name) {
            Some(way) => Ok(way.clone()),
            None => self.others.to_address(host.address),
        }
    }

    /// The status of the answer and, if it is a problem, its detail.
    async fn post(
        &self,
        way: &Way,
        path: &str,
        body: &serde_json::Value,
    ) -> anyhow::Result<(StatusCode, String)> {
        let answer = way.client.post(format!("{}{path}", way.url)).json(body).send().await;
        let answer = answer.with_context(|| format!("POST {}{path}", way.named))?;
        let status = answer.status();
        let detail = answer.json::<Problem>().await.map(|problem| problem.detail).unwrap_or_default();
        Ok((status, detail))
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

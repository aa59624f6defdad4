//! What the managers say of the cluster.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio::task::JoinSet;
use tokio::time::sleep;
use wire::HostName;
use wire::cluster::{ClusterView, HostView, MachineView};

use super::recovery::{Rule, Seen};
use super::watch::InForce;
use super::way::{Way, Ways};

/// The managers that may be asked.
#[derive(Clone, Debug)]
pub struct Managers {
    ways: Vec<Way>,
    pub(super) others: Ways,
}

/// What the managers said at one moment.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// The cluster as each of them sees it.
    pub views: Vec<ClusterView>,
    /// How the manager of a host was reached.
    pub(super) ways: BTreeMap<HostName, Way>,
}

/// How often each manager is asked whether all is well.
const POLL: Duration = Duration::from_millis(25);

impl Answers {
    /// All machines that any manager shows, with their hosts.
    pub(super) fn machines(&self) -> impl Iterator<Item = (&HostView, &MachineView)> {
        self.views.iter().flat_map(|view| {
            view.hosts.iter().flat_map(|host| host.machines.iter().map(move |machine| (host, machine)))
        })
    }

    /// All hosts that any manager shows.
    pub(super) fn hosts(&self) -> impl Iterator<Item = &HostView> {
        self.views.iter().flat_map(|view| &view.hosts)
    }

    /// The host called so.
    pub(super) fn host(&self, name: &str) -> Option<&HostView> {
        self.hosts().find(|host| host.name.as_str() == name)
    }

    /// What makes the machines, by host.
    pub fn drivers(&self) -> BTreeMap<HostName, String> {
        self.hosts().map(|host| (host.name.clone(), host.driver.clone())).collect()
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

    /// Asks all managers until one shows that the fault is over.
    pub async fn recovered(&self, rule: &Rule, in_force: &InForce) -> ClusterView {
        let begun = Instant::now();
        let damage_anywhere = Arc::new(AtomicBool::new(false));
        let mut watches = JoinSet::new();
        // One by one they would wait for each other's timeouts.
        for way in self.ways.clone() {
            let (rule, in_force) = (rule.clone(), in_force.clone());
            let damage_anywhere = damage_anywhere.clone();
            watches.spawn(async move {
                let mut damage_here = false;
                loop {
                    if let Ok(view) = view(&way).await {
                        if !view.whole {
                            damage_here = true;
                            damage_anywhere.store(true, Ordering::Relaxed);
                        }
                        let damage_anywhere = damage_anywhere.load(Ordering::Relaxed);
                        let several = in_force.several();
                        let seen = Seen { since: begun.elapsed(), damage_here, damage_anywhere, several };
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

//! What managers are told to break, and to mend.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, bail};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use wire::Problem;
use wire::cluster::{FaultKind, FaultOrder, HostView, MachineView, Phase};
use wire::host_faults::{HostFaultBegun, HostFaultOrder, HostFaults};

use super::cluster::{Answers, Managers};
use super::recovery::Victim;
use super::spec::{FaultSpec, Order, What};
use super::way::Way;

/// Where a manager takes orders that concern its host.
const HOST: &str = "/host/fault";

/// What was done.
#[derive(Debug)]
pub struct Done {
    /// To whom.
    pub victim: Victim,
    /// So long after it was ordered.
    pub lead: Duration,
}

/// A manager's answer: its status, and what it says if it is a problem, or its text.
struct Answer {
    status: StatusCode,
    detail: String,
    text: String,
}

/// What a manager that refuses says, and what can be done about it.
fn refusal(way: &Way, asked: &str, answer: &Answer) -> String {
    let hint = match answer.status.as_u16() {
        404 => " (faults can be ordered only with `chaos = true`)",
        401 | 403 => {
            " (--help has the ways to prove that it may be ordered: --token-file, or unix: on its host)"
        }
        _ => "",
    };
    let Answer { status, detail, .. } = answer;
    let (method, path) = asked.split_once(' ').unwrap_or(("", asked));
    format!("{method} {}{path} answered {status}: {detail}{hint}", way.named)
}

impl Managers {
    /// Refuses faults that name nobody, or whose managers would not do them, before anything is done.
    ///
    /// # Errors
    ///
    /// Says which fault it is, and what could be done.
    pub async fn check(&self, answers: &Answers, specs: &[FaultSpec]) -> anyhow::Result<()> {
        let mut checked = BTreeSet::new();
        for spec in specs {
            let What::Order { order, target } = &spec.what else { continue };
            // One that comes again and again is the same each time.
            if checked.insert((order.name(), target)) {
                let checked = match order {
                    Order::Host(_) | Order::Heal => self.check_host(answers, *order, target).await,
                    Order::Harm(_) | Order::Replace => self.check_machine(answers, *order, target).await,
                };
                checked.with_context(|| format!("--fault \"{spec}\""))?;
            }
        }
        Ok(())
    }

    async fn check_machine(&self, answers: &Answers, order: Order, target: &str) -> anyhow::Result<()> {
        let named = answers
            .machines()
            .find(|(_, machine)| machine.id.as_str() == target || machine.service.as_str() == target);
        let Some((host, machine)) = named else {
            let names: BTreeSet<&str> = answers
                .machines()
                .flat_map(|(_, machine)| [machine.id.as_str(), machine.service.as_str()])
                .collect();
            bail!("it names no machine and no service{}", choice(target, &names));
        };
        if let Order::Harm(_) = order {
            // An order that says nothing is refused as such, but only by a manager that would take one.
            let path = format!("/vms/{}/fault", machine.id);
            let way = self.way(answers, host)?;
            let answer = ask(&way, Method::POST, &path, Some(&json!({}))).await?;
            if [401, 403, 404].contains(&answer.status.as_u16()) {
                bail!(refusal(&way, &format!("POST {path}"), &answer));
            }
        }
        Ok(())
    }

    async fn check_host(&self, answers: &Answers, order: Order, target: &str) -> anyhow::Result<()> {
        let Some(host) = answers.host(target) else {
            let names: BTreeSet<&str> = answers.hosts().map(|host| host.name.as_str()).collect();
            bail!("it names no host{}", choice(target, &names));
        };
        let way = self.way(answers, host)?;
        let answer = ask(&way, Method::GET, HOST, None).await?;
        if !answer.status.is_success() {
            bail!(refusal(&way, &format!("GET {HOST}"), &answer));
        }
        let can: HostFaults = serde_json::from_str(&answer.text)
            .with_context(|| format!("GET {}{HOST} did not answer with faults", way.named))?;
        match order {
            Order::Host(fault) if !can.possible.contains(&fault) => {
                bail!("host {target} cannot do that: {}", can.why_not.unwrap_or_default())
            }
            _ => Ok(()),
        }
    }

    /// Has `order` done to `target` by the manager of the host it is on, who undoes it after `ttl`. The target is a
    /// host, or else a machine, or a service of which the first ready machine is taken.
    ///
    /// # Errors
    ///
    /// When there is no such machine or host, or its manager does not do it.
    pub async fn order(
        &self,
        answers: &Answers,
        order: Order,
        target: &str,
        ttl: Option<Duration>,
    ) -> anyhow::Result<Done> {
        let ttl_ms = ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
        let (host, victim, method, path, body) = match order {
            Order::Harm(fault) => {
                let (host, machine) = machine_of(answers, target)?;
                let body = serde_json::to_value(FaultOrder { fault, ttl_ms })?;
                let path = format!("/vms/{}/fault", machine.id);
                (host, Victim::Machine(machine.id.clone()), Method::POST, path, Some(body))
            }
            Order::Replace => {
                let (host, machine) = machine_of(answers, target)?;
                let path = format!("/vms/{}/replace", machine.id);
                (host, Victim::Machine(machine.id.clone()), Method::POST, path, Some(json!({})))
            }
            Order::Host(_) | Order::Heal => {
                let host = answers.host(target).with_context(|| format!("there is no host `{target}`"))?;
                let (method, body) = match order {
                    Order::Host(fault) => {
                        let order = HostFaultOrder { fault, ttl_ms: ttl_ms.unwrap_or_default() };
                        (Method::POST, Some(serde_json::to_value(order)?))
                    }
                    _ => (Method::DELETE, None),
                };
                (host, Victim::Host(host.name.clone()), method, HOST.to_owned(), body)
            }
        };
        let way = self.way(answers, host)?;
        let asked = format!("{method} {path}");
        let answer = ask(&way, method, &path, body.as_ref()).await?;
        if !answer.status.is_success() {
            bail!(refusal(&way, &asked, &answer));
        }
        let begun = serde_json::from_str::<HostFaultBegun>(&answer.text);
        let lead = Duration::from_millis(begun.map(|begun| begun.in_ms).unwrap_or_default());
        Ok(Done { victim, lead })
    }

    /// Undoes what was done to `victim`, if its manager can be reached and it is still there.
    ///
    /// # Errors
    ///
    /// When it cannot.
    pub async fn undo(&self, answers: &Answers, victim: &Victim) -> anyhow::Result<()> {
        match victim {
            Victim::Machine(id) => {
                self.order(answers, Order::Harm(FaultKind::Thaw), id.as_str(), None).await?;
            }
            Victim::Host(name) => {
                self.order(answers, Order::Heal, name.as_str(), None).await?;
            }
            Victim::Unknown => {}
        }
        Ok(())
    }

    fn way(&self, answers: &Answers, host: &HostView) -> anyhow::Result<Way> {
        match answers.ways.get(&host.name) {
            Some(way) => Ok(way.clone()),
            None => self.others.to_address(host.address),
        }
    }
}

fn machine_of<'a>(answers: &'a Answers, target: &str) -> anyhow::Result<(&'a HostView, &'a MachineView)> {
    let by_name = answers.machines().find(|(_, machine)| machine.id.as_str() == target);
    let of_service = || {
        answers
            .machines()
            .find(|(_, machine)| machine.service.as_str() == target && machine.phase == Phase::Ready)
    };
    by_name.or_else(of_service).with_context(|| {
        format!("there is no machine `{target}` and no ready machine of a service of that name")
    })
}

fn choice(target: &str, names: &BTreeSet<&str>) -> String {
    let question = kit::guess::question(target, names.iter().copied());
    format!("{question}; there are: {}", names.iter().copied().collect::<Vec<_>>().join(", "))
}

async fn ask(way: &Way, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Answer> {
    let what = || format!("{method} {}{path}", way.named);
    let mut request = way.client.request(method.clone(), format!("{}{path}", way.url));
    if let Some(body) = body {
        request = request.json(body);
    }
    let answer = request.send().await.with_context(what)?;
    let status = answer.status();
    let text = answer.text().await.with_context(what)?;
    let detail = serde_json::from_str::<Problem>(&text).map(|problem| problem.detail).unwrap_or_default();
    Ok(Answer { status, detail, text })
}

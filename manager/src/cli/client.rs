//! Asks a manager over its API.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use reqwest::{Method, Response, StatusCode, Url, header};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use wire::Problem;
use wire::cluster::{CreateMachine, DrainOrder, MachineView};

use super::print::line;
use super::watch::WatchArgs;
use super::way::Way;
use super::{Output, table};
use crate::api::console;

/// A manager answers within this, or there is none.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Something was typed that cannot be meant.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct Usage(String);

impl Usage {
    pub(super) fn new(what: &str) -> Self {
        Usage(what.to_owned())
    }
}

/// What can be done with machines.
#[derive(Subcommand, Debug)]
pub enum VmCommand {
    /// List this host's machines.
    List(WatchArgs),
    /// One more machine of a service.
    Create {
        /// The service.
        service: String,
    },
    /// One machine less: it is drained, stopped and taken away.
    Delete {
        /// The machine's name.
        id: String,
    },
    /// Build a machine anew at its address: it is drained and stopped first, a balancer hands its public
    /// addresses over.
    Replace {
        /// The machine's name.
        id: String,
    },
    /// Print the end of what a machine wrote to its console.
    Logs {
        /// The machine's name.
        id: String,
    },
    /// Connect this terminal with a machine's console; Ctrl and ] leaves it.
    Console {
        /// The machine's name.
        id: String,
    },
}

/// A client of one manager.
pub struct Client {
    way: Way,
    runtime: tokio::runtime::Runtime,
    output: Output,
}

impl Client {
    /// A client of the manager at `url`, or of the one that the file at `config` configures: by its socket
    /// where that is on this host.
    ///
    /// # Errors
    ///
    /// When neither says where the manager is, or what proves who we are cannot be used.
    pub fn new(url: Option<&str>, config: &Path, output: Output) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Client { way: Way::find(url, config)?, runtime, output })
    }

    /// `manager vm …`.
    ///
    /// # Errors
    ///
    /// What the manager refused, in its words.
    pub fn vm(&self, command: &VmCommand) -> Result<()> {
        match command {
            VmCommand::List(watch) => watch.show(|| {
                let machines: Vec<MachineView> = self.ask(Method::GET, "/vms", None::<&()>)?;
                self.output.text(&machines, |machines| table::machines(machines, self.output.is_wide()))
            }),
            VmCommand::Create { service } => {
                let order = CreateMachine { service: service.as_str().into() };
                let machine: MachineView = self.ask(Method::POST, "/vms", Some(&order))?;
                self.print(&machine, |machine| {
                    format!("{} is being created at {}", machine.id, machine.address)
                })
            }
            VmCommand::Delete { id } => {
                let machine: MachineView = self.ask(Method::DELETE, &path_of("/vms", id), None::<&()>)?;
                self.print(&machine, |machine| format!("{} is being drained", machine.id))
            }
            VmCommand::Replace { id } => {
                let path = format!("{}/replace", path_of("/vms", id));
                let machine: MachineView = self.ask(Method::POST, &path, None::<&()>)?;
                self.print(&machine, |machine| format!("{} is being drained, then built anew", machine.id))
            }
            VmCommand::Logs { id } => {
                print!("{}", self.text(&format!("{}/logs", path_of("/vms", id)))?);
                Ok(())
            }
            VmCommand::Console { id } => self.runtime.block_on(self.console(id)),
        }
    }

    /// `manager drain` and `manager undrain`.
    ///
    /// # Errors
    ///
    /// What the manager refused, in its words.
    pub fn drain(&self, id: &str, on: bool) -> Result<()> {
        let path = format!("{}/drain", path_of("/vms", id));
        let machine: MachineView = self.ask(Method::PUT, &path, Some(&DrainOrder { on }))?;
        self.print(&machine, |machine| match on {
            true => {
                format!("{} gets nothing new; manager undrain {} takes that back", machine.id, machine.id)
            }
            false => format!("{} gets requests again", machine.id),
        })
    }

    async fn console(&self, id: &str) -> Result<()> {
        let url = format!("{}{}/console", self.url(), path_of("/vms", id));
        let request = self
            .way
            .client(self.url())
            .get(url)
            .header(header::CONNECTION, "upgrade")
            .header(header::UPGRADE, console::PROTOCOL);
        let response = self.accepted(self.url(), request.send().await).await?;
        super::console::converse(response.upgrade().await?).await
    }

    /// `manager forget`.
    ///
    /// # Errors
    ///
    /// What the manager refused, in its words.
    pub fn forget(&self, host: &str) -> Result<()> {
        self.runtime.block_on(self.send(Method::DELETE, &path_of("/peers", host), None::<&()>))?;
        self.print(&host, |host| format!("{host} is forgotten by {}", self.way.named(self.url())))
    }

    pub(super) fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T> {
        self.ask_at(self.url(), method, path, body)
    }

    /// Asks the manager at `url`.
    pub(super) fn ask_at<T: DeserializeOwned>(
        &self,
        url: &str,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T> {
        self.runtime.block_on(async { Ok(self.send_to(url, method, path, body).await?.json().await?) })
    }

    async fn send(&self, method: Method, path: &str, body: Option<&impl Serialize>) -> Result<Response> {
        self.send_to(self.url(), method, path, body).await
    }

    async fn send_to(
        &self,
        url: &str,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Response> {
        let mut request = self.way.client(url).request(method, format!("{url}{path}")).timeout(TIMEOUT);
        if let Some(body) = body {
            request = request.json(body);
        }
        self.accepted(url, request.send().await).await
    }

    /// The answer of the manager at `url`, unless it refused.
    pub(super) async fn accepted(&self, url: &str, answer: reqwest::Result<Response>) -> Result<Response> {
        let response = match answer {
            Ok(response) => response,
            // What TLS has to say is clearer than what the layers above make of it.
            Err(error) => match kit::tls::explain(&error) {
                Some(words) => bail!("{}: {words}", self.unreachable(url)),
                None => return Err(error).with_context(|| self.unreachable(url)),
            },
        };
        if response.status().is_success() || response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(response);
        }
        let status = response.status();
        match response.json::<Problem>().await {
            Ok(problem) => bail!("{}", problem.detail),
            Err(_) => bail!("{} answered {status}", self.way.named(url)),
        }
    }

    pub(super) fn url(&self) -> &str {
        &self.way.url
    }

    /// Where the manager of the host at `address` is: all have their API on the same port.
    pub(super) fn manager_at(&self, address: IpAddr) -> String {
        self.way.manager_at(address)
    }

    fn unreachable(&self, url: &str) -> String {
        let advice = match url.starts_with("https://") {
            true => "does it run there, and does HOLDFAST_CA name the file with this cluster's CA?",
            false => "does it run there? --manager names another",
        };
        format!("cannot ask the manager at {}: {advice}", self.way.named(url))
    }

    pub(super) fn output(&self) -> Output {
        self.output
    }

    pub(super) fn print<T: Serialize>(&self, value: &T, table: impl FnOnce(&T) -> String) -> Result<()> {
        line(&self.output.text(value, table)?)
    }

    /// What the manager answers at `path`, as it is.
    pub(super) fn text(&self, path: &str) -> Result<String> {
        self.block_on(async { Ok(self.send(Method::GET, path, None::<&()>).await?.text().await?) })
    }

    /// A question at `path` without a limit of time.
    pub(super) fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.way.client(self.url()).get(format!("{}{path}", self.url()))
    }

    pub(super) fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }
}

/// The path of `name` in `collection`. What somebody types is one segment of it, whatever it contains.
pub(super) fn path_of(collection: &str, name: &str) -> String {
    let mut url = Url::parse("http://localhost");
    if let Ok(Ok(mut segments)) = url.as_mut().map(Url::path_segments_mut) {
        segments.push(name);
    }
    let name = url.as_ref().map_or("/", Url::path);
    format!("{collection}{name}")
}

#[cfg(test)]
mod tests {
    use super::path_of;

    #[test]
    fn a_name_leads_nowhere_else() {
        assert_eq!(path_of("/vms", "a-lb"), "/vms/a-lb");
        assert_eq!(path_of("/peers", "../vms/a-lb"), "/peers/..%2Fvms%2Fa-lb");
        assert_eq!(path_of("/peers", "b?x#y z%"), "/peers/b%3Fx%23y%20z%25");
        assert_eq!(path_of("/peers", ".."), "/peers/", "there is no such path");
        assert_eq!(path_of("/peers", ""), "/peers/");
    }
}

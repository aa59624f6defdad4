//! Asks a manager over its API.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use reqwest::{Method, Response, StatusCode, header};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use wire::Problem;
use wire::cluster::{ClusterEvent, ClusterView, CreateMachine, MachineView};

use super::{Output, table};
use crate::api::console;
use crate::config::Config;

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
    List,
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
    url: String,
    http: reqwest::Client,
    runtime: tokio::runtime::Runtime,
    output: Output,
}

impl Client {
    /// A client of the manager at `url`, or of the one that the file at `config` configures.
    ///
    /// # Errors
    ///
    /// When neither says where the manager is.
    pub fn new(url: Option<&str>, config: &Path, output: Output) -> Result<Self> {
        let url = match url {
            Some(url) => {
                let parsed = reqwest::Url::parse(url).map_err(|error| {
                    Usage(format!("--manager {url}: {error}; expected http://ADDRESS:PORT"))
                })?;
                parsed.as_str().trim_end_matches('/').to_owned()
            }
            None => {
                let config = Config::load(config).context(
                    "which manager? name it with --manager http://ADDRESS:PORT, or its file with --config",
                )?;
                format!("http://{}:{}", config.address, config.api_port)
            }
        };
        let http = reqwest::Client::builder().connect_timeout(TIMEOUT).no_proxy().build()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Client { url, http, runtime, output })
    }

    /// `manager status`.
    ///
    /// # Errors
    ///
    /// When the manager cannot be asked.
    pub fn status(&self) -> Result<()> {
        let view: ClusterView = self.ask(Method::GET, "/cluster", None::<&()>)?;
        self.print(&view, table::cluster)
    }

    /// `manager vm …`.
    ///
    /// # Errors
    ///
    /// What the manager refused, in its words.
    pub fn vm(&self, command: &VmCommand) -> Result<()> {
        match command {
            VmCommand::List => {
                let machines: Vec<MachineView> = self.ask(Method::GET, "/vms", None::<&()>)?;
                self.print(&machines, |machines| table::machines(machines))
            }
            VmCommand::Create { service } => {
                let order = CreateMachine { service: service.as_str().into() };
                let machine: MachineView = self.ask(Method::POST, "/vms", Some(&order))?;
                self.print(&machine, |machine| {
                    format!("{} is being created at {}", machine.id, machine.address)
                })
            }
            VmCommand::Delete { id } => {
                let machine: MachineView = self.ask(Method::DELETE, &format!("/vms/{id}"), None::<&()>)?;
                self.print(&machine, |machine| format!("{} is being drained", machine.id))
            }
            VmCommand::Replace { id } => {
                let path = format!("/vms/{id}/replace");
                let machine: MachineView = self.ask(Method::POST, &path, None::<&()>)?;
                self.print(&machine, |machine| format!("{} is being drained, then built anew", machine.id))
            }
            VmCommand::Logs { id } => {
                let text = self.runtime.block_on(async {
                    Ok::<_, anyhow::Error>(
                        self.send(Method::GET, &format!("/vms/{id}/logs"), None::<&()>).await?.text().await?,
                    )
                })?;
                print!("{text}");
                Ok(())
            }
            VmCommand::Console { id } => self.runtime.block_on(self.console(id)),
        }
    }

    async fn console(&self, id: &str) -> Result<()> {
        let url = format!("{}/vms/{id}/console", self.url);
        let request = self
            .http
            .get(url)
            .header(header::CONNECTION, "upgrade")
            .header(header::UPGRADE, console::PROTOCOL);
        let response = Self::accepted(&self.url, request.send().await).await?;
        super::console::converse(response.upgrade().await?).await
    }

    /// `manager events`: until interrupted.
    ///
    /// # Errors
    ///
    /// When the manager cannot be asked, or goes away.
    pub fn events(&self) -> Result<()> {
        self.runtime.block_on(async {
            let url = format!("{}/events", self.url);
            let mut response = self.http.get(url).send().await.with_context(|| unreachable(&self.url))?;
            let mut text = Vec::new();
            while let Some(chunk) = response.chunk().await? {
                text.extend_from_slice(&chunk);
                while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = text.drain(..=end).collect();
                    if let Some(data) = line.strip_prefix(b"data:") {
                        self.print(&serde_json::from_slice::<ClusterEvent>(data)?, table::event)?;
                    }
                }
            }
            bail!("the manager ended the stream")
        })
    }

    /// `manager forget`.
    ///
    /// # Errors
    ///
    /// What the manager refused, in its words.
    pub fn forget(&self, host: &str) -> Result<()> {
        self.runtime.block_on(self.send(Method::DELETE, &format!("/peers/{host}"), None::<&()>))?;
        self.print(&host, |host| format!("{host} is forgotten by {}", self.url))
    }

    fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T> {
        self.ask_at(&self.url, method, path, body)
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
        self.send_to(&self.url, method, path, body).await
    }

    async fn send_to(
        &self,
        url: &str,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Response> {
        let mut request = self.http.request(method, format!("{url}{path}")).timeout(TIMEOUT);
        if let Some(body) = body {
            request = request.json(body);
        }
        Self::accepted(url, request.send().await).await
    }

    /// The answer of the manager at `url`, unless it refused.
    async fn accepted(url: &str, answer: reqwest::Result<Response>) -> Result<Response> {
        let response = answer.with_context(|| unreachable(url))?;
        if response.status().is_success() || response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(response);
        }
        let status = response.status();
        match response.json::<Problem>().await {
            Ok(problem) => bail!("{}", problem.detail),
            Err(_) => bail!("{url} answered {status}"),
        }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Where the manager of the host at `address` is: all have their API on the same port.
    pub(super) fn manager_at(&self, address: IpAddr) -> String {
        let port = reqwest::Url::parse(&self.url).ok().and_then(|url| url.port_or_known_default());
        format!("http://{}", SocketAddr::from((address, port.unwrap_or(80))))
    }

    pub(super) fn output(&self) -> Output {
        self.output
    }

    pub(super) fn print<T: Serialize>(&self, value: &T, table: impl FnOnce(&T) -> String) -> Result<()> {
        match self.output {
            Output::Table => println!("{}", table(value)),
            Output::Json => println!("{}", serde_json::to_string(value)?),
        }
        Ok(())
    }
}

fn unreachable(url: &str) -> String {
    format!("cannot ask the manager at {url}: does it run there? --manager names another")
}

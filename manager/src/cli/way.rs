//! The way to a manager: its socket, its port, or its TLS port with a token.
//!
//! On the manager's own host the socket needs no proof; who may open it is root. From elsewhere, `--manager
//! https://…` takes the token in `HOLDFAST_TOKEN` and trusts the CA in the file that `HOLDFAST_CA` names. Neither
//! is an argument, because every user of a host can read those. To the managers of other hosts, root of a host of
//! the cluster is that host.

use std::env;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Certificate, ClientBuilder, Url};

use super::client::Usage;
use crate::access::listen::SOCKET;
use crate::config::Config;
use crate::pki::keeper::Pki;

/// Where a token for `https` is.
const TOKEN: &str = "HOLDFAST_TOKEN";

/// Where the file with the CA's certificates (PEM) is named.
const CA: &str = "HOLDFAST_CA";

/// A manager that is there takes a connection within this.
const CONNECT: Duration = Duration::from_secs(5);

/// How one manager is reached, and how those of other hosts are.
pub(super) struct Way {
    /// The manager that is asked.
    pub(super) url: String,
    /// The socket, where that is the way.
    socket: Option<PathBuf>,
    own: reqwest::Client,
    others: reqwest::Client,
    scheme: &'static str,
    port: u16,
}

impl Way {
    /// The way to the manager at `url`, or to the one that the file at `config` configures.
    pub(super) fn find(url: Option<&str>, config: &Path) -> Result<Self> {
        match url {
            Some(url) => Self::to(url),
            None => Self::here(config),
        }
    }

    fn to(url: &str) -> Result<Self> {
        let parsed = Url::parse(url).ok().filter(|parsed| parsed.has_host());
        let parsed = parsed.with_context(|| {
            Usage::new(&format!("--manager {url}: expected http:// or https://ADDRESS:PORT"))
        })?;
        let client = match parsed.scheme() {
            "https" => secured()?.build()?,
            "http" if env::var_os(TOKEN).is_some() => {
                let message = format!(
                    "--manager {url}: {TOKEN} is set, and a token is not sent where everybody can read it: use \
                     https://, or unset it"
                );
                return Err(Usage::new(&message).into());
            }
            "http" => plain().build()?,
            _ => return Err(Usage::new(&format!("--manager {url}: expected http:// or https://")).into()),
        };
        Ok(Way {
            url: parsed.as_str().trim_end_matches('/').to_owned(),
            socket: None,
            own: client.clone(),
            others: client,
            scheme: if parsed.scheme() == "https" { "https" } else { "http" },
            port: parsed.port_or_known_default().unwrap_or(80),
        })
    }

    fn here(config: &Path) -> Result<Self> {
        let config = Config::load(config).context(
            "which manager? name it with --manager http://ADDRESS:PORT, or its file with --config",
        )?;
        let certified = certified(&config)?;
        let (scheme, port) =
            if certified.is_some() { ("https", config.tls_port) } else { ("http", config.api_port) };
        let others = certified.map_or_else(|| plain().build(), Ok)?;
        let socket = Some(config.state_dir.join(SOCKET)).filter(|path| answers(path));
        let (url, own) = match &socket {
            // The name is for the eye only: the connection goes to the socket.
            Some(path) => ("http://localhost".to_owned(), plain().unix_socket(path.as_path()).build()?),
            None => {
                (format!("http://{}", SocketAddr::new(config.address, config.api_port)), plain().build()?)
            }
        };
        Ok(Way { url, socket, own, others, scheme, port })
    }

    /// The client for the manager at `url`.
    pub(super) fn client(&self, url: &str) -> &reqwest::Client {
        if url == self.url { &self.own } else { &self.others }
    }

    /// Where the manager of the host at `address` is: all have their API on the same port.
    pub(super) fn manager_at(&self, address: IpAddr) -> String {
        format!("{}://{}", self.scheme, SocketAddr::from((address, self.port)))
    }

    /// The manager at `url`, for people.
    pub(super) fn named(&self, url: &str) -> String {
        match &self.socket {
            Some(path) if url == self.url => path.display().to_string(),
            _ => url.to_owned(),
        }
    }
}

/// The client that shows other hosts this host's certificate; none where the host belongs to no cluster, and for
/// those who may not read its key.
fn certified(config: &Config) -> Result<Option<reqwest::Client>> {
    let pki = Pki::new(config);
    if !pki.is_initialised() || pki.take_up().is_err() {
        return Ok(None);
    }
    let Some(live) = pki.live() else { return Ok(None) };
    Ok(Some(plain().https_only(true).tls_backend_preconfigured((*live.client()).clone()).build()?))
}

/// Whether the socket can be used: somebody listens, and we may.
fn answers(path: &Path) -> bool {
    UnixStream::connect(path).is_ok()
}

fn plain() -> ClientBuilder {
    reqwest::Client::builder().connect_timeout(CONNECT).no_proxy()
}

fn secured() -> Result<ClientBuilder> {
    let mut builder = plain().https_only(true);
    if let Some(path) = env::var_os(CA) {
        let path = PathBuf::from(path);
        let pem = fs::read(&path).with_context(|| format!("{CA}: {}", path.display()))?;
        let authorities =
            Certificate::from_pem_bundle(&pem).ok().filter(|authorities| !authorities.is_empty());
        let authorities = authorities
            .with_context(|| Usage::new(&format!("{CA}: {} has no certificates in PEM", path.display())))?;
        // Only these: no other authority speaks for a manager.
        builder = builder.tls_certs_only(authorities);
    }
    if let Some(token) = env::var_os(TOKEN) {
        let bearer = token.to_str().map(|token| format!("Bearer {}", token.trim()));
        let mut bearer = bearer
            .and_then(|bearer| HeaderValue::from_str(&bearer).ok())
            .with_context(|| Usage::new(&format!("{TOKEN}: that is no token")))?;
        bearer.set_sensitive(true);
        builder = builder.default_headers(HeaderMap::from_iter([(AUTHORIZATION, bearer)]));
    }
    Ok(builder)
}

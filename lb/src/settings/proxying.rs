//! The `[config]` and `[upstreams]` parts of the settings: what a manager pushes to a balancer that has one, and what
//! one without has from its file. The types and the checks are the same.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use kit::config::{ConfigError, Source, Spanned, read_file};
use serde::Deserialize;
use wire::actions::{ErrorPage, ErrorPages};
use wire::balancing::Secret;
use wire::checks::{Ask, HttpAsk};
use wire::clients::{ClientFrom, Forwarded, Network};
use wire::proxy_config::{PoolPolicy, ProxyConfig, Route};
use wire::rates::RateLimit;
use wire::tcp::TcpService;
use wire::upstreams::{Upstream, UpstreamSet, UpstreamState};
use wire::{EndpointId, HostName, PoolName, Problem};

use super::certificates::{self, CertificateFile};
use super::upstream_tls;
use crate::proxy::state::check::{self, MAX_PAGE};

/// What the file says of routes, pools and upstreams.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Proxying {
    /// Its `[config]`, of generation 0.
    pub config: Option<Arc<ProxyConfig>>,
    /// Its `[upstreams]`, of generation 0.
    pub upstreams: Option<Arc<UpstreamSet>>,
}

/// Routes, and how the pools they lead to are treated: what a manager pushes with `PUT /config`, where it has a
/// `generation` besides, and no files.
// A `ProxyConfig` as it is written.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct ConfigFile {
    /// The first route that matches a request decides.
    #[serde(default)]
    routes: Vec<Route>,
    /// How the pools are treated; a pool that is not named here is treated by the defaults.
    #[serde(default)]
    pools: BTreeMap<PoolName, PoolPolicy>,
    /// The pages of errors, where a route has none of its own for them.
    #[serde(default)]
    error_pages: ErrorPages,
    /// What clients are shown over TLS.
    #[serde(default)]
    certificates: Vec<Spanned<CertificateFile>>,
    /// What session tickets are encrypted with, the same on all balancers: new ones with the first. Each is a text of 32
    /// to 256 bytes.
    #[serde(default)]
    ticket_keys: Vec<Secret>,
    /// The proxies before this one that are believed when they say who a client is.
    #[serde(default)]
    trusted_proxies: Vec<Network>,
    /// Where they say it.
    #[serde(default)]
    client_from: ClientFrom,
    /// How upstreams are told of it.
    #[serde(default)]
    forwarded: Forwarded,
    /// Who may ask for anything; none: everybody. Others are refused with 403.
    #[serde(default)]
    allow: Vec<Network>,
    /// Who may not, whatever `allow` says.
    #[serde(default)]
    deny: Vec<Network>,
    /// How often clients may ask, all routes together.
    #[serde(default)]
    rate_limits: Vec<RateLimit>,
    /// Ports whose connections are passed on as they come.
    #[serde(default)]
    tcp: Vec<TcpService>,
}

/// `[upstreams]` as it is written.
pub(super) type UpstreamsFile = BTreeMap<PoolName, Vec<UpstreamFile>>;

/// One machine that requests can be sent to.
// An `Upstream` that needs no id.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct UpstreamFile {
    /// Its name in metrics, logs and overrides, different from those of all others; without it, its address and port.
    #[serde(default)]
    id: Option<EndpointId>,
    /// Where it listens. Names are not looked up.
    address: IpAddr,
    /// Its port, 1 to 65535.
    port: u16,
    /// Its share of the load relative to the others.
    #[serde(default = "default_weight")]
    weight: u32,
    /// The zone it is in; see `zone` of the file.
    #[serde(default)]
    zone: Option<HostName>,
    /// Used only while no other upstream of the pool can be.
    #[serde(default)]
    backup: bool,
    /// What is known of it.
    #[serde(default)]
    state: UpstreamState,
}

fn default_weight() -> u32 {
    1
}

impl From<UpstreamFile> for Upstream {
    fn from(file: UpstreamFile) -> Self {
        let UpstreamFile { id, address, port, weight, zone, backup, state } = file;
        let id = id.unwrap_or_else(|| EndpointId(SocketAddr::new(address, port).to_string()));
        let zone = zone.unwrap_or_else(|| "".into());
        Upstream { id, address, port, weight, zone, backup, state, checked_elsewhere: false }
    }
}

/// Both parts, checked: each for itself, whether the pools that the one names are in the other, and whether its ports are
/// not `taken`.
pub(super) fn check(
    source: &Source,
    config: Option<ConfigFile>,
    upstreams: Option<UpstreamsFile>,
    taken: &BTreeMap<u16, String>,
) -> Result<Proxying, ConfigError> {
    let upstreams = upstreams.map(|pools| {
        let pools = pools.into_iter();
        let all = |upstreams: Vec<UpstreamFile>| upstreams.into_iter().map(Upstream::from).collect();
        UpstreamSet { generation: 0, pools: pools.map(|(name, upstreams)| (name, all(upstreams))).collect() }
    });
    if let Some(set) = &upstreams {
        check::upstreams(set).map_err(|problem| wrong(source, "upstreams", &problem))?;
    }
    let config = config.map(|file| read(source, file)).transpose()?;
    if let Some(config) = &config {
        check::config(config).map_err(|problem| wrong(source, "config", &problem))?;
        check::ports_are_free(config, taken).map_err(|problem| wrong(source, "config", &problem))?;
    }
    if let (Some(config), Some(set)) = (&config, &upstreams) {
        check::pools_exist(config, set).map_err(|problem| wrong(source, "config", &problem))?;
    }
    Ok(Proxying { config: config.map(Arc::new), upstreams: upstreams.map(Arc::new) })
}

/// The objection that a document would be refused with, at its place in the file's `table`.
fn wrong(source: &Source, table: &str, problem: &Problem) -> ConfigError {
    let field = problem.parameter.as_deref().unwrap_or_default();
    let inner = if table == "upstreams" { field.strip_prefix("pools").unwrap_or(field) } else { field };
    let path = format!("{table}.{}", inner.trim_start_matches('.'));
    source.error_in(path.trim_end_matches('.'), &problem.detail)
}

/// The configuration with what its files contain.
fn read(source: &Source, file: ConfigFile) -> Result<ProxyConfig, ConfigError> {
    let mut config = ProxyConfig {
        routes: file.routes,
        pools: file.pools,
        error_pages: file.error_pages,
        certificates: certificates::check(source, file.certificates, &file.ticket_keys)?,
        ticket_keys: file.ticket_keys,
        trusted_proxies: file.trusted_proxies,
        client_from: file.client_from,
        forwarded: file.forwarded,
        allow: file.allow,
        deny: file.deny,
        rate_limits: file.rate_limits,
        tcp: file.tcp,
        ..ProxyConfig::default()
    };
    for (name, policy) in &mut config.pools {
        if let Some(tls) = &mut policy.tls {
            upstream_tls::read(source, tls, &format!("config.pools.{name}.tls"))?;
        }
        if let Ask::Http(HttpAsk { tls: Some(tls), .. }) = &mut policy.check.ask {
            upstream_tls::read(source, tls, &format!("config.pools.{name}.check.ask.http.tls"))?;
        }
    }
    read_pages(source, &mut config.error_pages, "config.error_pages")?;
    for (index, route) in config.routes.iter_mut().enumerate() {
        read_pages(source, &mut route.error_pages, &format!("config.routes[{index}].error_pages"))?;
    }
    Ok(config)
}

fn read_pages(source: &Source, pages: &mut ErrorPages, place: &str) -> Result<(), ConfigError> {
    for (key, page) in pages {
        let ErrorPage { body, file, .. } = page;
        let Some(path) = file.take() else { continue };
        let place = format!("{place}.{key}.file");
        if body.is_some() {
            return Err(source.error_in(&place, "expected one of body and file, found both"));
        }
        // Beside the settings, unless it says otherwise.
        let path = source.path().parent().unwrap_or(Path::new("")).join(path);
        let text = read_page(&path);
        let text = text.map_err(|error| format!("{} cannot be used: {error}", path.display()));
        *body = Some(text.map_err(|message| source.error_in(&place, &message))?);
    }
    Ok(())
}

fn read_page(path: &Path) -> Result<String, String> {
    let bytes = read_file(path, MAX_PAGE as u64)?;
    String::from_utf8(bytes).map_err(|_| "it is no text in UTF-8".to_owned())
}

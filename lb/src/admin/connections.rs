//! The connections of the TCP services, in the form that `ipvsadm -Ln` and `ipvsadm -Lnc` made familiar: what reads those
//! reads these.
//!
//! What differs is what is different here: connections may be passed on by the balancer itself (`Proxy`, where the kernel
//! does it by `Masq` or `Route`), a scheduler that IPVS does not have goes by our name, and the name of the service stands where
//! IPVS has flags.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use wire::PoolName;
use wire::balancing::Algorithm;
use wire::tcp::Forwarding;

use super::{Admin, Shared};
use crate::proxy::state::pool::{Member, Rank};
use crate::proxy::state::upstream::Upstream;
use crate::proxy::tcp::kernel::Forwarded;
use crate::proxy::tcp::service::Service;
use crate::proxy::tcp::streams::{Entry, Phase};

/// So many connections are listed one by one.
const MOST_LISTED: usize = 10_000;

/// The TCP services and the upstreams that their connections are at, as `ipvsadm -Ln` has it.
#[utoipa::path(get, path = "/connections", responses((status = 200, content_type = "text/plain", body = String)))]
pub(super) async fn connections(State(admin): Shared) -> impl IntoResponse {
    let forwarded = forwarded(&admin).await;
    text(services(&admin, &forwarded))
}

/// The connections of the TCP services one by one, at most 10,000, as `ipvsadm -Lnc` has them.
#[utoipa::path(get, path = "/connections/list", responses((status = 200, content_type = "text/plain", body = String)))]
pub(super) async fn list(State(admin): Shared) -> impl IntoResponse {
    let forwarded = forwarded(&admin).await;
    text(entries(&admin, &forwarded))
}

/// The connections that the kernel forwards. It may have many, and is asked on a thread of its own.
async fn forwarded(admin: &Admin) -> Vec<Forwarded> {
    let state = admin.state.clone();
    let asked = tokio::task::spawn_blocking(move || state.tcp.kernel.connections());
    match asked.await {
        Ok(Ok(all)) => all,
        // As a fault of its services it is in `/status`.
        Ok(Err(error)) => {
            tracing::warn!(error, "the connections that the kernel forwards are not known");
            Vec::new()
        }
        Err(error) => {
            tracing::error!(%error, "the connections that the kernel forwards were not asked for");
            Vec::new()
        }
    }
}

fn text(text: String) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text)
}

/// How many connections are open at an upstream, and how many of which one side has ended.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    active: u64,
    inactive: u64,
}

/// The connections of a service to one of our addresses, by upstream.
type Counts = BTreeMap<(SocketAddr, PoolName), Count>;

fn services(admin: &Admin, forwarded: &[Forwarded]) -> String {
    let tcp = &admin.state.tcp;
    let snapshot = admin.state.snapshot().clone();
    let mut counts: BTreeMap<(String, IpAddr), Counts> = BTreeMap::new();
    tcp.streams.each(usize::MAX, |entry| {
        let (Some(whose), Some(upstream)) = (entry.whose(), entry.upstream()) else { return };
        let key = (whose.service.described.name.to_string(), entry.local.ip());
        let count = counts.entry(key).or_default().entry((upstream.address, whose.pool.clone())).or_default();
        match entry.phase() {
            Phase::Arriving | Phase::Connecting | Phase::Open => count.active += 1,
            Phase::HalfClosed => count.inactive += 1,
        }
    });
    let kernel = |service: &Service| service.described.forwarding.is_in_kernel();
    for service in tcp.services().all().filter(|service| kernel(service)) {
        let Some(pool) = &service.described.pool else { continue };
        for one in forwarded.iter().filter(|one| one.local.port() == service.described.port) {
            let Some(upstream) = one.upstream else { continue };
            let key = (service.described.name.to_string(), one.local.ip());
            let count = counts.entry(key).or_default().entry((upstream, pool.clone())).or_default();
            if one.is_active { count.active += 1 } else { count.inactive += 1 }
        }
    }
    let mut text = format!(
        "Holdfast balancer version {} (connections={})\nProt LocalAddress:Port Scheduler Flags\n  \
         -> RemoteAddress:Port           Forward Weight ActiveConn InActConn\n",
        env!("CARGO_PKG_VERSION"),
        tcp.streams.count() + forwarded.len(),
    );
    let vips: BTreeSet<IpAddr> = admin.settings.vips.iter().map(|vip| vip.address).collect();
    for service in tcp.services().all() {
        let name = service.described.name.as_str();
        let used = counts.keys().filter(|(of, _)| of == name).map(|(_, address)| *address);
        let mut addresses: BTreeSet<IpAddr> = vips.iter().copied().chain(used).collect();
        if addresses.is_empty() {
            addresses.insert(Ipv4Addr::UNSPECIFIED.into());
        }
        for address in addresses {
            let here = counts.get(&(name.to_owned(), address));
            let given = kernel(service).then(|| tcp.kernel.given(service.described.port));
            let here = here.cloned().unwrap_or_default();
            at_address(&mut text, (service, address), (here, given), &snapshot.pools);
        }
    }
    text
}

/// What there is of `service` at one of our addresses. `given` are those whom the kernel gives new connections, where that
/// forwards.
fn at_address(
    text: &mut String,
    (service, address): (&Service, IpAddr),
    (mut left, given): (Counts, Option<BTreeSet<SocketAddr>>),
    pools: &BTreeMap<PoolName, Arc<crate::proxy::state::pool::Pool>>,
) {
    let described = &service.described;
    let named: BTreeSet<&PoolName> = described.pools().collect();
    let pools: Vec<_> = named.into_iter().filter_map(|name| pools.get(name)).collect();
    let scheduler =
        pools.first().map_or("-", |pool| scheduler(pool.policy.balance.algorithm, given.is_some()));
    let forward = forward(described.forwarding);
    let local = SocketAddr::new(address, described.port);
    // Text takes anything.
    let _ = writeln!(text, "TCP  {local} {scheduler} {}", described.name);
    for pool in pools {
        for member in pool.members().iter() {
            let at = (member.upstream.address, pool.name.clone());
            let count = left.remove(&at).unwrap_or_default();
            let weight = match &given {
                Some(given) if given.contains(&at.0) => member.weight,
                Some(_) => 0,
                None => weight(member),
            };
            remote(text, at.0, (forward, weight), count);
        }
    }
    // Those that have left, and have connections still.
    left.into_iter().for_each(|((address, _), count)| remote(text, address, (forward, 0), count));
}

fn remote(
    text: &mut String,
    address: SocketAddr,
    (forward, weight): (&str, u32),
    Count { active, inactive }: Count,
) {
    let _ = writeln!(text, "  -> {address:<28} {forward:<7} {weight:<6} {active:<10} {inactive:<10}");
}

/// What IPVS calls a way to pass connections on, where it has it.
fn forward(forwarding: Forwarding) -> &'static str {
    match forwarding {
        Forwarding::Proxy => "Proxy",
        Forwarding::Nftables | Forwarding::NftablesGateway => "Masq",
        Forwarding::NftablesDsr => "Route",
    }
}

/// What IPVS calls a way to spread connections, where it has it.
/// `in_kernel` there are two.
fn scheduler(algorithm: Algorithm, in_kernel: bool) -> &'static str {
    match algorithm {
        Algorithm::RingHash | Algorithm::Maglev if in_kernel => "mh",
        Algorithm::RoundRobin => "wrr",
        Algorithm::LeastRequests | Algorithm::PeakEwma if in_kernel => "wrr",
        Algorithm::LeastRequests => "wlc",
        Algorithm::Maglev => "mh",
        Algorithm::PeakEwma | Algorithm::RingHash => algorithm.name(),
    }
}

/// As with IPVS, who is given nothing new weighs nothing.
fn weight(member: &Member) -> u32 {
    let is_used = member.rank <= Rank::Suspect && !Upstream::is_ejected(&member.upstream);
    if is_used { member.weight } else { 0 }
}

fn entries(admin: &Admin, forwarded: &[Forwarded]) -> String {
    let streams = &admin.state.tcp.streams;
    let now = Instant::now();
    let mut text = "Holdfast connection entries\n\
                    pro expire state       source             virtual            destination\n"
        .to_owned();
    streams.each(MOST_LISTED, |entry| line(&mut text, entry, now));
    let room = MOST_LISTED.saturating_sub(streams.count());
    for one in forwarded.iter().take(room) {
        let destination = one.upstream.map_or_else(|| "-".to_owned(), |upstream| upstream.to_string());
        row(&mut text, one.expires, one.state, (one.client, one.local), &destination);
    }
    let more = (streams.count() + forwarded.len()).saturating_sub(MOST_LISTED);
    if more > 0 {
        let _ = writeln!(text, "and {more} more");
    }
    text
}

fn line(text: &mut String, entry: &Entry, now: Instant) {
    let client = entry.whose().map_or(entry.peer, |whose| whose.client);
    let limit = entry.whose().map_or(0, |whose| match entry.phase() {
        Phase::HalfClosed => whose.service.described.half_close_timeout_ms,
        Phase::Arriving | Phase::Connecting | Phase::Open => whose.service.described.idle_timeout_ms,
    });
    let left = Duration::from_millis(limit).saturating_sub(entry.silent_for(now));
    let destination =
        entry.upstream().map_or_else(|| "-".to_owned(), |upstream| upstream.address.to_string());
    row(text, left, entry.phase().name(), (client, entry.local), &destination);
}

fn row(
    text: &mut String,
    left: Duration,
    state: &str,
    (client, local): (SocketAddr, SocketAddr),
    destination: &str,
) {
    let left = left.as_secs();
    let _ = writeln!(
        text,
        "{:<3} {:02}:{:02}  {state:<11} {:<18} {:<18} {destination}",
        "TCP",
        left / 60,
        left % 60,
        client.to_string(),
        local.to_string(),
    );
}

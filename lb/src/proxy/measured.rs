//! A door for `lb/benches`: the functions that every request goes through are inner ones, and stay that.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

use pingora_http::RequestHeader;
use wire::clients::Forwarded;
use wire::proxy_config::{ProxyConfig, Route};
use wire::upstreams::{Upstream, UpstreamSet, UpstreamState};

use super::balance::ask::Ask;
use super::balance::pick;
use super::headers::{Origin, forward_request};
use super::route::find;
use super::route::sender::Sender;
use super::state::records::Records;
use super::state::snapshot::{Here, Snapshot};

/// A balancer's routes and upstreams, and a request.
pub struct Scene {
    snapshot: Snapshot,
    records: Records,
    request: RequestHeader,
    origin: Origin,
}

impl Scene {
    /// So many routes by host and path to one pool of so many upstreams, and a request that the last of the routes matches.
    ///
    /// # Errors
    ///
    /// Where the request cannot be made.
    pub fn new(routes: usize, upstreams: usize) -> pingora_error::Result<Self> {
        let route = |number: usize| Route {
            name: format!("route-{number}"),
            hosts: vec![format!("host-{number}.example")],
            path: "/api".to_owned(),
            pool: Some("service".into()),
            ..Route::default()
        };
        let config = ProxyConfig {
            generation: 1,
            routes: (1..=routes).map(route).collect(),
            ..ProxyConfig::default()
        };
        let set = UpstreamSet { generation: 1, pools: [("service".into(), members(upstreams))].into() };
        let mut records = Records::default();
        let made = Snapshot::default().next(&set, Some(Arc::new(config)), &Here::default(), &mut records);
        let mut request = RequestHeader::build("GET", b"/api/items?page=2", None)?;
        for (name, value) in [
            ("Host", format!("host-{routes}.example")),
            ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64)".to_owned()),
            ("Accept", "application/json".to_owned()),
            ("Accept-Encoding", "gzip, br".to_owned()),
            ("Connection", "keep-alive".to_owned()),
            ("Cookie", "session=0123456789abcdef".to_owned()),
        ] {
            request.insert_header(name, value)?;
        }
        let peer = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
        let origin = Origin { peer, is_secure: false, certificate: None, told: None };
        Ok(Scene { snapshot: made.snapshot, records, request, origin })
    }

    /// Whether a route matches.
    pub fn find(&self) -> bool {
        let sender = Sender::behind(self.origin.peer, false, None);
        find(&self.snapshot.routes, (&self.request).into(), sender).is_some()
    }

    /// Whether an upstream is picked, at `now`.
    pub fn pick(&self, now: Instant) -> bool {
        let pool = self.snapshot.pools.values().next();
        pool.is_some_and(|pool| pick(pool, &Ask::default(), &[], now).is_ok())
    }

    /// The request as it was sent.
    pub fn request(&self) -> RequestHeader {
        self.request.clone()
    }

    /// Makes the client's request one of ours to an upstream; whether that can be done.
    pub fn rewrite(&self, request: &mut RequestHeader) -> bool {
        forward_request(request, &self.origin, Forwarded::default()).is_ok()
    }

    /// Takes another set of as many upstreams, of which one is another one.
    pub fn swap(&mut self, generation: u64) {
        let mut set = self.snapshot.set();
        set.generation = generation;
        for pool in set.pools.values_mut() {
            let count = pool.len() as u64;
            if let Some(one) = pool.get_mut(usize::try_from(generation % count.max(1)).unwrap_or_default()) {
                one.port ^= 1;
            }
        }
        let config = Arc::clone(&self.snapshot.config);
        self.snapshot = self.snapshot.next(&set, Some(config), &Here::default(), &mut self.records).snapshot;
    }
}

fn members(count: usize) -> Vec<Upstream> {
    let first = u32::from(Ipv4Addr::new(10, 0, 0, 1));
    let address = |number: usize| Ipv4Addr::from(first + u32::try_from(number).unwrap_or_default());
    let member = |number: usize| Upstream {
        id: format!("u-{number}.1").into(),
        address: address(number).into(),
        port: 80,
        weight: 1,
        zone: "".into(),
        backup: false,
        state: UpstreamState::Ready,
        checked_elsewhere: false,
    };
    (0..count).map(member).collect()
}

//! Ends connections that the kernel forwards: it forgets them, and their clients are told.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use wire::tcp::Forwarding;

use super::plan::{Plan, Way};
use super::segment::Neighbours;
use super::{conntrack, direct, nudge};

/// Connections that are to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// Those to one of these upstreams.
    Upstreams(Vec<SocketAddr>),
    /// Those to this port.
    Port(u16),
}

/// Ends those of the connections of `plan` that are among `cuts`.
pub(super) fn end(cuts: &[Cut], plan: &Plan, neighbours: &Neighbours) {
    if cuts.is_empty() {
        return;
    }
    let mut ended: Vec<(SocketAddr, SocketAddr)> = Vec::new();
    let is_cut = |upstream: Option<SocketAddr>, local: SocketAddr| {
        cuts.iter().any(|cut| match cut {
            Cut::Upstreams(addresses) => upstream.is_some_and(|upstream| addresses.contains(&upstream)),
            Cut::Port(port) => *port == local.port(),
        })
    };
    let is_direct = |way: &Way| way.forwarding == Forwarding::NftablesDsr;
    if plan.ports.values().any(|way| !is_direct(way)) {
        let result = conntrack::list().and_then(|mut all| {
            let is_ours = |port: u16| plan.ports.get(&port).is_some_and(|way| !is_direct(way));
            all.retain(|one| is_ours(one.local.port()) && is_cut(Some(one.upstream), one.local));
            conntrack::forget(&all)?;
            Ok(all)
        });
        match result {
            Ok(gone) => ended.extend(gone.iter().map(|one| (one.client, one.local))),
            Err(error) => tracing::warn!(%error, "connections cannot be ended in the kernel"),
        }
    }
    for (port, way) in plan.ports.iter().filter(|(_, way)| is_direct(way)) {
        let macs: BTreeSet<_> = cuts
            .iter()
            .filter_map(|cut| if let Cut::Upstreams(addresses) = cut { Some(addresses) } else { None })
            .flatten()
            .filter_map(|address| neighbours.of(address.ip()))
            .collect();
        match direct::forget(*port, way, |one| macs.contains(&one.mac) || is_cut(None, one.local)) {
            Ok(gone) => ended.extend(gone.iter().map(|one| (one.client, one.local))),
            Err(failure) => tracing::warn!(%failure, "connections cannot be ended in the kernel"),
        }
    }
    if ended.is_empty() {
        return;
    }
    tracing::warn!(connections = ended.len(), "connections that the kernel forwarded are ended");
    if let Err(error) = nudge::clients(ended.into_iter()) {
        tracing::warn!(%error, "clients are not told that their connections are over");
    }
}

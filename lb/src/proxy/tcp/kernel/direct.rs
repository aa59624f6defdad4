//! What the kernel remembers of connections that are answered directly: of whom they are, where they connected to, and the
//! link-layer address that their packets go to.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde_json::Value;

use super::nft::{self, Failure};
use super::plan::Way;
use super::rules::{TABLE, map};
use super::segment::Mac;

/// So often it is tried to forget connections: one that ends between the look and the deed spoils it for all.
const TRIES: usize = 10;

/// A connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Direct {
    pub(crate) client: SocketAddr,
    /// Where it connected to.
    pub(crate) local: SocketAddr,
    pub(super) mac: Mac,
    /// Whether neither side is known to have ended.
    pub(crate) is_active: bool,
    /// It is forgotten when the client says nothing for so long.
    pub(crate) expires: Duration,
    /// The map that it is in.
    map: String,
}

/// The connections to `port`.
///
/// # Errors
///
/// Why they cannot be listed.
pub(super) fn list(port: u16, way: &Way) -> Result<Vec<Direct>, Failure> {
    let mut found = Vec::new();
    for (state, is_active) in [("open", true), ("closing", false)] {
        let name = map(state, port, way);
        for object in nft::list(&format!("map netdev {TABLE} {name}"))? {
            let elements = object["map"]["elem"].as_array().map(Vec::as_slice).unwrap_or_default();
            found.extend(elements.iter().filter_map(|element| read(element, port, is_active, &name)));
        }
    }
    Ok(found)
}

/// Forgets the connections to `port` that are to be. Returns those.
///
/// # Errors
///
/// Why that is not possible.
pub(super) fn forget(port: u16, way: &Way, goes: impl Fn(&Direct) -> bool) -> Result<Vec<Direct>, Failure> {
    let mut tries = 0;
    loop {
        let mut gone = list(port, way)?;
        gone.retain(&goes);
        let mut by_map: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for Direct { client, local, map, .. } in &gone {
            let key = format!("{} . {} . {}", client.ip(), client.port(), local.ip());
            by_map.entry(map).or_default().push(key);
        }
        let deletes: String = by_map
            .iter()
            .map(|(map, keys)| format!("delete element netdev {TABLE} {map} {{ {} }}\n", keys.join(", ")))
            .collect();
        if deletes.is_empty() {
            return Ok(gone);
        }
        tries += 1;
        match nft::apply(&deletes) {
            Ok(()) => return Ok(gone),
            Err(Failure::Absent(_)) if tries < TRIES => {}
            Err(failure) => return Err(failure),
        }
    }
}

/// `[{"elem": {"val": {"concat": [client, port, address]}, "expires": seconds, …}}, link-layer address]`.
fn read(element: &Value, port: u16, is_active: bool, map: &str) -> Option<Direct> {
    let (key, mac) = (element.get(0)?, element.get(1)?);
    let element = key.get("elem").unwrap_or(key);
    let key = element.get("val").unwrap_or(element).get("concat")?;
    let address = |at: usize| key.get(at)?.as_str()?.parse::<IpAddr>().ok();
    let client_port = u16::try_from(key.get(1)?.as_u64()?).ok()?;
    Some(Direct {
        client: SocketAddr::new(address(0)?, client_port),
        local: SocketAddr::new(address(2)?, port),
        mac: mac.as_str()?.parse().ok()?,
        is_active,
        expires: Duration::from_secs(element.get("expires").and_then(Value::as_u64).unwrap_or(0)),
        map: map.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_entry_is_understood() {
        let element = json!([
            {"elem": {"val": {"concat": ["10.0.0.9", 40_000, "10.0.0.1"]}, "timeout": 600, "expires": 599}},
            "02:00:00:00:00:01"
        ]);
        let read = read(&element, 3306, true, "open").expect("a connection");
        assert_eq!(
            (read.client.to_string(), read.local.to_string(), read.mac.to_string(), read.expires.as_secs()),
            ("10.0.0.9:40000".into(), "10.0.0.1:3306".into(), "02:00:00:00:00:01".into(), 599)
        );
        assert_eq!(super::read(&json!(["x", "02:00:00:00:00:01"]), 1, true, "open"), None);
    }
}

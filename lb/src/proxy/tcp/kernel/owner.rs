//! Whose the ruleset is. Its owner's name is that of a counter in it: whoever wants to change the ruleset deletes and makes
//! it again in the same transaction, which fails if somebody else's is there instead.

use std::collections::BTreeMap;
use std::fs;

use super::nft::{self, Failure};
use super::rules::TABLE;

/// What all owners' names begin with; after it come the process and when that was started, in ticks since the system was.
const PREFIX: &str = "owner_";

/// What the counters of services begin with; after it comes the port.
const CONNECTIONS: &str = "connections_";

/// The name of this process as an owner.
pub(super) fn own() -> String {
    let pid = std::process::id();
    format!("{PREFIX}{pid}_{}", started(pid).unwrap_or(0))
}

/// What a look at the ruleset shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Whose it is; none: there is none.
    pub(super) owner: Option<String>,
    /// Connections so far, by port.
    pub(super) connections: BTreeMap<u16, u64>,
}

/// Looks at the ruleset.
///
/// # Errors
///
/// Why that is not possible.
pub(super) fn look() -> Result<Seen, Failure> {
    let mut seen = Seen::default();
    for object in nft::list("counters")? {
        let counter = &object["counter"];
        let Some(name) = counter["name"].as_str().filter(|_| counter["table"] == TABLE) else { continue };
        if name.starts_with(PREFIX) {
            seen.owner = Some(name.to_owned());
        } else if let Some(port) = name.strip_prefix(CONNECTIONS).and_then(|port| port.parse().ok()) {
            *seen.connections.entry(port).or_default() += counter["packets"].as_u64().unwrap_or(0);
        }
    }
    Ok(seen)
}

/// The process that is the owner `name`, while it lives.
pub(super) fn living(name: &str) -> Option<u32> {
    let (pid, since) = name.strip_prefix(PREFIX)?.split_once('_')?;
    let (pid, since): (u32, u64) = (pid.parse().ok()?, since.parse().ok()?);
    (started(pid)? == since).then_some(pid)
}

/// When `pid` was started: the 22nd word of its `stat`, of which the second is a name in parentheses that may have spaces
/// itself (proc_pid_stat(5)). None: there is no such process.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(") ")?;
    let mut words = after_name.split_ascii_whitespace();
    // One that has ended and that nobody has waited for is a zombie.
    let state = words.next()?;
    words.nth(18)?.parse().ok().filter(|_| state != "Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_lives_and_one_of_another_time_does_not() {
        let own = own();
        assert_eq!(living(&own), Some(std::process::id()));
        assert_eq!(living(&format!("{own}0")), None);
        for other in ["owner_1", "owner_x_1", "connections_1"] {
            assert_eq!(living(other), None, "{other}");
        }
    }
}

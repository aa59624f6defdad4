//! The address pool: whether its addresses are free, or this host's machines'.

use tokio::task::JoinSet;

use super::{Finding, Report};
use crate::address_pool::{mac_of, mac_text};
use crate::config::Config;
use crate::ports::neighbours::probe;

/// So many addresses are asked for; a larger pool is asked for as its addresses are used.
const MOST: usize = 256;

pub(super) async fn check(config: &Config, report: &mut Report) {
    let addresses = config.pool.addresses();
    let mut asked = JoinSet::new();
    for address in addresses.iter().copied().take(MOST) {
        let bridge = config.bridge.clone();
        asked.spawn(async move { (address, probe(&bridge, address).await) });
    }
    let (mut free, mut own, mut taken) = (0, 0, Vec::new());
    for (address, answer) in asked.join_all().await {
        match answer {
            Ok(None) => free += 1,
            Ok(Some(mac)) if mac == mac_of(address) => own += 1,
            Ok(Some(mac)) => taken.push(format!("{address} ({})", mac_text(mac))),
            Err(error) => {
                return report.add("address pool", Finding::Bad(format!("cannot be asked: {error}")));
            }
        }
    }
    taken.sort();
    report.add("address pool", judge(free, own, &taken, addresses.len()));
}

fn judge(free: usize, own: usize, taken: &[String], all: usize) -> Finding {
    if taken.is_empty() {
        let asked = if free + own < all {
            format!(", of {all}; the others were not asked for")
        } else {
            String::new()
        };
        return Finding::Good(format!("{free} addresses are free, {own} are machines'{asked}"));
    }
    let text = format!(
        "somebody else has {}: give that device another address, or leave it out of address_pool",
        taken.join(", ")
    );
    // The manager passes over those, as long as others are left.
    if free + own > 0 { Finding::Poor(text) } else { Finding::Bad(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_is_named_and_counts_by_what_is_left() {
        assert!(matches!(judge(6, 1, &[], 7), Finding::Good(text) if !text.contains("asked")));
        assert!(matches!(judge(255, 1, &[], 300), Finding::Good(text) if text.contains("of 300")));
        let stranger = ["10.0.0.7 (52:54:00:00:00:01)".to_owned()];
        assert!(matches!(judge(6, 0, &stranger, 7), Finding::Poor(text) if text.contains("10.0.0.7")));
        assert!(matches!(judge(0, 0, &stranger, 1), Finding::Bad(_)));
    }
}

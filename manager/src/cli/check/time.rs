//! The clock: certificates and logs of several hosts make sense only where it is right.

use std::process::Command;
use std::time::{Duration, SystemTime};

use super::{Finding, Report};
use crate::config::Config;

/// 2026-01-01: whoever runs this lives later.
const EARLIEST: Duration = Duration::from_secs(1_767_225_600);

/// Clocks of two hosts may differ by so much. Their time is told in whole seconds.
const MAX_DIFFERENCE: Duration = Duration::from_secs(3);

/// A manager answers within this.
const PEER_TIME: Duration = Duration::from_secs(2);

pub(super) async fn check(config: &Config, report: &mut Report) {
    report.add("clock", clock());
    let Ok(client) = reqwest::Client::builder().timeout(PEER_TIME).no_proxy().build() else { return };
    for peer in &config.peers {
        let url = format!("http://{}/health/live", std::net::SocketAddr::new(*peer, config.api_port));
        let told =
            client.get(url).send().await.ok().and_then(|answer| {
                httpdate::parse_http_date(answer.headers().get("date")?.to_str().ok()?).ok()
            });
        report.add(&format!("clock of {peer}"), compare(told, SystemTime::now()));
    }
}

fn clock() -> Finding {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    if now < EARLIEST {
        return Finding::Bad("this host's clock is years behind: timedatectl set-ntp true".to_owned());
    }
    let synchronized =
        Command::new("timedatectl").args(["show", "--property=NTPSynchronized", "--value"]).output();
    match synchronized.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).as_deref() {
        Ok("yes") => Finding::Good("synchronized with a time server".to_owned()),
        Ok("no") => Finding::Poor("not synchronized with a time server: timedatectl set-ntp true".to_owned()),
        _ => Finding::Good("plausible; nothing here says whether it is synchronized".to_owned()),
    }
}

fn compare(told: Option<SystemTime>, now: SystemTime) -> Finding {
    let Some(told) = told else {
        return Finding::Poor("its manager does not answer (does it run yet?): not compared".to_owned());
    };
    let difference = told.duration_since(now).unwrap_or_else(|error| error.duration());
    if difference > MAX_DIFFERENCE {
        Finding::Bad(format!(
            "differs from this host's by {} s: timedatectl set-ntp true on both",
            difference.as_secs()
        ))
    } else {
        Finding::Good("agrees with this host's".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_of_difference_is_none() {
        let now = SystemTime::now();
        for (told, good) in [(0, true), (2, true), (4, false), (3600, false)] {
            for told in [now + Duration::from_secs(told), now - Duration::from_secs(told)] {
                assert_eq!(matches!(compare(Some(told), now), Finding::Good(_)), good);
            }
        }
        assert!(matches!(compare(None, now), Finding::Poor(_)));
    }
}

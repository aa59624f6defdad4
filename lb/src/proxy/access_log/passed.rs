//! The line of a connection that was passed on as it came: a TCP service's.
//!
//! The combined format has no place for it; there it looks like a request of the method `TCP` for the service, with what
//! the client had as its bytes, the way it ended as its referrer and the upstream as its agent, so that programs that
//! read such logs count it right.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use super::super::observe::micros;
use super::combined::Combined;
use super::line::{Line, first, name};
use super::{About, AccessLog};
use crate::settings::LogFormat;

/// What stands for the status of a connection that ended well, and of one that did not, in the combined format.
const WELL: u16 = 200;
const NOT_WELL: u16 = 502;

/// A connection that has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Passed<'a> {
    /// When it was accepted.
    pub(crate) time: SystemTime,
    pub(crate) client: SocketAddr,
    /// The other end of the connection: the client, or a proxy that was believed when it said who that is.
    pub(crate) peer: SocketAddr,
    /// None: it was nobody's.
    pub(crate) service: Option<&'a str>,
    pub(crate) pool: Option<&'a str>,
    pub(crate) upstream: Option<&'a str>,
    /// How many upstreams were tried.
    pub(crate) tries: u32,
    /// From the client, and to it, in bytes.
    pub(crate) received: u64,
    pub(crate) sent: u64,
    pub(crate) took: Duration,
    /// How it ended.
    pub(crate) ended: &'a str,
    pub(crate) is_error: bool,
}

impl AccessLog {
    /// Has the line of a connection written, if it is one of those that are.
    pub(crate) fn passed(&self, passed: &Passed<'_>) {
        if !passed.is_error && !self.rules.sample() {
            return;
        }
        match self.rules.format {
            LogFormat::Json => self.append(json(passed).end()),
            LogFormat::Combined => {
                let about = About {
                    time: passed.time,
                    client: passed.client.ip(),
                    peer: passed.peer.ip(),
                    method: b"TCP",
                    host: b"",
                    target: passed.service.unwrap_or("-").as_bytes(),
                    version: b"",
                    referer: passed.ended.as_bytes(),
                    agent: passed.upstream.unwrap_or_default().as_bytes(),
                    id: None,
                    context: None,
                };
                let status = if passed.is_error { NOT_WELL } else { WELL };
                self.append(Combined::new(&about).end(Some(status), passed.sent));
            }
        }
    }
}

fn json(passed: &Passed<'_>) -> Line {
    let mut line = Line::new();
    line.time(first!("time"), passed.time);
    line.address(name!("client"), passed.client.ip());
    line.number(name!("client_port"), Some(passed.client.port().into()));
    line.address(name!("peer"), passed.peer.ip());
    for (name, text) in [
        (name!("service"), passed.service),
        (name!("pool"), passed.pool),
        (name!("upstream"), passed.upstream),
        (name!("ended"), Some(passed.ended)),
    ] {
        if let Some(text) = text {
            line.text(name, text);
        }
    }
    line.number(name!("tries"), Some(passed.tries.into()));
    line.number(name!("received_bytes"), Some(passed.received));
    line.number(name!("sent_bytes"), Some(passed.sent));
    line.number(name!("duration_us"), Some(micros(passed.took)));
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_is_known() {
        let passed = Passed {
            time: SystemTime::UNIX_EPOCH,
            client: ([192, 0, 2, 7], 4660).into(),
            peer: ([10, 0, 0, 1], 1).into(),
            service: Some("db"),
            pool: None,
            upstream: None,
            tries: 2,
            received: 3,
            sent: 4,
            took: Duration::from_micros(5),
            ended: "unreachable",
            is_error: true,
        };
        let text = String::from_utf8(json(&passed).end().to_vec()).expect("text");
        let expected = concat!(
            r#"{"time":"1970-01-01T00:00:00.000000Z","client":"192.0.2.7","client_port":4660,"peer":"10.0.0.1","#,
            r#""service":"db","ended":"unreachable","tries":2,"received_bytes":3,"sent_bytes":4,"duration_us":5}"#,
            "\n",
        );
        assert_eq!(text, expected);
    }
}

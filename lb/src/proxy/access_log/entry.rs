//! One request's line while the request is under way, in the format that was asked for. What is known of a request at its
//! beginning is written then: kept for later, it would be copied twice.

use std::net::IpAddr;
use std::time::SystemTime;

use http::HeaderValue;

use super::super::observe::{Attempt, Context};
use super::combined::Combined;
use super::line::{Line, first, name};
use super::{AccessLog, Rules};
use crate::settings::{LogFormat, Only};

/// The longest text taken over from a request, in bytes.
const MAX_TEXT: usize = 2_048;

/// From this status on an answer is an error of ours or of an upstream.
const ERRORS_FROM: u16 = 500;

/// What is known of a request at its beginning. Text may be empty; `referer` and `agent` are where nobody tells them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About<'a> {
    pub(crate) time: SystemTime,
    /// Whose request it is.
    pub(crate) client: IpAddr,
    /// The other end of the connection: the client, or a proxy that was believed when it said so.
    pub(crate) peer: IpAddr,
    pub(crate) method: &'a [u8],
    pub(crate) host: &'a [u8],
    pub(crate) target: &'a [u8],
    pub(crate) version: &'a [u8],
    pub(crate) referer: &'a [u8],
    pub(crate) agent: &'a [u8],
    pub(crate) id: Option<&'a HeaderValue>,
    pub(crate) context: Option<&'a Context>,
}

/// What there is of it at its end.
#[derive(Debug)]
pub(crate) struct Ended<'a> {
    /// None: it was not answered.
    pub(crate) status: Option<u16>,
    pub(crate) duration_us: u64,
    /// Of the answer's body, as the client had it.
    pub(crate) bytes: u64,
    /// In the order in which they began.
    pub(crate) attempts: &'a [Attempt],
}

/// A line that is being written.
#[derive(Debug)]
pub(crate) struct Entry {
    text: Text,
    /// It is written however it ends.
    is_sampled: bool,
}

#[derive(Debug)]
enum Text {
    Json(Line),
    Combined(Combined),
}

impl Rules {
    /// Whether a request that goes well is to be written, as the dice have it.
    pub(super) fn sample(&self) -> bool {
        self.only == Only::All && (self.sample >= 1.0 || rand::random::<f64>() < self.sample)
    }
}

impl Entry {
    /// Begins the line of the request that is `about`.
    pub(crate) fn begin(log: &AccessLog, about: &About<'_>) -> Self {
        let cut = |text: &'_ [u8]| text.len().min(MAX_TEXT);
        let about = About {
            method: &about.method[..cut(about.method)],
            host: &about.host[..cut(about.host)],
            target: &about.target[..cut(about.target)],
            referer: &about.referer[..cut(about.referer)],
            agent: &about.agent[..cut(about.agent)],
            ..*about
        };
        let text = match log.rules.format {
            LogFormat::Json => Text::Json(json(&about)),
            LogFormat::Combined => Text::Combined(Combined::new(&about)),
        };
        Entry { text, is_sampled: log.rules.sample() }
    }

    /// Notes where it goes.
    pub(crate) fn goes(&mut self, route: &str, pool: &str) {
        if let Text::Json(line) = &mut self.text {
            line.text(name!("route"), route);
            line.text(name!("pool"), pool);
        }
    }

    /// Has it written to `log`, if it is one of those that are.
    pub(crate) fn end(mut self, log: &AccessLog, ended: &Ended<'_>) {
        if !self.is_sampled && ended.status.is_some_and(|status| status < ERRORS_FROM) {
            return;
        }
        match &mut self.text {
            Text::Json(line) => {
                line.number(name!("status"), ended.status.map(u64::from));
                line.number(name!("duration_us"), Some(ended.duration_us));
                line.number(name!("bytes"), Some(ended.bytes));
                line.list(name!("attempts"), ended.attempts, attempt);
                log.append(line.end());
            }
            Text::Combined(line) => log.append(line.end(ended.status, ended.bytes)),
        }
    }
}

fn json(about: &About<'_>) -> Line {
    let mut line = Line::new();
    line.time(first!("time"), about.time);
    line.address(name!("client"), about.client);
    line.address(name!("peer"), about.peer);
    line.bytes(name!("method"), about.method);
    line.bytes(name!("host"), about.host);
    line.bytes(name!("target"), about.target);
    if let Some(id) = about.id {
        line.bytes(name!("request_id"), id.as_bytes());
    }
    if let Some(context) = about.context {
        line.text(name!("trace_id"), &context.trace_text());
        line.text(name!("span_id"), &context.span.text());
    }
    line
}

fn attempt(line: &mut Line, attempt: &Attempt) {
    line.text(first!("upstream"), attempt.upstream.id.as_str());
    line.number(name!("begun_us"), Some(attempt.begun_us));
    line.number(name!("took_us"), Some(attempt.took_us));
    line.word(name!("phase"), attempt.phase);
    line.word(name!("outcome"), attempt.outcome);
    line.number(name!("status"), attempt.status.map(u64::from));
    line.number(name!("head_us"), attempt.head_us);
    line.flag(name!("reused"), attempt.reused);
    line.flag(name!("replayed"), attempt.replayed);
    line.flag(name!("trial"), attempt.trial);
    if let Some(span) = attempt.span {
        line.text(name!("span_id"), &span.text());
    }
}

//! What came of a case.

use crate::case::Case;
use crate::recorder::Seen;

/// An answer as the client has it.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// Whether it ended as its framing says.
    pub(crate) whole: bool,
}

#[derive(Debug)]
pub(crate) struct Outcome {
    /// All but the one to what was sent after the case.
    pub(crate) answers: Vec<Answer>,
    /// Whether that was answered.
    pub(crate) kept: bool,
    pub(crate) seen: Vec<Seen>,
    /// Whether that reached the backend over another connection than what was before it.
    pub(crate) afresh: bool,
}

impl Outcome {
    fn statuses(&self) -> Vec<u16> {
        self.answers.iter().map(|answer| answer.status).collect()
    }

    fn reached(&self) -> Vec<String> {
        let mut reached: Vec<String> = self.seen.iter().map(|seen| seen.request.clone()).collect();
        // An answer that is none has the request sent again.
        if self.statuses() == [502] {
            reached.dedup();
        }
        reached
    }

    /// What is wrong with it for lb.
    pub(crate) fn complaints(&self, case: &Case) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut hold = |right: bool, what: String| {
            if !right {
                wrong.push(what);
            }
        };
        let statuses = self.statuses();
        hold(case.answers.contains(&statuses), format!("answered {statuses:?}, not {:?}", case.answers));
        hold(self.kept == case.kept, format!("kept: {}", self.kept));
        hold(self.answers.iter().all(|answer| answer.whole), "an answer is cut".to_owned());
        let reached = self.reached();
        hold(reached == case.reaches, format!("reached the backend: {reached:?}, not {:?}", case.reaches));
        hold(!case.afresh || self.afresh, "the backend's connection was used again".to_owned());
        if let Some(first) = self.seen.first() {
            for text in &case.has {
                hold(
                    first.head.contains(&text.to_lowercase()),
                    format!("{text:?} is not in {:?}", first.head),
                );
            }
            for text in &case.lacks {
                hold(!first.head.contains(text), format!("{text:?} is in {:?}", first.head));
            }
        }
        for answer in self.answers.iter().filter(|answer| answer.status >= 400) {
            let is_problem = answer.head.contains("application/problem+json")
                && serde_json::from_slice::<serde_json::Value>(&answer.body).is_ok_and(|body| {
                    body["status"] == answer.status
                        && body["detail"].as_str().is_some_and(|detail| detail.len() > 10)
                });
            hold(is_problem, format!("{} is no problem document: {:?}", answer.status, answer.head));
            let says_close = answer.head.contains("\r\nconnection: close\r\n");
            hold(case.kept || says_close, format!("{} does not say that the connection ends", answer.status));
        }
        wrong
    }

    /// As a cell of the table: what was answered, whether the connection goes on, how many requests came through.
    pub(crate) fn cell(&self) -> String {
        let mut statuses: Vec<String> = Vec::new();
        let mut times = 1;
        for answer in &self.answers {
            let cut = if answer.whole { "" } else { " cut" };
            let status = format!("{}{cut}", answer.status);
            if statuses.last() == Some(&status) {
                times += 1;
                continue;
            }
            times = close_run(&mut statuses, times);
            statuses.push(status);
        }
        close_run(&mut statuses, times);
        let statuses = if statuses.is_empty() { "nothing".to_owned() } else { statuses.join(" ") };
        let end = if self.kept { "" } else { ", end" };
        let garbage = self.seen.iter().any(|seen| seen.head.is_empty());
        let smuggled = self.seen.iter().any(|seen| seen.request.starts_with("GET /smuggled"));
        let reached = match (garbage, smuggled) {
            (true, _) => "; **garbage** reached it".to_owned(),
            (_, true) => "; **a second request** reached it".to_owned(),
            _ => String::new(),
        };
        format!("{statuses}{end}{reached}")
    }
}

fn close_run(statuses: &mut [String], times: usize) -> usize {
    if let (2.., Some(last)) = (times, statuses.last_mut()) {
        *last = format!("{times} × {last}");
    }
    1
}

/// The answers in `bytes`, to requests with `methods`.
pub(crate) fn answers(bytes: &[u8], methods: &[String]) -> Vec<Answer> {
    let (mut answers, mut left, mut finals) = (Vec::new(), bytes, 0);
    while let Some(end) = left.windows(4).position(|window| window == b"\r\n\r\n") {
        let head = String::from_utf8_lossy(&left[..end + 4]).to_lowercase();
        let Some(status) = head.split(' ').nth(1).and_then(|status| status.parse::<u16>().ok()) else {
            break;
        };
        left = &left[end + 4..];
        let method = methods.get(finals).map(String::as_str);
        let no_body = status < 200 || status == 204 || status == 304 || method == Some("HEAD");
        finals += usize::from(status >= 200);
        let (body, whole, taken) = if no_body { (Vec::new(), true, 0) } else { body(&head, left) };
        left = &left[taken..];
        answers.push(Answer { status, head, body, whole });
    }
    if !left.is_empty() {
        // HTTP/0.9, or worse.
        answers.push(Answer { status: 0, head: String::new(), body: left.to_vec(), whole: false });
    }
    answers
}

/// The body that `left` begins with, whether it is whole, and how much of `left` it is.
fn body(head: &str, left: &[u8]) -> (Vec<u8>, bool, usize) {
    if head.contains("\r\ntransfer-encoding: chunked") {
        let (mut body, mut taken) = (Vec::new(), 0);
        loop {
            let rest = &left[taken..];
            let Some(end) = rest.windows(2).position(|window| window == b"\r\n") else {
                return (body, false, left.len());
            };
            let size =
                std::str::from_utf8(&rest[..end]).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
            let Some(size) = size.filter(|size| rest.len() >= end + 4 + size) else {
                return (body, false, left.len());
            };
            if size == 0 {
                // Trailers come before the empty line.
                let last = rest[end..].windows(4).position(|window| window == b"\r\n\r\n");
                return match last {
                    Some(last) => (body, true, taken + end + last + 4),
                    None => (body, false, left.len()),
                };
            }
            body.extend_from_slice(&rest[end + 2..end + 2 + size]);
            taken += end + 4 + size;
        }
    }
    let length =
        head.split("\r\ncontent-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse::<usize>().ok());
    match length {
        Some(length) if left.len() >= length => (left[..length].to_vec(), true, length),
        Some(_) => (left.to_vec(), false, left.len()),
        // Until the connection ends.
        None => (left.to_vec(), true, left.len()),
    }
}

//! One line of the table.

use std::time::Duration;

/// What the backend does with the request of a case; the one that follows it is answered in order.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// 200 with the request's method and target for a body.
    Echo,
    /// The same, when whoever gives up soon has done so.
    Late,
    /// These bytes; the connection stays open.
    Bytes(Vec<u8>),
    /// These bytes, and the end of the connection.
    Last(Vec<u8>),
}

/// A request, what is right, and where that is written.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// The section of an RFC, or the name of an attack.
    pub(crate) source: &'static str,
    pub(crate) sends: Vec<u8>,
    /// Whether the client then ends its side.
    pub(crate) ends: bool,
    pub(crate) reply: Reply,
    /// The statuses lb must answer with, one list for each way that is right.
    pub(crate) answers: Vec<Vec<u16>>,
    /// Whether the connection must be usable afterwards.
    pub(crate) kept: bool,
    /// The requests that must reach the backend: method, target and body.
    pub(crate) reaches: Vec<String>,
    /// What must be in their heads, …
    pub(crate) has: Vec<&'static str>,
    /// … and what must not, in lower case.
    pub(crate) lacks: Vec<&'static str>,
    /// Whether what follows must reach the backend over another connection.
    pub(crate) afresh: bool,
    /// Between the answer and what follows.
    pub(crate) pause: Duration,
    /// Why lb does as neither of the other two.
    pub(crate) why: &'static str,
    /// Who of them does not always do the same.
    pub(crate) varies: &'static str,
}

/// A request that is answered with 200 and keeps the connection; as it stands it reaches the backend as a GET.
pub(crate) fn case(name: &'static str, source: &'static str, sends: impl Into<Vec<u8>>) -> Case {
    Case {
        name,
        source,
        sends: sends.into(),
        ends: false,
        reply: Reply::Echo,
        answers: vec![vec![200]],
        kept: true,
        reaches: vec!["GET /x".to_owned()],
        has: Vec::new(),
        lacks: vec!["/smuggled"],
        afresh: false,
        pause: Duration::ZERO,
        why: "",
        varies: "",
    }
}

impl Case {
    /// It is refused with `status`, the connection ends, and nothing reaches the backend.
    pub(crate) fn refused(mut self, status: u16) -> Self {
        self.reaches.clear();
        self.statuses(&[&[status]]).closed()
    }

    pub(crate) fn statuses(mut self, statuses: &[&[u16]]) -> Self {
        self.answers = statuses.iter().map(|statuses| statuses.to_vec()).collect();
        self
    }

    pub(crate) fn reaches(mut self, requests: &[&str]) -> Self {
        self.reaches = requests.iter().map(|&request| request.to_owned()).collect();
        self
    }

    pub(crate) fn has(mut self, text: &'static str) -> Self {
        self.has.push(text);
        self
    }

    pub(crate) fn lacks(mut self, text: &'static str) -> Self {
        self.lacks.push(text);
        self
    }

    pub(crate) fn closed(mut self) -> Self {
        self.kept = false;
        self
    }

    pub(crate) fn half_closed(mut self) -> Self {
        self.ends = true;
        self.reply = Reply::Late;
        self.closed()
    }

    pub(crate) fn bytes(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.reply = Reply::Bytes(bytes.into());
        self
    }

    pub(crate) fn last(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.reply = Reply::Last(bytes.into());
        self
    }

    pub(crate) fn afresh(mut self) -> Self {
        self.afresh = true;
        self.pause = Duration::from_millis(50);
        self
    }

    pub(crate) fn varies_in(mut self, peer: &'static str) -> Self {
        self.varies = peer;
        self
    }

    pub(crate) fn why(mut self, why: &'static str) -> Self {
        self.why = why;
        self
    }
}

/// All of them, by the heading they stand under.
pub(crate) fn all() -> Vec<(&'static str, Vec<Case>)> {
    vec![
        ("Heads", crate::cases_heads::cases()),
        ("Smuggling", crate::cases_smuggling::cases()),
        ("Bodies", crate::cases_bodies::cases()),
        ("Connections", crate::cases_connections::cases()),
        ("Answers of a backend", crate::cases_answers::cases()),
    ]
}

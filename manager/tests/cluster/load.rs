//! `loadtest` in the client's place: a steady load, faults on schedule, and what the report says.

use std::fmt;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::lab::{Lab, VIP, program, read};

/// Requests per second: many enough to hit the moment of a fault, few enough for two busy cores.
const RATE: u32 = 250;

/// A load to be put on the public address.
pub(crate) struct Load {
    words: Vec<String>,
    seconds: u64,
}

impl Load {
    /// A load on `/random/number`, sent for so many seconds.
    pub(crate) fn of_seconds(seconds: u64) -> Self {
        Self::at_rate(RATE, seconds)
    }

    /// The same with so many requests per second.
    pub(crate) fn at_rate(rate: u32, seconds: u64) -> Self {
        Self::on(&format!("http://{VIP}/random/number"), rate, seconds)
    }

    /// So many requests per second for `url`, sent for so many seconds.
    pub(crate) fn on(url: &str, rate: u32, seconds: u64) -> Self {
        let load = Load { words: vec![url.to_owned()], seconds };
        load.with("--rate", &rate.to_string()).with("--duration", &format!("{seconds}s"))
    }

    /// So many users who ask for `path` for so many seconds, each of whom waits for its answer.
    pub(crate) fn of_users(path: &str, users: u32, seconds: u64) -> Self {
        let load = Load { words: vec![format!("http://{VIP}{path}")], seconds };
        load.with("--users", &users.to_string()).with("--duration", &format!("{seconds}s"))
    }

    pub(crate) fn with(mut self, option: &str, value: &str) -> Self {
        self.words.extend([option.to_owned(), value.to_owned()]);
        self
    }

    /// Has the lab do `what` one second after the start.
    pub(crate) fn with_fault(self, lab: &Lab, what: &str) -> Self {
        let load = self.with("--fault", &format!("{} @1s", lab.fault_command(what)));
        lab.managers().into_iter().fold(load, |load, manager| load.with("--manager", manager))
    }

    /// Puts the load on and waits for the report.
    pub(crate) fn run(&self, lab: &Lab) -> Report {
        let file = lab.path().join(format!("load-{:?}.json", thread::current().id()));
        let file = file.to_str().expect("a plain name");
        let loadtest = program("loadtest");
        let mut words = vec![loadtest.as_str(), "--json", file];
        words.extend(self.words.iter().map(String::as_str));
        // A fault may take its time to recover; the exit code says only what the report says too.
        let ended = lab.exec_within("client", &words, Duration::from_secs(self.seconds + 70));
        assert!(matches!(ended.code, Some(0 | 1)), "{ended:?}");
        let report = Report(serde_json::from_str(&read(file.as_ref())).expect("a report"));
        println!("{report}");
        report
    }

    /// Puts the load on while the test goes on.
    pub(crate) fn start<'scope>(
        self,
        lab: &'scope Lab,
        scope: &'scope thread::Scope<'scope, '_>,
    ) -> thread::ScopedJoinHandle<'scope, Report> {
        scope.spawn(move || self.run(lab))
    }
}

/// What `loadtest` found.
pub(crate) struct Report(Value);

impl Report {
    fn number(&self, path: &str) -> f64 {
        let value = self.0.pointer(path).and_then(Value::as_f64);
        value.unwrap_or_else(|| panic!("no number {path} in {self}"))
    }

    /// How many requests failed.
    pub(crate) fn failed(&self) -> u64 {
        self.0["failed"].as_u64().expect("a count")
    }

    pub(crate) fn sent(&self) -> u64 {
        self.0["sent"].as_u64().expect("a count")
    }

    /// How long nobody was served around the fault.
    pub(crate) fn outage_ms(&self) -> f64 {
        self.number("/faults/0/outage_ms")
    }

    /// How long it took until the cluster was whole again.
    pub(crate) fn recovered_after_ms(&self) -> f64 {
        self.number("/faults/0/recovered_after_ms")
    }

    /// Whom the fault hit.
    pub(crate) fn victim(&self) -> &str {
        self.0["faults"][0]["victim"].as_str().expect("a victim")
    }

    /// Asserts that no request failed, for the machine that ran the load too.
    #[track_caller]
    pub(crate) fn assert_nobody_noticed(&self) {
        assert_eq!(self.failed(), 0, "{self}");
        assert!(self.sent() > 0, "{self}");
    }

    /// Asserts that every failure was told to the client before its patience ended.
    #[track_caller]
    pub(crate) fn assert_no_hang(&self) {
        assert!(self.0["failed_by_kind"]["timeout"].is_null(), "{self}");
    }

    /// Asserts that the victim came back where it had been.
    #[track_caller]
    pub(crate) fn assert_same_address(&self) {
        let fault = &self.0["faults"][0];
        assert!(fault["address_before"].is_string(), "{self}");
        assert_eq!(fault["address_before"], fault["address_after"], "{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report(report) = self;
        write!(
            f,
            "sent {} failed {} {} outage {} p50 {} p999 {} late {} faults {} {}",
            report["sent"],
            report["failed"],
            report["failed_by_kind"],
            report["longest_outage_ms"],
            report["latency_ms"]["p50"],
            report["latency_ms"]["p999"],
            report["lateness_ms"]["max"],
            report["faults"],
            report["invalid_reasons"],
        )
    }
}

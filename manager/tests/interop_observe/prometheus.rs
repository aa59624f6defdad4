//! A Prometheus in the client's place, with the configuration that is shipped; only its clock runs faster.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::lab::Lab;
use crate::repository;
use crate::run::eventually;

/// Where it answers, as the client reaches it.
const API: &str = "http://127.0.0.1:9090/api/v1";

/// It ends with the lab.
pub(crate) struct Prometheus<'lab> {
    lab: &'lab Lab,
    directory: PathBuf,
    process: Child,
}

impl<'lab> Prometheus<'lab> {
    /// Starts it and waits until it answers. `loadtest` is where a measurement will have its figures.
    pub(crate) fn start(lab: &'lab Lab, loadtest: &str) -> Self {
        let directory = lab.path().join("observe");
        fs::create_dir_all(directory.join("rules")).expect("a directory");
        fs::create_dir_all(directory.join("targets")).expect("a directory");
        let shipped =
            fs::read_to_string(repository("deploy/observe/prometheus.yml")).expect("the configuration");
        let faster = shipped.replace(": 5s", ": 2s").replace(": 4s", ": 2s");
        assert_ne!(shipped, faster);
        fs::write(directory.join("prometheus.yml"), faster).expect("written");
        for rules in ["alerts.yml", "recording.yml"] {
            let from = repository("deploy/observe/rules").join(rules);
            fs::copy(from, directory.join("rules").join(rules)).expect("copied");
        }
        let targets = serde_json::json!([{"targets": [loadtest]}]).to_string();
        fs::write(directory.join("targets/loadtest.json"), targets).expect("written");
        let log = fs::File::create(directory.join("prometheus.log")).expect("a log");
        let process = Command::new(repository("deploy/lab.sh"))
            .arg("exec")
            .arg(lab.path())
            .args(["client", "prometheus", "--web.listen-address=127.0.0.1:9090"])
            .arg(format!("--config.file={}", directory.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", directory.join("data").display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the lab's script");
        let prometheus = Prometheus { lab, directory, process };
        eventually("Prometheus answers", || {
            (lab.exec("client", &["curl", "-sf", "-m", "2", "http://127.0.0.1:9090/-/ready"]).code == Some(0))
                .then_some(())
        });
        prometheus
    }

    /// What `GET` of a path of its API answers.
    pub(crate) fn get(&self, path: &str) -> Value {
        let text = self.lab.exec("client", &["curl", "-sS", "-m", "20", &format!("{API}/{path}")]).ok();
        let answer: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert_eq!(answer["status"], "success", "{answer}");
        answer["data"].clone()
    }

    /// The series that an expression shows now.
    #[track_caller]
    pub(crate) fn query(&self, expression: &str) -> Vec<Value> {
        self.queries(&[expression.to_owned()])
            .remove(0)
            .unwrap_or_else(|error| panic!("{expression}: {error}"))
    }

    /// The same for many, by one program: each start of one takes longer than its question.
    pub(crate) fn queries(&self, expressions: &[String]) -> Vec<Result<Vec<Value>, String>> {
        let mut orders = String::new();
        for expression in expressions {
            let quoted = expression.replace('\\', "\\\\").replace('"', "\\\"");
            let _ = write!(
                orders,
                "url = \"{API}/query\"\nsilent\nmax-time = 20\ndata-urlencode = \"query={quoted}\"\n\
                 write-out = \"\\n\"\nnext\n"
            );
        }
        let file = self.directory.join("queries");
        fs::write(&file, orders.trim_end_matches("next\n")).expect("written");
        let said = self.lab.exec("client", &["curl", "-K", &file.display().to_string()]).ok();
        let answers: Vec<_> = said.lines().map(answer).collect();
        assert_eq!(answers.len(), expressions.len(), "{said}");
        answers
    }
}

fn answer(line: &str) -> Result<Vec<Value>, String> {
    let answer: Value = serde_json::from_str(line).map_err(|error| format!("{error}: {line}"))?;
    if answer["status"] != "success" {
        return Err(answer["error"].to_string());
    }
    match &answer["data"]["result"] {
        Value::Array(series) => Ok(series.clone()),
        other => Err(format!("no series: {other}")),
    }
}

impl Drop for Prometheus<'_> {
    fn drop(&mut self) {
        // This ends its door into the lab; itself it ends with the lab.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

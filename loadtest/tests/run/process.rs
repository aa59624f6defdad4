//! Runs the program.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

/// How a run ended.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// The JSON report; null when none was written.
    pub(crate) json: Value,
}

impl Ended {
    /// Fails unless the run ended with `code`, and then shows what it said.
    pub(crate) fn expect(&self, code: i32) -> &Value {
        assert_eq!(self.code, Some(code), "{}\n{}", self.stdout, self.stderr);
        &self.json
    }
}

/// A run under way.
pub(crate) struct Run {
    pub(crate) child: Child,
    json: PathBuf,
}

pub(crate) fn start(url: &str, options: &[&str]) -> Run {
    start_plain(&[&[url], options].concat())
}

/// The same without a URL.
pub(crate) fn start_plain(options: &[&str]) -> Run {
    start_in(&[], options)
}

/// The same by way of another program, which is given it as its last words.
pub(crate) fn start_in(way: &[&str], options: &[&str]) -> Run {
    let json = scratch("json");
    let program = env!("CARGO_BIN_EXE_loadtest");
    let mut command = match way {
        [] => Command::new(program),
        [first, rest @ ..] => {
            let mut command = Command::new(first);
            command.args(rest).arg(program);
            command
        }
    };
    if !options.contains(&"--json") {
        command.arg("--json").arg(&json);
    }
    if !options.contains(&"--lateness-max") {
        // What is tested is what is said of the service, on machines that have other work too.
        command.args(["--lateness-max", "1m"]);
    }
    let child = command.args(options).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    Run { child, json }
}

impl Run {
    pub(crate) fn wait(self) -> Ended {
        let output = self.child.wait_with_output().unwrap();
        let json = std::fs::read(&self.json).unwrap_or_default();
        let _ = std::fs::remove_file(&self.json);
        Ended {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
            json: serde_json::from_slice(&json).unwrap_or_default(),
        }
    }
}

pub(crate) fn run(url: &str, options: &[&str]) -> Ended {
    start(url, options).wait()
}

pub(crate) fn run_plain(options: &[&str]) -> Ended {
    start_plain(options).wait()
}

/// A path that no other test uses.
pub(crate) fn scratch(extension: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("{}-{count}.{extension}", std::process::id());
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
}

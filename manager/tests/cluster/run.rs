//! Runs programs, none of them for ever.

use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Whatever should happen happens by then, however busy this computer is.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// How a program ended and what it said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// What it wrote, if it succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{}{}", self.stdout, self.stderr);
        self.stdout
    }
}

/// Runs a program to its end, which must come within `limit`.
pub(crate) fn run_within(command: &mut Command, limit: Duration) -> Ended {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
    // Apart, so that it never waits for one pipe while we read the other.
    let mut said = [read_all(child.stdout.take()), read_all(child.stderr.take())].map(Some);
    let (tell, ended) = channel();
    thread::spawn(move || tell.send(child.wait()));
    match ended.recv_timeout(limit) {
        Ok(status) => {
            let mut text = |which: usize| said[which].take().and_then(|read| read.join().ok());
            Ended {
                code: status.expect("a child").code(),
                stdout: text(0).unwrap_or_default(),
                stderr: text(1).unwrap_or_default(),
            }
        }
        Err(RecvTimeoutError::Timeout) => {
            let _ = kill(pid, Signal::SIGKILL);
            panic!("not within {limit:?}: {command:?}");
        }
        Err(RecvTimeoutError::Disconnected) => unreachable!("the waiting thread always tells"),
    }
}

fn read_all(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Waits until `condition` gives something.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let limit = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < limit, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

//! Faults by shell command.
//!
//! A command breaks something, says so with one line of JSON on its standard output, and may then go
//! on in the background, for example to repair later what it broke. The line is what counts: it names
//! the fault and the victim, and the fault is in force once it was written.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::recovery::Victim;

/// What a command says of its fault. Any of it may be missing, but not all.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Told {
    /// What it is called; the command itself if missing.
    pub fault: Option<String>,
    /// The machine that was hurt.
    machine: Option<String>,
    /// The host that was hurt.
    host: Option<String>,
    /// When exactly, in milliseconds of the Unix epoch; when the command was started if missing.
    pub at_unix_ms: Option<u64>,
}

impl Told {
    /// Reads a line of output; none if it is not one that tells of a fault.
    fn read(line: &[u8]) -> Option<Result<Self, String>> {
        let object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(line).ok()?;
        ["fault", "machine", "host"].iter().any(|key| object.contains_key(*key)).then(|| {
            let line = String::from_utf8_lossy(line.trim_ascii());
            serde_json::from_str(&line).map_err(|error| format!("cannot read what it says ({line}): {error}"))
        })
    }

    /// Who was hurt.
    pub fn victim(&self) -> Victim {
        match (&self.machine, &self.host) {
            (Some(machine), _) => Victim::Machine(machine.as_str().into()),
            (None, Some(host)) => Victim::Host(host.as_str().into()),
            (None, None) => Victim::Unknown,
        }
    }
}

/// The commands of a run.
#[derive(Debug)]
pub struct Commands {
    limit: Duration,
    running: Vec<Running>,
}

#[derive(Debug)]
struct Running {
    command: String,
    group: Pid,
    end: JoinHandle<Result<(), String>>,
}

/// The longest line of output that is looked at, in bytes.
const MAX_LINE: u64 = 64 << 10;
/// How long a command that was told to end may take to undo what it did.
const UNDO: Duration = Duration::from_secs(10);
/// How long output may still be read from a command that has ended.
const LAST_WORDS: Duration = Duration::from_millis(500);

impl Commands {
    /// Commands that may take `limit` each.
    pub fn new(limit: Duration) -> Self {
        Commands { limit, running: Vec::new() }
    }

    /// Starts a command and waits until its fault is in force: until it has said so, or else until it
    /// has ended.
    ///
    /// # Errors
    ///
    /// When it cannot be started, ends with an error first, or takes too long.
    pub async fn start(&mut self, command: &str) -> anyhow::Result<Told> {
        let mut child = Command::new("sh")
            .args(["-c", command])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // A group of its own: a Ctrl-C at the terminal is for us, who then tell the command, and
            // what the command started is told with it.
            .process_group(0)
            .spawn()
            .context("starting a shell")?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).context("the shell has no id")?;
        let output = child.stdout.take().context("the shell has no output")?;
        let (tell, told) = oneshot::channel();
        let end = tokio::spawn(attend(child, output, tell, self.limit));
        self.running.push(Running { command: command.to_owned(), group: Pid::from_raw(group), end });
        match told.await {
            Ok(told) => told.map_err(anyhow::Error::msg),
            Err(_) => {
                // The reason was why it ended.
                let Some(running) = self.running.pop() else { bail!("the command is gone") };
                match running.end.await.context("watching the command")? {
                    Ok(()) => Ok(Told::default()),
                    Err(reason) => bail!(reason),
                }
            }
        }
    }

    /// Tells what still runs to end, so that it can undo what it did, and waits for that. Gives back
    /// what went wrong with any of them.
    pub async fn finish(&mut self) -> Vec<String> {
        let mut errors = Vec::new();
        for Running { command, group, mut end } in self.running.drain(..) {
            // The task has reaped the shell if it is finished; its number may then be another's.
            let told_to_end = !end.is_finished();
            if told_to_end {
                let _ = killpg(group, Signal::SIGTERM);
            }
            match timeout(UNDO, &mut end).await {
                Ok(Ok(Err(reason))) if !told_to_end => errors.push(format!("`{command}`: {reason}")),
                Ok(_) => {}
                Err(_) => {
                    let _ = killpg(group, Signal::SIGKILL);
                    errors.push(format!("`{command}` did not end within {UNDO:?} of being told to"));
                }
            }
        }
        errors
    }
}

/// Reads what a command says and sees to its end.
async fn attend(
    mut child: Child,
    output: impl AsyncRead + Unpin + Send + 'static,
    tell: oneshot::Sender<Result<Told, String>>,
    limit: Duration,
) -> Result<(), String> {
    let mut listening = tokio::spawn(listen(output, tell));
    let status = match timeout(limit, child.wait()).await {
        Ok(status) => status.map_err(|error| error.to_string()),
        Err(_) => {
            if let Some(id) = child.id().and_then(|id| i32::try_from(id).ok()) {
                let _ = killpg(Pid::from_raw(id), Signal::SIGTERM);
            }
            let _ = timeout(UNDO, child.wait()).await;
            Err(format!("the command had not ended after {limit:?}"))
        }
    };
    // What it started may hold the output open for ever.
    if timeout(LAST_WORDS, &mut listening).await.is_err() {
        listening.abort();
    }
    match status? {
        status if status.success() => Ok(()),
        status => Err(format!("the command ended with {status}")),
    }
}

/// Looks for the line that tells of the fault, and takes the rest so that the command never blocks.
async fn listen(output: impl AsyncRead + Unpin, tell: oneshot::Sender<Result<Told, String>>) {
    let mut tell = Some(tell);
    let mut reader = BufReader::new(output);
    loop {
        let mut line = Vec::new();
        match (&mut reader).take(MAX_LINE).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        if let Some(told) = Told::read(&line)
            && let Some(tell) = tell.take()
        {
            let _ = tell.send(told);
        }
    }
}

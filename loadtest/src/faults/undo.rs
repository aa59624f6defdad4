//! Undoes faults: after their time, and at the run's end whatever happens.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::process::Command;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// The longest that undoing one fault may take.
const LIMIT: Duration = Duration::from_secs(30);

/// What is to be undone.
#[derive(Debug, Default)]
pub struct Undoing {
    pending: Vec<Pending>,
}

#[derive(Debug)]
struct Pending {
    command: String,
    now: Arc<Notify>,
    done: JoinHandle<Result<(), String>>,
}

/// When something is undone.
#[derive(Debug)]
pub struct Due(Arc<Notify>);

impl Due {
    /// After so long.
    pub fn after(self, time: Duration) {
        tokio::spawn(async move {
            sleep(time).await;
            self.0.notify_one();
        });
    }
}

impl Undoing {
    /// Has `command` run when what is given back is told to, or else when the run ends. To be called before there is
    /// anything to undo: the run may be interrupted at any moment.
    pub fn later(&mut self, command: &str) -> Due {
        let now = Arc::new(Notify::new());
        let done = tokio::spawn({
            let (command, now) = (command.to_owned(), now.clone());
            async move {
                now.notified().await;
                run(&command).await
            }
        });
        self.pending.push(Pending { command: command.to_owned(), now: now.clone(), done });
        Due(now)
    }

    /// Undoes what is not undone yet; gives back what could not be.
    pub async fn finish(&mut self) -> Vec<String> {
        let mut errors = Vec::new();
        // The last first, as layers are taken off.
        for Pending { command, now, done } in self.pending.drain(..).rev() {
            now.notify_one();
            let result = done.await.map_err(|error| error.to_string()).and_then(|result| result);
            if let Err(reason) = result {
                errors.push(format!("the fault could not be undone: `{command}`: {reason}"));
            }
        }
        errors
    }
}

async fn run(command: &str) -> Result<(), String> {
    let child = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        // A Ctrl-C at the terminal is for us; this is what is done because of it.
        .process_group(0)
        .kill_on_drop(true)
        .status();
    match timeout(LIMIT, child).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(format!("it ended with {status}")),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("it had not ended after {LIMIT:?}")),
    }
}

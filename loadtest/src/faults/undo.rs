//! Undoes faults: after their time, and at the run's end whatever happens.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::process::Command;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::cluster::Managers;
use super::recovery::Victim;

/// The longest that undoing one fault may take.
const LIMIT: Duration = Duration::from_secs(30);

/// What is to be undone.
#[derive(Debug, Default)]
pub struct Undoing {
    pending: Vec<Pending>,
    at_managers: Vec<AtManager>,
}

/// What a manager undoes by itself when its time is over.
#[derive(Debug)]
pub struct AtManager {
    /// What was done.
    pub fault: String,
    /// To whom.
    pub victim: Victim,
    /// When it is undone at the latest.
    pub undone_by: Instant,
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

    /// Notes what a manager was told to do for a while.
    pub fn by_manager(&mut self, ordered: AtManager) {
        self.at_managers.push(ordered);
    }

    /// Notes that what was done to `victim` is over.
    pub fn done(&mut self, victim: &Victim) {
        self.at_managers.retain(|ordered| ordered.victim != *victim);
    }

    /// Has the managers undo what is in force by their doing; tells of what has to wait until its time is over.
    pub async fn at_managers(&mut self, managers: Option<&Managers>) -> Vec<String> {
        let mut waiting = Vec::new();
        let (false, Some(managers)) = (self.at_managers.is_empty(), managers) else { return waiting };
        let answers = managers.ask().await;
        for AtManager { fault, victim, undone_by } in self.at_managers.drain(..).rev() {
            let undone = match &answers {
                Ok(answers) => managers.undo(answers, &victim).await.is_ok(),
                Err(_) => false,
            };
            // What it has undone by itself meanwhile was undone twice, which does no harm.
            if !undone && undone_by > Instant::now() {
                let seconds = undone_by.saturating_duration_since(Instant::now()).as_secs() + 1;
                waiting.push(format!("{fault}: out of reach, and over by itself within {seconds} s"));
            }
        }
        waiting
    }

    /// Undoes by command what is not undone yet; gives back what could not be.
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

//! What is told while a run is under way, on standard error: on a terminal one line that is written
//! anew each second, elsewhere a line every five seconds, and always a line for each fault and recovery.

use std::io::{IsTerminal, Write, stderr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::count::Ledger;

/// Writes the progress of one run.
#[derive(Debug)]
pub struct Progress {
    terminal: bool,
    ledger: std::sync::Arc<Mutex<Ledger>>,
}

impl Progress {
    /// Progress of the run that `ledger` counts.
    pub fn new(ledger: std::sync::Arc<Mutex<Ledger>>) -> Self {
        Progress { terminal: stderr().is_terminal(), ledger }
    }

    /// Writes a line that stays.
    pub fn line(&self, text: &str) {
        self.write(&format!("{}{text}\n", self.rewind()));
    }

    /// Tells how far the run is, again and again; never ends.
    pub async fn tell(&self) {
        let interval = Duration::from_secs(if self.terminal { 1 } else { 5 });
        let mut passed = Duration::ZERO;
        loop {
            tokio::time::sleep(interval).await;
            passed += interval;
            let (succeeded, failed) = self.ledger.lock().unwrap_or_else(PoisonError::into_inner).totals();
            let text = format!("{:7} s  {succeeded} succeeded, {failed} failed", passed.as_secs());
            if self.terminal {
                self.write(&format!("{}{text}", self.rewind()));
            } else {
                self.line(&text);
            }
        }
    }

    /// Takes the unfinished line away.
    pub fn end(&self) {
        self.write(self.rewind());
    }

    fn rewind(&self) -> &'static str {
        if self.terminal { "\r\x1b[2K" } else { "" }
    }

    fn write(&self, text: &str) {
        // Nobody may be listening; the run goes on.
        let _ = stderr().write_all(text.as_bytes());
    }
}

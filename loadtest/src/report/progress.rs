//! What is told while a run is under way, on standard error: on a terminal a view of the last minute that is drawn
//! anew twice a second, elsewhere a line every five seconds, and always a line for each fault and recovery.
//!
//! The terminal stays in its ordinary mode and its cursor stays visible, so that nothing has to be restored however
//! the program ends.

use std::io::{Write, stderr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use console::Term;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::live::{Mark, Scene};
use crate::count::Ledger;
use crate::pace::Clock;

const DRAWN_EVERY: Duration = Duration::from_millis(500);
const TOLD_EVERY: Duration = Duration::from_secs(5);

/// Writes the progress of one run.
#[derive(Debug)]
pub struct Progress {
    /// What is drawn on; none where standard error is no terminal.
    view: Option<ProgressBar>,
    ledger: Arc<Mutex<Ledger>>,
    /// When requests began, and how long they are sent, in microseconds, where that is known beforehand.
    schedule: Mutex<Option<(Clock, Option<u64>)>>,
    marks: Mutex<Vec<Mark>>,
}

impl Progress {
    /// Progress of the run that `ledger` counts.
    pub fn new(ledger: Arc<Mutex<Ledger>>) -> Self {
        let view = can_draw().then(|| {
            let view = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            view.set_style(
                ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
            view
        });
        Progress { view, ledger, schedule: Mutex::default(), marks: Mutex::default() }
    }

    /// The run has begun and is to last so many microseconds; none where its requests say when it is over.
    pub fn begin(&self, clock: Clock, duration_us: Option<u64>) {
        *lock(&self.schedule) = Some((clock, duration_us));
    }

    /// A fault was injected.
    pub fn fault(&self, name: &str, at_us: u64) {
        lock(&self.marks).push(Mark { name: name.to_owned(), at_us, recovered_us: None });
    }

    /// The fault before has recovered.
    pub fn recovered(&self, at_us: u64) {
        if let Some(mark) = lock(&self.marks).last_mut() {
            mark.recovered_us = Some(at_us);
        }
    }

    /// Writes a line that stays.
    pub fn line(&self, text: &str) {
        match &self.view {
            Some(view) => view.suspend(|| write(text)),
            None => write(text),
        }
    }

    /// Tells how far the run is, again and again; never ends.
    pub async fn tell(&self) {
        loop {
            tokio::time::sleep(if self.view.is_some() { DRAWN_EVERY } else { TOLD_EVERY }).await;
            let Some((clock, duration_us)) = *lock(&self.schedule) else { continue };
            match &self.view {
                Some(view) => view.set_message(self.drawn(clock.now_us(), duration_us)),
                None => {
                    let (succeeded, failed) = lock(&self.ledger).totals();
                    let passed = clock.now_us() / 1_000_000;
                    self.line(&format!("{passed:7} s  {succeeded} succeeded, {failed} failed"));
                }
            }
        }
    }

    /// Takes away what does not stay.
    pub fn end(&self) {
        if let Some(view) = &self.view {
            view.finish_and_clear();
        }
    }

    fn drawn(&self, now_us: u64, duration_us: Option<u64>) -> String {
        let columns = usize::from(Term::stderr().size().1);
        let scene = {
            let ledger = lock(&self.ledger);
            Scene::of(&ledger.timeline, ledger.totals(), now_us, duration_us, columns)
        };
        scene.lines(&lock(&self.marks), columns).join("\n")
    }
}

/// On a dumb terminal nothing can be drawn anew.
fn can_draw() -> bool {
    console::user_attended_stderr() && std::env::var_os("TERM").is_some_and(|term| term != "dumb")
}

fn write(text: &str) {
    // Nobody may be listening; the run goes on.
    let _ = stderr().write_all(format!("{text}\n").as_bytes());
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

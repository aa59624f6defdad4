//! One line for each request, in JSON with everything that was tried for it; or for some, or for those that failed. An
//! option: without it nothing of this is made.
//!
//! ```text
//!   request ──▶ trace (`observe`) ◀── each of its attempts, as it ends
//!                 │ the last of them lets go
//!                 ▼
//!             one line ──▶ buffer ──every 100 ms──▶ file   (a thread of its own)
//!                             │ full: the line is dropped, and counted
//! ```
//!
//! Lines are gathered because a wake-up for each costs half as much as the request itself.

mod combined;
mod entry;
mod file;
mod line;
mod passed;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

pub(crate) use self::entry::{About, Ended, Entry};
use self::file::LogFile;
pub(crate) use self::passed::Passed;
use super::lock;
use crate::settings::{self, LogFormat, Only};

/// How often lines are written.
const FLUSH: Duration = Duration::from_millis(100);

/// What waits to be written is at most so long, in bytes: a disk that stands still must not take the memory.
const BUFFER: usize = 8 << 20;

/// The access log of the process.
#[derive(Debug)]
pub(crate) struct AccessLog {
    rules: Rules,
    lines: Mutex<Lines>,
    wanted: Condvar,
    writer: Mutex<Option<JoinHandle<()>>>,
    written: AtomicU64,
    dropped: AtomicU64,
}

/// What is written, and how.
#[derive(Clone, Copy, Debug)]
struct Rules {
    format: LogFormat,
    only: Only,
    sample: f64,
}

#[derive(Debug, Default)]
struct Lines {
    text: Vec<u8>,
    count: u64,
    stop: bool,
    reopen: bool,
}

impl AccessLog {
    /// Opens the log and starts its thread.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened or the thread cannot be started.
    pub(crate) fn start(settings: &settings::AccessLog) -> io::Result<Arc<Self>> {
        let file = LogFile::open(settings)?;
        let settings::AccessLog { format, only, sample, .. } = *settings;
        let log = Arc::new(AccessLog {
            rules: Rules { format, only, sample },
            lines: Mutex::default(),
            wanted: Condvar::new(),
            writer: Mutex::default(),
            written: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        });
        let for_thread = log.clone();
        let thread = std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || for_thread.write(file))?;
        *lock(&log.writer) = Some(thread);
        Ok(log)
    }

    /// Whether its lines say what clients call themselves, and where they come from.
    pub(crate) fn tells_agents(&self) -> bool {
        self.rules.format == LogFormat::Combined
    }

    /// Adds a line, which ends with a line feed.
    fn append(&self, line: &[u8]) {
        let mut lines = lock(&self.lines);
        if lines.text.len() + line.len() > BUFFER {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        lines.text.extend_from_slice(line);
        lines.count += 1;
    }

    /// Writes what is left and ends.
    pub(crate) fn finish(&self) {
        lock(&self.lines).stop = true;
        self.wanted.notify_all();
        if let Some(writer) = lock(&self.writer).take() {
            let _ = writer.join();
        }
    }

    /// Has the file opened anew now, as whoever moved it away asks for.
    pub(crate) fn reopen(&self) {
        lock(&self.lines).reopen = true;
        self.wanted.notify_all();
    }

    /// Lines written so far.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Lines that were lost, because the disk was too slow or refused them.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn write(&self, mut file: LogFile) {
        let mut spare = Vec::new();
        let mut failing = false;
        loop {
            let lines = lock(&self.lines);
            let waited = self.wanted.wait_timeout_while(lines, FLUSH, |lines| !lines.stop && !lines.reopen);
            let (mut lines, _) = waited.unwrap_or_else(PoisonError::into_inner);
            let (count, stop) = (std::mem::take(&mut lines.count), lines.stop);
            let reopen = std::mem::take(&mut lines.reopen);
            let text = std::mem::replace(&mut lines.text, spare);
            drop(lines);
            if count > 0 {
                match file.write(&text) {
                    Ok(()) => {
                        self.written.fetch_add(count, Ordering::Relaxed);
                        failing = false;
                    }
                    Err(error) => {
                        self.dropped.fetch_add(count, Ordering::Relaxed);
                        if !std::mem::replace(&mut failing, true) {
                            tracing::error!(path = %file.path().display(), %error, "THE ACCESS LOG CANNOT BE WRITTEN");
                        }
                    }
                }
            }
            if reopen {
                match file.reopen() {
                    Ok(()) => tracing::info!(path = %file.path().display(), "access log opened anew"),
                    Err(error) => {
                        tracing::error!(path = %file.path().display(), %error, "THE ACCESS LOG CANNOT BE OPENED");
                    }
                }
            }
            if stop {
                return;
            }
            spare = text;
            spare.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(path: std::path::PathBuf, max_bytes: u64) -> settings::AccessLog {
        let (format, only) = (LogFormat::Json, Only::All);
        settings::AccessLog { path, max_bytes, keep: 2, format, only, sample: 1.0 }
    }

    #[test]
    fn lines_are_written_at_the_latest_at_the_end() {
        let directory = tempfile::tempdir().expect("directory");
        let settings = settings(directory.path().join("access.json"), 1 << 20);
        let log = AccessLog::start(&settings).expect("started");
        (0..100).for_each(|_| log.append(b"a line\n"));
        log.finish();
        assert_eq!((log.written(), log.dropped()), (100, 0));
        let text = std::fs::read_to_string(&settings.path).expect("written");
        assert_eq!(text, "a line\n".repeat(100));
    }

    #[test]
    fn it_is_opened_anew_when_asked_though_nothing_is_to_be_written() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("access.json");
        let log = AccessLog::start(&settings(path.clone(), 1 << 20)).expect("started");
        log.append(b"before\n");
        while log.written() == 0 {
            std::thread::yield_now();
        }
        std::fs::rename(&path, directory.path().join("moved")).expect("moved");
        log.reopen();
        while !path.exists() {
            std::thread::yield_now();
        }
        log.append(b"after\n");
        log.finish();
        assert_eq!(std::fs::read_to_string(&path).expect("written"), "after\n");
        assert_eq!(std::fs::read_to_string(directory.path().join("moved")).expect("there"), "before\n");
    }

    #[test]
    fn what_is_lost_is_counted() {
        let directory = tempfile::tempdir().expect("directory");
        let log =
            AccessLog::start(&settings(directory.path().join("access.json"), 1 << 30)).expect("started");
        log.append(&vec![b'x'; BUFFER + 1]);
        std::fs::remove_dir_all(directory.path()).expect("removed");
        log.append(b"nowhere to go\n");
        log.finish();
        assert_eq!((log.written(), log.dropped()), (0, 2));
    }
}

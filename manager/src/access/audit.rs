//! The audit log: who changed what, and who was refused to.
//!
//! ```text
//!   changes ──▶ audit.log ──▶ audit.log.1 … .4       at most 5 × 1 MiB
//!   refused ──▶ audit-refused.log ──▶ ….1            at most 2 × 1 MiB, and so many a minute
//! ```
//!
//! One line of JSON each, flushed to the kernel before the answer is sent. Refusals have a file of their own,
//! so that somebody who knocks for days cannot push out what was really changed.

mod file;
mod pace;

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wire::access::AuditEntry;

use file::LogFile;
use pace::Pace;

/// When a file is this long it is put aside and a new one begun, in bytes.
const FILE_SIZE: u64 = 1 << 20;

/// So many files of changes are kept besides the present one.
const CHANGES_KEPT: u32 = 4;

/// So many files of refusals are kept besides the present one.
const REFUSALS_KEPT: u32 = 1;

/// `GET /audit` gives at most so many entries.
pub const MOST_ENTRIES: usize = 1_000;

/// The audit log of one manager.
#[derive(Clone)]
pub struct Audit {
    files: Arc<Mutex<Files>>,
    /// Apart from the files: whoever is one of too many waits for no disk.
    pace: Arc<Mutex<Pace>>,
    lost: Arc<AtomicU64>,
}

struct Files {
    changes: LogFile,
    refusals: LogFile,
    /// Whether the last line could not be written; said once.
    failing: bool,
}

impl Audit {
    /// The log in `directory`.
    pub fn new(directory: &Path) -> Self {
        Audit {
            files: Arc::new(Mutex::new(Files {
                changes: LogFile::new(directory.join("audit.log"), FILE_SIZE, CHANGES_KEPT),
                refusals: LogFile::new(directory.join("audit-refused.log"), FILE_SIZE, REFUSALS_KEPT),
                failing: false,
            })),
            pace: Arc::default(),
            lost: Arc::default(),
        }
    }

    /// Writes `entry`, unless it is one of too many refusals. Blocks while the disk does. A change that was
    /// made cannot be unmade because the log is full: what could not be written is counted and said.
    pub fn write(&self, mut entry: AuditEntry) {
        if entry.refused.is_some() {
            let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
            match pace.admit(entry.unix_ms) {
                Some(unlisted) => entry.unlisted = unlisted,
                None => return,
            }
        }
        let mut files = self.lock();
        let file = if entry.refused.is_some() { &files.refusals } else { &files.changes };
        let written = file.append(&entry);
        match written {
            Ok(()) => files.failing = false,
            Err(error) => {
                self.lost.fetch_add(1, Ordering::Relaxed);
                if !std::mem::replace(&mut files.failing, true) {
                    tracing::error!(
                        "the audit log cannot be written ({error}): changes are made all the same, and counted in \
                         manager_audit_lost_total; is the disk of state_dir full?"
                    );
                }
            }
        }
    }

    /// The newest `count` entries, the oldest of them first.
    ///
    /// # Errors
    ///
    /// When a file cannot be read.
    pub fn newest(&self, count: usize) -> io::Result<Vec<AuditEntry>> {
        let (changes, refusals) = {
            let files = self.lock();
            (files.changes.clone(), files.refusals.clone())
        };
        let mut entries = changes.newest(count)?;
        entries.extend(refusals.newest(count)?);
        entries.sort_by_key(|entry| entry.unix_ms);
        entries.drain(..entries.len().saturating_sub(count));
        Ok(entries)
    }

    /// How many entries could not be written since the manager started.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(unix_ms: u64, refused: bool) -> AuditEntry {
        AuditEntry {
            unix_ms,
            who: "uid 0 on the socket".to_owned(),
            method: "POST".to_owned(),
            path: "/vms".to_owned(),
            status: if refused { 403 } else { 202 },
            body: Some("x".repeat(200)),
            refused: refused.then(|| "no".to_owned()),
            unlisted: 0,
        }
    }

    fn bytes_in(directory: &Path) -> u64 {
        let files = std::fs::read_dir(directory).expect("readable");
        files.map(|file| file.expect("a file").metadata().expect("its length").len()).sum()
    }

    #[test]
    fn both_kinds_come_back_in_order_and_nothing_grows_for_ever() {
        let directory = tempfile::tempdir().expect("a directory");
        let audit = Audit::new(directory.path());
        assert_eq!(audit.newest(10).expect("readable"), []);
        audit.write(entry(1, false));
        audit.write(entry(2, true));
        audit.write(entry(3, false));
        let times = |count| -> Vec<u64> {
            audit.newest(count).expect("readable").iter().map(|entry| entry.unix_ms).collect()
        };
        assert_eq!(times(10), [1, 2, 3]);
        assert_eq!(times(2), [2, 3]);

        // A flood of refusals, all at once, then for a year.
        for _ in 0..10_000 {
            audit.write(entry(4, true));
        }
        assert!(bytes_in(directory.path()) < 100_000, "{}", bytes_in(directory.path()));
        for minute in 0..60 * 24 * 365_u64 {
            if minute % 16 == 0 {
                audit.write(entry(minute * 60_000, true));
            }
        }
        assert!(bytes_in(directory.path()) < 3 * FILE_SIZE);
        assert!(audit.newest(1_000_000).expect("readable").iter().any(|entry| entry.unix_ms == 1));

        for n in 0..40_000 {
            audit.write(entry(u64::MAX - 40_000 + n, false));
        }
        assert!(bytes_in(directory.path()) < 7 * FILE_SIZE + 10_000);
        assert_eq!(times(1), [u64::MAX - 1]);
        assert_eq!(audit.lost(), 0);
    }

    #[test]
    fn what_cannot_be_written_is_counted() {
        let directory = tempfile::tempdir().expect("a directory");
        let audit = Audit::new(&directory.path().join("gone"));
        audit.write(entry(1, false));
        audit.write(entry(2, false));
        assert_eq!(audit.lost(), 2);
    }
}

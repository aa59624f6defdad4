//! A file of JSON lines that is put aside when it is long enough.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use wire::access::AuditEntry;

/// Where lines go, and how much is kept of them.
#[derive(Clone)]
pub(super) struct LogFile {
    path: PathBuf,
    size: u64,
    kept: u32,
}

impl LogFile {
    /// `path`, and `kept` earlier ones beside it with a number, each at most `size` bytes and a line.
    pub(super) fn new(path: PathBuf, size: u64, kept: u32) -> Self {
        LogFile { path, size, kept }
    }

    /// Adds a line. Opened anew each time, so that somebody may move or remove the file: changes are rare.
    pub(super) fn append(&self, entry: &AuditEntry) -> io::Result<()> {
        let length = match fs::metadata(&self.path) {
            Ok(meta) => meta.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        if length >= self.size {
            self.rotate()?;
        }
        let mut file =
            OpenOptions::new().append(true).create(true).read(true).mode(0o600).open(&self.path)?;
        let mut line = Vec::new();
        // The disk was full in the middle of the line before, or the host died there.
        if !ends_with_newline(&file)? {
            line.push(b'\n');
        }
        serde_json::to_writer(&mut line, entry)?;
        line.push(b'\n');
        file.write_all(&line)
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        if number > 0 {
            name.push(format!(".{number}"));
        }
        name.into()
    }

    fn rotate(&self) -> io::Result<()> {
        for number in (0..self.kept).rev() {
            match fs::rename(self.numbered(number), self.numbered(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// The newest `count` entries, the oldest of them first. A line that is none, because the disk was full
    /// in the middle of it, is left out.
    pub(super) fn newest(&self, count: usize) -> io::Result<Vec<AuditEntry>> {
        let mut newest = Vec::new();
        for number in 0..=self.kept {
            if newest.len() >= count {
                break;
            }
            let mut entries = read(&self.numbered(number))?;
            entries.append(&mut newest);
            newest = entries;
        }
        newest.drain(..newest.len().saturating_sub(count));
        Ok(newest)
    }
}

fn ends_with_newline(file: &File) -> io::Result<bool> {
    use std::os::unix::fs::FileExt;
    let length = file.metadata()?.len();
    let mut last = [b'\n'];
    if length > 0 {
        file.read_exact_at(&mut last, length - 1)?;
    }
    Ok(last == [b'\n'])
}

fn read(path: &Path) -> io::Result<Vec<AuditEntry>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut entries = Vec::new();
    for line in BufReader::new(file).split(b'\n') {
        entries.extend(serde_json::from_slice::<AuditEntry>(&line?).ok());
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_cut_short_spoils_no_other() {
        let directory = tempfile::tempdir().expect("a directory");
        let log = LogFile::new(directory.path().join("log"), 1_000, 1);
        let entry = AuditEntry {
            unix_ms: 1,
            who: "x".to_owned(),
            method: "POST".to_owned(),
            path: "/vms".to_owned(),
            status: 202,
            body: None,
            refused: None,
            unlisted: 0,
        };
        log.append(&entry).expect("written");
        let mut file = OpenOptions::new().append(true).open(directory.path().join("log")).expect("there");
        file.write_all(b"{\"unix_ms\":2,\"wh").expect("written");
        log.append(&AuditEntry { unix_ms: 3, ..entry }).expect("written");
        let times: Vec<u64> = log.newest(9).expect("readable").iter().map(|entry| entry.unix_ms).collect();
        assert_eq!(times, [1, 3]);
    }
}

//! The log's file. It is rotated when it has grown large; and when someone moved or removed it, as logrotate does,
//! a new one is begun without being told.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::settings::AccessLog;

/// The file that is written now.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    max_bytes: u64,
    keep: u32,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    identity: (u64, u64),
    bytes: u64,
}

impl LogFile {
    /// Opens the file to append to it.
    ///
    /// # Errors
    ///
    /// When that is not possible.
    pub(super) fn open(settings: &AccessLog) -> io::Result<Self> {
        let AccessLog { path, max_bytes, keep, .. } = settings.clone();
        let open = Some(Open::at(&path)?);
        Ok(LogFile { path, max_bytes, keep, open })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the file anew, where it should be.
    ///
    /// # Errors
    ///
    /// When that is not possible. The next lines try again.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        self.open = None;
        self.open = Some(Open::at(&self.path)?);
        Ok(())
    }

    /// Appends whole lines.
    ///
    /// # Errors
    ///
    /// When the disk refuses them. The next call tries to open the file anew.
    pub(super) fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let moved = |open: &Open| fs::metadata(&self.path).map_or(true, |there| open.identity != of(&there));
        let mut open = match self.open.take().filter(|open| !moved(open)) {
            Some(open) => open,
            None => Open::at(&self.path)?,
        };
        open.file.write_all(lines)?;
        open.bytes += lines.len() as u64;
        if open.bytes >= self.max_bytes {
            drop(open);
            return self.rotate();
        }
        self.open = Some(open);
        Ok(())
    }

    /// `log` becomes `log.1`, that becomes `log.2`, and the oldest goes.
    fn rotate(&self) -> io::Result<()> {
        let numbered = |number: u32| {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        for number in (1..self.keep).rev() {
            match fs::rename(numbered(number), numbered(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.path, numbered(1))
    }
}

impl Open {
    fn at(path: &Path) -> io::Result<Self> {
        // Not for everyone: it tells who asked for what.
        let file = OpenOptions::new().append(true).create(true).mode(0o640).open(path)?;
        let metadata = file.metadata()?;
        Ok(Open { file, identity: of(&metadata), bytes: metadata.len() })
    }
}

fn of(metadata: &fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{LogFormat, Only};

    fn log(directory: &Path, max_bytes: u64) -> LogFile {
        let (format, only) = (LogFormat::Json, Only::All);
        let settings =
            AccessLog { path: directory.join("log"), max_bytes, keep: 2, format, only, sample: 1.0 };
        LogFile::open(&settings).expect("opened")
    }

    #[test]
    fn a_large_file_is_rotated_and_the_oldest_goes() {
        let directory = tempfile::tempdir().expect("directory");
        let mut log = log(directory.path(), 10);
        for line in ["first....\n", "second...\n", "third....\n", "4th\n"] {
            log.write(line.as_bytes()).expect("written");
        }
        let read = |name: &str| fs::read_to_string(directory.path().join(name)).expect(name);
        assert_eq!(
            (read("log"), read("log.1"), read("log.2")),
            ("4th\n".into(), "third....\n".into(), "second...\n".into())
        );
        assert!(!directory.path().join("log.3").exists());
    }

    #[test]
    fn a_moved_file_is_begun_anew_and_an_old_one_is_continued() {
        let directory = tempfile::tempdir().expect("directory");
        log(directory.path(), 1_000).write(b"one\n").expect("written");
        let mut log = log(directory.path(), 1_000);
        log.write(b"two\n").expect("written");
        fs::rename(directory.path().join("log"), directory.path().join("moved")).expect("moved");
        log.write(b"three\n").expect("written");
        let read = |name: &str| fs::read_to_string(directory.path().join(name)).expect(name);
        assert_eq!((read("moved"), read("log")), ("one\ntwo\n".into(), "three\n".into()));
    }
}

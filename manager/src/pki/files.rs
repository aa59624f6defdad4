//! What is on disk: `pki` in the manager's `state_dir`, for root only.
//!
//! | file | on | what |
//! |---|---|---|
//! | `ca.pem` | all hosts | the certificate of the cluster's CA |
//! | `ca.key` | the host of `manager init` | its key |
//! | `host-ca.pem`, `host-ca.key` | all hosts | this host's intermediate |
//! | `host.json` | all hosts | what the CA was told of this host |
//! | `members.json` | all hosts | the hosts; where there is no `ca.key`, as they were when this one joined |
//! | `revocations.pem` | all hosts | the newest list of revoked hosts |
//! | `tokens/` | the host of `manager init` | join tokens, hashed |
//! | `balancer.json` | hosts with a certified balancer | when its certificate is to be renewed |
//!
//! The directory appears as a whole, and each file in it is replaced as a whole.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use serde::Serialize;
use serde::de::DeserializeOwned;
use wire::tls::Member;

use super::PkiError;
use super::authority::Authority;
use super::intermediate::Intermediate;

/// The name of the directory in the manager's `state_dir`.
pub const NAME: &str = "pki";

/// What a host's files take at most, with lists of some hundred hosts, in bytes.
const RESERVE: usize = 128 << 10;

/// The directory of a host's certificates.
#[derive(Clone, Debug)]
pub struct Directory {
    path: PathBuf,
}

/// A directory that is about to be made. Dropped, it leaves nothing.
pub struct Prepared {
    /// Where it is made.
    new: PathBuf,
    /// Keeps the room that it will need.
    reserve: PathBuf,
    directory: Directory,
    /// Of `state_dir`: one is made at a time.
    _lock: Flock<File>,
}

impl Prepared {
    /// Makes the directory, with these files: all of it or nothing.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn finish(self, files: &[(&str, Vec<u8>)]) -> Result<(), PkiError> {
        let path = &self.directory.path;
        let io = |error| PkiError::Io { what: path.display().to_string(), error };
        fs::remove_file(&self.reserve).map_err(io)?;
        for (name, content) in files {
            write_private(&self.new.join(name), content)?;
        }
        fs::rename(&self.new, path).map_err(io)?;
        let parent = path.parent().unwrap_or(Path::new("."));
        File::open(parent).and_then(|parent| parent.sync_all()).map_err(io)
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        // Not there once it is made; and what cannot be removed now is removed by the next one.
        let _ = fs::remove_dir_all(&self.new);
    }
}

impl Directory {
    /// The one in `state_dir`, there or not.
    pub fn of(state_dir: &Path) -> Self {
        Directory { path: state_dir.join(NAME) }
    }

    /// Whether it is there. One that cannot be looked at counts as there.
    pub fn exists(&self) -> bool {
        self.path.try_exists().unwrap_or(true)
    }

    /// A file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes ready for it, so that what others are asked for in between can be stored.
    ///
    /// # Errors
    ///
    /// When it is there already, somebody else makes it right now, or the disk does not let us.
    pub fn prepare(&self) -> Result<Prepared, PkiError> {
        let io = |error| PkiError::Io { what: self.path.display().to_string(), error };
        let parent = self.path.parent().unwrap_or(Path::new("."));
        // It is not ours alone: the members of socket_group have to get to the socket in it.
        fs::create_dir_all(parent).map_err(io)?;
        let lock = File::open(parent).map_err(io)?;
        let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
            nix::errno::Errno::EWOULDBLOCK => PkiError::Refused(format!(
                "another `manager init` or `manager join` is at work in {}: wait for it, or end it",
                parent.display()
            )),
            errno => io(errno.into()),
        })?;
        if self.exists() {
            return Err(io(io::ErrorKind::AlreadyExists.into()));
        }
        let new = self.path.with_extension("new");
        match fs::remove_dir_all(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
            _ => {}
        }
        DirBuilder::new().mode(0o700).create(&new).map_err(io)?;
        DirBuilder::new().mode(0o700).create(new.join("tokens")).map_err(io)?;
        let reserve = new.join("reserve");
        write_private(&reserve, &[0; RESERVE])?;
        Ok(Prepared { new, reserve, directory: self.clone(), _lock: lock })
    }

    /// Makes it, with these files: all of it or nothing.
    ///
    /// # Errors
    ///
    /// When it is there already, or cannot be written.
    pub fn create(&self, files: &[(&str, Vec<u8>)]) -> Result<(), PkiError> {
        self.prepare()?.finish(files)
    }

    /// The text of one of its files; none where there is no such file.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn find(&self, name: &str) -> Result<Option<String>, PkiError> {
        match fs::read_to_string(self.path(name)) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(PkiError::Io { what: self.path(name).display().to_string(), error }),
        }
    }

    /// The text of one of its files, which must be there.
    ///
    /// # Errors
    ///
    /// When the host belongs to no cluster, and when the file cannot be read.
    pub fn read(&self, name: &str) -> Result<String, PkiError> {
        match self.find(name)? {
            Some(text) => Ok(text),
            None if !self.exists() => Err(PkiError::NotInitialised),
            None => Err(PkiError::Damaged(format!("{} is missing", self.path(name).display()))),
        }
    }

    fn parse<T: DeserializeOwned>(&self, name: &str) -> Result<T, PkiError> {
        serde_json::from_str(&self.read(name)?)
            .map_err(|error| {
                PkiError::Damaged(format!(
                    "{} is damaged ({error}): put a copy of it back; \"When something is lost\" in docs/security.md says \
                     what to do without one",
                    self.path(name).display()
                ))
            })
    }

    /// Replaces one of its files; after a power cut there is the old one or the new one.
    ///
    /// # Errors
    ///
    /// When it cannot be written; then the old one is still there.
    pub fn replace(&self, name: &str, content: &[u8]) -> Result<(), PkiError> {
        write_private(&self.path(name), content)
    }

    /// The same, of something as JSON.
    ///
    /// # Errors
    ///
    /// As [`Directory::replace`].
    pub fn store(&self, name: &str, value: &impl Serialize) -> Result<(), PkiError> {
        self.replace(name, &json(value)?)
    }

    /// The hosts of the cluster, as far as this host knows.
    ///
    /// # Errors
    ///
    /// When they cannot be read.
    pub fn members(&self) -> Result<Vec<Member>, PkiError> {
        self.parse("members.json")
    }

    /// This host, as the CA knows it.
    ///
    /// # Errors
    ///
    /// When that cannot be read.
    pub fn own(&self) -> Result<Member, PkiError> {
        self.parse("host.json")
    }

    /// The CA, where its key is.
    ///
    /// # Errors
    ///
    /// [`PkiError::NoAuthority`] where it is not; names the host that has it.
    pub fn authority(&self) -> Result<Authority, PkiError> {
        let certificate = self.read("ca.pem")?;
        match self.find("ca.key")? {
            Some(key) => Authority::load(&certificate, &key),
            None => {
                let keeper =
                    self.members()?.into_iter().find(|member| member.keeps_ca && member.revoked_s.is_none());
                Err(PkiError::NoAuthority(match keeper {
                    Some(keeper) => {
                        format!("host `{}` at {} keeps it: do it there", keeper.host, keeper.address)
                    }
                    None => "do it on the host where `manager init` was run".to_owned(),
                }))
            }
        }
    }

    /// This host's intermediate.
    ///
    /// # Errors
    ///
    /// When it cannot be used.
    pub fn intermediate(&self) -> Result<Intermediate, PkiError> {
        let (ca, certificate) = (self.read("ca.pem")?, self.read("host-ca.pem")?);
        Intermediate::load(&ca, &certificate, &self.read("host-ca.key")?, &self.own()?)
    }

    /// One change at a time, whichever process makes it.
    ///
    /// # Errors
    ///
    /// When the host belongs to no cluster.
    pub fn lock(&self) -> Result<Flock<File>, PkiError> {
        if !self.exists() {
            return Err(PkiError::NotInitialised);
        }
        let path = self.path(".lock");
        let io = |error| PkiError::Io { what: path.display().to_string(), error };
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path).map_err(io)?;
        Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| io(errno.into()))
    }
}

pub(super) fn json(value: &impl Serialize) -> Result<Vec<u8>, PkiError> {
    serde_json::to_vec_pretty(value).map_err(|error| PkiError::Damaged(error.to_string()))
}

/// Writes a file that only its owner may read: beside, flushed, and renamed into place.
pub(super) fn write_private(path: &Path, content: &[u8]) -> Result<(), PkiError> {
    let written = || -> io::Result<()> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".part");
        let temporary = path.with_file_name(name);
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    written().map_err(|error| PkiError::Io { what: path.display().to_string(), error })
}

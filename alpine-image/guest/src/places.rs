//! Where a guest keeps things.

use std::path::{Path, PathBuf};

/// The directories that the guest program reads and writes.
#[derive(Clone, Debug)]
pub struct Places {
    /// What was made of the seed; gone with the machine.
    pub run: PathBuf,
    /// The kernel's list of devices.
    pub sys: PathBuf,
    /// The devices.
    pub dev: PathBuf,
    /// The processes.
    pub proc: PathBuf,
}

impl Places {
    /// The places of a system whose root directory is `root`.
    pub fn below(root: &Path) -> Self {
        Places {
            run: root.join("run/holdfast"),
            sys: root.join("sys"),
            dev: root.join("dev"),
            proc: root.join("proc"),
        }
    }

    /// The file that says how the program is started.
    pub fn command(&self) -> PathBuf {
        self.run.join("command")
    }

    /// The file with the variables of the program's environment.
    pub fn environment(&self) -> PathBuf {
        self.run.join("environment")
    }

    /// The file that says when the program was last started.
    pub fn starts(&self) -> PathBuf {
        self.run.join("starts")
    }
}

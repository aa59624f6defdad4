//! The processes of one program, by what the kernel says they run.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The first processes of `program`: those whose parent runs something else. A program that starts
/// itself once more, as `lb run` does, has one; its children are its own matter. There are more only
/// when a first process died without its children: then these are orphans, and first themselves.
pub(crate) fn first_of(proc: &Path, program: &Path) -> io::Result<Vec<i32>> {
    // The kernel names the file itself, not the links that lead to it.
    let program = fs::canonicalize(program).unwrap_or_else(|_| program.to_owned());
    let runs = |pid: i32| executable(proc, pid).is_some_and(|path| path == program);
    let mut first = Vec::new();
    for entry in fs::read_dir(proc)? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // A process that ended since has no parent any more.
        if runs(pid) && parent(proc, pid).is_some_and(|parent| !runs(parent)) {
            first.push(pid);
        }
    }
    first.sort_unstable();
    Ok(first)
}

/// What a process runs. The dead have nothing, and neither have threads of the kernel.
fn executable(proc: &Path, pid: i32) -> Option<PathBuf> {
    fs::read_link(proc.join(pid.to_string()).join("exe")).ok()
}

fn parent(proc: &Path, pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(proc.join(pid.to_string()).join("stat")).ok()?;
    // The second field, the name in parentheses, may contain anything.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A process table of `(pid, parent, executable)`.
    fn table(processes: &[(i32, i32, &str)]) -> tempfile::TempDir {
        let proc = tempfile::tempdir().expect("a directory");
        for (pid, parent, executable) in processes {
            let directory = proc.path().join(pid.to_string());
            fs::create_dir(&directory).expect("made");
            fs::write(directory.join("stat"), format!("{pid} (a) b) (c) S {parent} 1 1 0")).expect("written");
            if !executable.is_empty() {
                symlink(executable, directory.join("exe")).expect("linked");
            }
        }
        fs::create_dir(proc.path().join("sys")).expect("made");
        proc
    }

    fn first(processes: &[(i32, i32, &str)]) -> Vec<i32> {
        first_of(table(processes).path(), Path::new("/nowhere/lb")).expect("read")
    }

    #[test]
    fn the_first_process_is_the_one_with_another_parent() {
        let guest = [(1, 0, "/sbin/init"), (2, 0, ""), (40, 1, "/sbin/supervise-daemon")];
        let lb = [(300, 41, "/nowhere/lb"), (41, 40, "/nowhere/lb"), (42, 41, "/nowhere/lb")];
        assert_eq!(first(&[&guest[..], &lb].concat()), [41]);
        assert_eq!(first(&guest), Vec::<i32>::new());
    }

    #[test]
    fn orphans_are_found_too() {
        let orphan = [(1, 0, "/sbin/init"), (42, 1, "/nowhere/lb"), (50, 1, "/nowhere/lb")];
        assert_eq!(first(&orphan), [42, 50]);
    }

    #[test]
    fn the_dead_are_not_found() {
        assert_eq!(first(&[(1, 0, "/sbin/init"), (42, 1, "")]), Vec::<i32>::new());
    }

    #[test]
    fn a_program_is_found_by_a_link_to_it_as_well() {
        let directory = tempfile::tempdir().expect("a directory");
        let own = std::env::current_exe().expect("this test");
        let link = directory.path().join("link");
        symlink(&own, &link).expect("linked");
        let pid = std::process::id() as i32;
        assert!(first_of(Path::new("/proc"), &link).expect("read").contains(&pid));
    }
}

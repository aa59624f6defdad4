//! How many files, sockets among them, this process may have open.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises the number to what the system allows, and says what that is. The default of many systems is 1,024, which a
/// program has to raise by itself where it needs more.
///
/// # Errors
///
/// When the system does not say, or does not let us.
pub fn raise() -> io::Result<u64> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    Ok(most)
}

/// How many there may be now; 1,024 where the system does not say.
pub(crate) fn allowed() -> u64 {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(1_024, |(now, _)| now)
}

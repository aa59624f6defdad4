//! The listeners that say where a connection came from: the plain port and the manager's own socket.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use axum::Router;
use axum::serve::Listener;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Group, chown};
use tokio::net::unix;
use tokio::net::{TcpStream, UnixListener, UnixStream};

use super::{From, Origin};

/// The name of the socket in the manager's `state_dir`.
pub const SOCKET: &str = "manager.sock";

/// The longest path a socket can have, in bytes: `sun_path` without its end.
const SOCKET_PATH_MAX: usize = 107;

/// A user that no process has: credentials that the kernel does not give count as nobody's.
const NOBODY: u32 = u32::MAX;

/// Who is at the other end of a plain connection: an address.
pub fn on_the_network(_: &TcpStream, from: &SocketAddr) -> Origin {
    Origin { from: From::Network(*from), encrypted: false, certified: None }
}

/// Who is at the other end of the manager's own socket: a user of this host.
pub fn on_the_socket(stream: &UnixStream, _: &unix::SocketAddr) -> Origin {
    // SO_PEERCRED: who connected, whoever uses the connection now.
    let uid = stream.peer_cred().map_or(NOBODY, |credentials| credentials.uid());
    Origin { from: From::Socket { uid }, encrypted: false, certified: None }
}

/// Serves `router` on `listener` until the process ends; `about` says who is at the other end of a connection.
pub async fn serve<L: Listener>(
    listener: L,
    router: Router,
    about: impl Fn(&L::Io, &L::Addr) -> Origin,
) -> Infallible {
    let about = |stream: &L::Io, from: &L::Addr| {
        let origin = about(stream, from);
        let address = match origin.from {
            From::Network(from) => Some(from.ip()),
            From::Socket { .. } => None,
        };
        (origin, address)
    };
    kit::api::serve_bounded(listener, router, about).await
}

/// The manager's own socket in `directory`, for root and, if one is named, for the members of `group`. One that
/// an earlier life left is replaced. To be called once it is known that no other manager runs here.
///
/// # Errors
///
/// When it cannot be made.
pub fn socket(directory: &Path, group: Option<&str>) -> io::Result<UnixListener> {
    let path = directory.join(SOCKET);
    if path.as_os_str().len() > SOCKET_PATH_MAX {
        let message = format!("{} is too long for a socket: choose a shorter state_dir", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    // Made under another name and moved: whoever comes meanwhile meets the old one or the new one.
    let fresh = new_path(directory);
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = bind_private(&fresh)?;
    if let Some(name) = group {
        match Group::from_name(name) {
            Ok(Some(group)) => {
                chown(&fresh, None, Some(group.gid))?;
                fs::set_permissions(&fresh, fs::Permissions::from_mode(0o660))?;
            }
            _ => tracing::error!(
                "socket_group: there is no group `{name}` on this host, so that {} is for root only: \
                 `groupadd {name}`, then restart the manager",
                path.display()
            ),
        }
    }
    fs::rename(&fresh, &path)?;
    Ok(listener)
}

fn new_path(directory: &Path) -> PathBuf {
    // As long as the name it gets.
    directory.join("manager.new0")
}

/// There is no moment at which others could connect.
fn bind_private(path: &Path) -> io::Result<UnixListener> {
    let before = umask(Mode::from_bits_truncate(0o177));
    let bound = UnixListener::bind(path);
    umask(before);
    bound
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};

    use super::*;

    #[tokio::test]
    async fn the_socket_is_private_and_replaces_a_stale_one() {
        let directory = tempfile::tempdir().expect("a directory");
        for _ in 0..2 {
            // Dropped without a word, as by SIGKILL: the file stays.
            let _listener = socket(directory.path(), None).expect("a socket");
            let meta = fs::metadata(directory.path().join(SOCKET)).expect("there");
            assert!(meta.file_type().is_socket());
            assert_eq!(meta.permissions().mode() & 0o777, 0o600);
            assert_eq!(fs::read_dir(directory.path()).expect("readable").count(), 1);
        }
        let group = Group::from_gid(nix::unistd::getgid()).expect("readable").expect("a group");
        let _listener = socket(directory.path(), Some(&group.name)).expect("a socket");
        let meta = fs::metadata(directory.path().join(SOCKET)).expect("there");
        assert_eq!((meta.permissions().mode() & 0o777, meta.gid()), (0o660, group.gid.as_raw()));
        // A group that is not there opens it to nobody.
        let _listener = socket(directory.path(), Some("no-such-group-here")).expect("a socket");
        let meta = fs::metadata(directory.path().join(SOCKET)).expect("there");
        assert_eq!(meta.permissions().mode() & 0o777, 0o600);
    }

    #[tokio::test]
    async fn a_path_that_is_too_long_is_told() {
        let long = PathBuf::from(format!("/tmp/{}", "x".repeat(200)));
        let error = socket(&long, None).expect_err("refused");
        assert!(error.to_string().contains("shorter state_dir"), "{error}");
    }
}

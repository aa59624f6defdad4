//! How much of what was sent its receiver has not confirmed yet, which only the kernel knows: `SIOCOUTQ`, see
//! tcp(7). No crate that we use asks for it.
#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd as _};

use nix::errno::Errno;
use nix::libc;

/// The bytes sent on the TCP socket `socket` and not yet confirmed; the end of what is sent counts as one.
///
/// # Errors
///
/// When it is not a TCP socket.
pub(crate) fn unconfirmed(socket: &impl AsFd) -> nix::Result<u64> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: this request writes one int where its argument points to, which is an int that outlives the call;
    // the descriptor is borrowed, so it is open.
    Errno::result(unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) })?;
    Ok(u64::try_from(bytes).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn what_the_other_side_has_no_room_for_is_unconfirmed_until_it_has() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let mut reader = TcpStream::connect(listener.local_addr().expect("address")).expect("connected");
        let (mut writer, _) = listener.accept().expect("accepted");
        assert_eq!(unconfirmed(&writer), Ok(0));
        writer.set_nonblocking(true).expect("set");
        while writer.write(&[0; 1 << 16]).is_ok() {}
        writer.shutdown(Shutdown::Write).expect("ended");
        assert!(unconfirmed(&writer).expect("known") > 1);
        std::io::copy(&mut reader, &mut std::io::sink()).expect("read");
        let end = Instant::now() + Duration::from_secs(10);
        while unconfirmed(&writer) != Ok(0) {
            assert!(Instant::now() < end, "confirmed when it is read");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

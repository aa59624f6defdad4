//! Hears every frame that reaches the host, with the kernel's own time for each: what was sent before
//! a machine died and is only read afterwards must not count against it.

use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::socket::sockopt::ReceiveTimestampns;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockProtocol, SockType, recvmsg, setsockopt,
    socket,
};
use nix::sys::time::TimeSpec;

/// A frame, as far as it is needed to say what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    at: SystemTime,
    from: [u8; 6],
    /// The type of what is in the frame: 0x0806 is ARP, 0x0800 is IPv4.
    kind: u16,
}

/// The listener.
pub(crate) struct Tap {
    heard: Arc<Mutex<Vec<Heard>>>,
}

impl Tap {
    /// Listens on every interface of this network namespace from now on.
    pub(crate) fn open() -> Self {
        let socket =
            socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll)
                .expect("a packet socket");
        setsockopt(&socket, ReceiveTimestampns, &true).expect("time stamps");
        let heard = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&heard);
        thread::spawn(move || {
            while let Some(frame) = receive(&socket) {
                all.lock().expect("not poisoned").push(frame);
            }
        });
        Tap { heard }
    }

    /// What `mac` sent from `since` on.
    pub(crate) fn heard(&self, mac: [u8; 6], since: SystemTime) -> Vec<Heard> {
        let all = self.heard.lock().expect("not poisoned");
        all.iter().filter(|heard| heard.from == mac && heard.at >= since).copied().collect()
    }
}

fn receive(socket: &OwnedFd) -> Option<Heard> {
    let mut frame = [0; 64];
    let mut control = nix::cmsg_space!(TimeSpec);
    let mut parts = [IoSliceMut::new(&mut frame)];
    let message =
        recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::empty()).ok()?;
    let at = message.cmsgs().ok()?.find_map(|control| match control {
        ControlMessageOwned::ScmTimestampns(time) => Some(UNIX_EPOCH + Duration::from(time)),
        _ => None,
    });
    Some(Heard {
        at: at?,
        from: frame[6..12].try_into().expect("six bytes"),
        kind: u16::from_be_bytes([frame[12], frame[13]]),
    })
}

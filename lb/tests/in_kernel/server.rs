//! A server in a machine of its own, which says its name on each connection and then what it hears.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use nix::sched::{CloneFlags, setns};

use crate::namespaces::run;
use crate::{PORT, VIP, plug_in, set};

pub(crate) struct Server {
    pub(crate) name: &'static str,
    pub(crate) last: u8,
    /// None: its program does not run.
    listener: Option<TcpListener>,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    clients: Vec<IpAddr>,
    open: Vec<TcpStream>,
}

impl Server {
    pub(crate) fn start(name: &'static str, last: u8) -> Self {
        plug_in(name, last);
        let mut server = Server { name, last, listener: None, seen: Arc::default() };
        server.run();
        server
    }

    /// Three of them.
    pub(crate) fn three() -> [Self; 3] {
        [("s1", 31), ("s2", 32), ("s3", 33)].map(|(name, last)| Self::start(name, last))
    }

    /// Has it have the public address besides, without saying so to anybody.
    pub(crate) fn has_the_public_address(&self) {
        set(self.name, "net.ipv4.conf.all.arp_ignore", "1");
        set(self.name, "net.ipv4.conf.all.arp_announce", "2");
        run(&format!("ip -n {} address add {VIP}/32 dev lo", self.name));
    }

    /// Starts its program.
    pub(crate) fn run(&mut self) {
        let listener = self.listener();
        let (name, seen, accepts) = (self.name, self.seen.clone(), listener.try_clone().expect("a socket"));
        thread::spawn(move || {
            for stream in accepts.incoming().map_while(Result::ok) {
                let mut known = seen.lock().expect("not poisoned");
                known.clients.push(stream.peer_addr().map_or([0, 0, 0, 0].into(), |peer| peer.ip()));
                known.open.push(stream.try_clone().expect("a socket"));
                thread::spawn(move || echo(stream, name));
            }
        });
        self.listener = Some(listener);
    }

    /// A listener in its network, made by a thread that goes there.
    fn listener(&self) -> TcpListener {
        let path = format!("/run/netns/{}", self.name);
        let opened = thread::spawn(move || {
            setns(File::open(path).expect("a network"), CloneFlags::CLONE_NEWNET).expect("entered");
            TcpListener::bind(("::", PORT)).expect("a port")
        });
        opened.join().expect("opened")
    }

    /// Its program dies: its kernel closes what was open.
    pub(crate) fn kill(&mut self) {
        if let Some(listener) = self.listener.take() {
            // Wakes who accepts.
            nix::sys::socket::shutdown(
                std::os::fd::AsRawFd::as_raw_fd(&listener),
                nix::sys::socket::Shutdown::Both,
            )
            .expect("shut down");
        }
        for stream in self.seen.lock().expect("not poisoned").open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Its machine loses its cable.
    pub(crate) fn unplug(&self) {
        run(&format!("ip link set port-{} down", self.name));
    }

    /// Who its connections came from.
    pub(crate) fn clients(&self) -> Vec<IpAddr> {
        self.seen.lock().expect("not poisoned").clients.clone()
    }
}

fn echo(mut stream: TcpStream, name: &str) {
    let _ = stream.write_all(name.as_bytes());
    let mut heard = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut heard) {
        if stream.write_all(&heard[..count]).is_err() {
            return;
        }
    }
}

//! The reader before, between and after hosts. A named pipe treats its reader as the driver does: read
//! gives 0 and poll gives HUP while no writer is there, and a writer that comes wakes it. Only writing,
//! which a pipe cannot do backwards, is added here.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::*;
use crate::channel::Told;

const PATIENCE: Duration = Duration::from_secs(20);

/// A virtio port as the guest sees it.
struct FakePort {
    from_host: File,
    to_host: UnixStream,
    reads: Arc<AtomicUsize>,
}

impl AsFd for FakePort {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.from_host.as_fd()
    }
}

impl Read for FakePort {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.from_host.read(buffer)
    }
}

impl Write for FakePort {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut fds = [PollFd::new(self.from_host.as_fd(), PollFlags::empty())];
        poll(&mut fds, PollTimeout::ZERO)?;
        if fds[0].revents() == Some(PollFlags::POLLHUP) {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.to_host.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn connect(fifo: &Path) -> File {
    OpenOptions::new().write(true).open(fifo).expect("connected")
}

#[test]
fn hosts_come_and_go() {
    let directory = tempfile::tempdir().expect("a directory");
    let fifo = directory.path().join("port");
    mkfifo(&fifo, Mode::S_IRWXU).expect("made");
    let flags = OFlag::O_NONBLOCK.bits();
    let from_host = OpenOptions::new().read(true).custom_flags(flags).open(&fifo).expect("opened");
    // A pipe that never had a writer does not hang up.
    drop(connect(&fifo));
    let (host, to_host) = UnixStream::pair().expect("a pair");
    host.set_read_timeout(Some(PATIENCE)).expect("set");
    let reads = Arc::new(AtomicUsize::new(0));
    let fake = FakePort { from_host, to_host, reads: Arc::clone(&reads) };
    let mut machine = Machine::new("a-lb".into(), &Places::below(directory.path()), Path::new("/nowhere"));
    thread::spawn(move || attend(&mut Port::new(fake).expect("a port"), &mut machine));
    let mut heard = BufReader::new(host).lines().map(|line| line.expect("a line"));
    let mut hear = || serde_json::from_str::<Told>(&heard.next().expect("a line")).expect("JSON");

    // The reader is there first, and waits without looking again and again.
    let rest = || {
        let looked = || Some(reads.load(Ordering::SeqCst)).filter(|reads| *reads > 0);
        let before = until_found(PATIENCE, looked).expect("it looked");
        thread::sleep(Duration::from_millis(200));
        let after = reads.load(Ordering::SeqCst);
        assert!(after - before < 10, "{} reads while nothing happened", after - before);
    };
    rest();

    // The first host is greeted, whatever it begins with; the next is not.
    let mut first = connect(&fifo);
    first.write_all(b"{\"ask\":\"status\"}\n").expect("sent");
    assert_eq!(hear(), Told::Booted { machine: "a-lb".into() });
    let status = Told::Status { machine: "a-lb".into(), program: false };
    assert_eq!(hear(), status);
    first.write_all(b"{\"ask\":\"sta").expect("sent");
    drop(first);
    rest();

    // Half a line ends with the host that began it.
    for _ in 0..20 {
        let mut next = connect(&fifo);
        next.write_all(b"\n{\"ask\":\"status\"}\n").expect("sent");
        loop {
            match hear() {
                told @ Told::Status { .. } => break assert_eq!(told, status),
                // The half line, when this host came before the reader saw the last one go.
                Told::Failed { .. } => {}
                told => panic!("unexpected: {told:?}"),
            }
        }
    }
    rest();
}

#[test]
fn a_port_is_found_by_its_name() {
    let root = tempfile::tempdir().expect("a directory");
    let places = Places::below(root.path());
    assert_eq!(port::find(&places, PORT), None);
    fs::create_dir_all(&places.dev).expect("made");
    for (device, name) in [("vport1p1", "org.qemu.guest_agent.0\n"), ("vport1p2", "holdfast.control.0\n")] {
        let directory = places.sys.join("class/virtio-ports").join(device);
        fs::create_dir_all(&directory).expect("made");
        fs::write(directory.join("name"), name).expect("written");
    }
    fs::create_dir_all(places.sys.join("class/virtio-ports/vport1p0")).expect("made");
    assert_eq!(port::find(&places, PORT), None, "its device is not there yet");
    fs::write(places.dev.join("vport1p2"), "").expect("written");
    assert_eq!(port::find(&places, PORT), Some(places.dev.join("vport1p2")));
}

#[test]
fn a_machine_without_the_port_is_told_so() {
    let root = tempfile::tempdir().expect("a directory");
    let error = daemon(&Places::below(root.path()), Duration::ZERO).expect_err("no port");
    assert_eq!(error.to_string(), "there is no virtio port called holdfast.control.0: give the machine one");
}

//! Machines that are network namespaces on a bridge, each with a VIP speaker, and a capture of what they
//! say.
//!
//! ```text
//!   the test, in namespaces of its own, which the kernel clears away with it
//!   ┌───────────────────────────────────────────────┐
//!   │  br0 10.77.0.1 fd77::1, captured              │
//!   │   ├── a: eth0 10.77.0.10 fd77::10, lb vip     │
//!   │   └── b: eth0 10.77.0.20 fd77::20, lb vip     │
//!   └───────────────────────────────────────────────┘
//! ```

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use lb::link::{VipLink, tick_forever};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, bind, recv, setsockopt, socket,
};
use nix::sys::time::TimeVal;
use nix::unistd::Pid;
use tokio::sync::oneshot;
use vrrp::Advert;
use wire::vip::{RouterState, VipOrder, VipStatus};

#[path = "../../../wire/tests/support/namespaces.rs"]
mod namespaces;

use namespaces::run;
pub(crate) use namespaces::{eventually, said_by};

pub(crate) const VIP: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 120);
pub(crate) const VIP_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 0x120);

/// Where the machines' files are: a file system of the test's own.
const FILES: &str = "/run";

/// Runs `story` in namespaces of its own; `name` is the test's own.
pub(crate) fn in_namespaces(name: &str, story: impl FnOnce(&Segment)) {
    namespaces::in_namespaces(name, || story(&Segment::new()));
}

/// The bridge.
pub(crate) struct Segment {
    heard: Arc<Mutex<Vec<Heard>>>,
}

/// What was captured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heard {
    pub(crate) at: Instant,
    from: Ipv4Addr,
    pub(crate) what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Advert(u8),
    GratuitousArp,
    NeighbourAdvertisement,
}

impl Segment {
    fn new() -> Self {
        run("ip link add br0 type bridge");
        run("ip address add 10.77.0.1/24 dev br0");
        run("ip address add fd77::1/64 dev br0 nodad");
        run("ip link set br0 up");
        let heard = Arc::new(Mutex::new(Vec::new()));
        capture(heard.clone());
        Segment { heard }
    }

    /// All that `from` said since `since`.
    pub(crate) fn heard(&self, from: &Machine, since: Instant) -> Vec<Heard> {
        let all = self.heard.lock().expect("not poisoned");
        all.iter().filter(|heard| heard.from == from.address && heard.at >= since).copied().collect()
    }

    /// When `from` first said `what` after `since`; waits for it.
    pub(crate) fn wait_for(&self, from: &Machine, what: What, since: Instant) -> Instant {
        let mut found = None;
        eventually(&format!("{what:?} from {}", from.name), || {
            found = self.heard(from, since).iter().find(|heard| heard.what == what).map(|heard| heard.at);
            found.is_some()
        });
        found.expect("found")
    }
}

/// What the settings of a machine say of its VIP, beyond the usual.
#[derive(Clone, Debug)]
pub(crate) struct Says {
    pub(crate) address: IpAddr,
    /// More lines of its `[[vip]]`, and tables after it.
    pub(crate) more: String,
    /// Whether its log goes to the file `log` instead of the test's.
    pub(crate) log: bool,
}

impl Default for Says {
    fn default() -> Self {
        Says { address: VIP.into(), more: String::new(), log: false }
    }
}

impl Says {
    pub(crate) fn more(more: impl Into<String>) -> Self {
        Says { more: more.into(), ..Says::default() }
    }

    pub(crate) fn v6(more: impl Into<String>) -> Self {
        Says { address: VIP_V6.into(), ..Says::more(more) }
    }
}

/// One machine: a speaker with a stand-in for its proxy, or a whole balancer.
pub(crate) struct Machine {
    name: &'static str,
    address: Ipv4Addr,
    vip: IpAddr,
    pub(crate) files: PathBuf,
    process: Child,
    proxy: Option<Proxy>,
}

impl Machine {
    /// Plugs the machine into the bridge and starts `lb COMMAND` in it: `vip`, the speaker alone, or `run`.
    pub(crate) fn start(command: &str, name: &'static str, last: u8, priority: u8) -> Self {
        Self::start_with(command, name, last, priority, Says::default())
    }

    pub(crate) fn start_with(
        command: &str,
        name: &'static str,
        last: u8,
        priority: u8,
        Says { address: vip, more, log }: Says,
    ) -> Self {
        let address = Ipv4Addr::new(10, 77, 0, last);
        run(&format!("ip netns add {name}"));
        run(&format!(
            "ip link add port-{name} type veth peer name eth0 address 02:00:00:00:00:{last:02} netns {name}"
        ));
        run(&format!("ip link set port-{name} master br0 up"));
        run(&format!("ip -n {name} address add {address}/24 dev eth0"));
        run(&format!("ip -n {name} address add fd77::{last}/64 dev eth0 nodad"));
        run(&format!("ip -n {name} link set eth0 up"));
        let files = Path::new(FILES).join(name);
        fs::create_dir(&files).expect("directory");
        let settings = format!(
            "machine = \"{name}-lb\"\naddress = \"{address}\"\nstate_dir = \"{}\"\nworkers = 1\n\
             [[vip]]\naddress = \"{vip}\"\nvrid = 50\npriority = {priority}\n{more}\n",
            files.display()
        );
        fs::write(files.join("lb.toml"), settings).expect("settings");
        let mut lb = lb_in(name, command, &files);
        if log {
            let file = fs::File::create(files.join("log")).expect("log");
            lb.stdout(file.try_clone().expect("log")).stderr(file);
        }
        let process = lb.spawn().expect("lb");
        Machine { name, address, vip, files, process, proxy: None }
    }

    pub(crate) fn with_proxy(mut self) -> Self {
        self.start_proxy();
        self
    }

    pub(crate) fn start_proxy(&mut self) {
        self.proxy = Some(Proxy::start(&self.files));
    }

    pub(crate) fn kill_proxy(&mut self) {
        self.proxy = None;
    }

    /// The proxy's event loop does nothing for so long.
    pub(crate) fn hang_proxy(&self, time: Duration) {
        let millis = u64::try_from(time.as_millis()).expect("short");
        self.proxy.as_ref().expect("a proxy").stall_ms.store(millis, Ordering::Relaxed);
    }

    /// The proxy gets no processor for so long: it may use one only, which a program keeps that goes before all
    /// ordinary ones. Returns whether that is allowed here.
    pub(crate) fn starve_proxy(&self, time: Duration) -> bool {
        let thread = self.proxy.as_ref().expect("a proxy").thread.load(Ordering::Relaxed);
        let status = fs::read_to_string("/proc/self/status").expect("proc");
        let allowed =
            status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).expect("a list");
        let one = allowed.trim().split(['-', ',']).next().expect("a processor");
        run(&format!("taskset --cpu-list --pid {one} {thread}"));
        // Who ends it goes before it. Killed by `timeout`, as intended, is 137; 1 is chrt's refusal.
        let seconds = time.as_secs_f64();
        let spins =
            format!("chrt --fifo 2 timeout -s KILL {seconds} taskset --cpu-list {one} chrt --fifo 1 yes");
        let mut words = spins.split(' ');
        let mut command = Command::new(words.next().expect("words"));
        let ended = command.args(words).stdout(Stdio::null()).stderr(Stdio::null()).status().expect("chrt");
        ended.code() != Some(1)
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.process.id()).expect("a pid"))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("it lives");
    }

    /// The process that `lb run` started as `lb COMMAND`; waits for it.
    pub(crate) fn child(&self, command: &str) -> Pid {
        let mut found = None;
        eventually(&format!("lb {command} of {}", self.name), || {
            found = children(self.pid()).into_iter().find(|(_, is)| is == command).map(|(pid, _)| pid);
            found.is_some()
        });
        found.expect("found")
    }

    /// The exit code.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        self.process.wait().expect("a child").code()
    }

    /// Pulls the cable.
    pub(crate) fn unplug(&self) {
        run(&format!("ip link set port-{} down", self.name));
    }

    pub(crate) fn holds(&self) -> bool {
        let shown = Command::new("ip")
            .args(["-n", self.name, "-o", "address", "show", "to", &self.vip.to_string()])
            .output()
            .expect("ip");
        assert!(shown.status.success());
        !shown.stdout.is_empty()
    }

    pub(crate) fn wait_until_it_holds(&self) {
        eventually(&format!("{} holds the address", self.name), || self.holds());
    }

    pub(crate) fn wait_until_it_holds_not(&self) {
        eventually(&format!("{} lets go of the address", self.name), || !self.holds());
    }

    /// Waits until the speaker is the Backup of `holder`.
    pub(crate) fn wait_until_it_listens_to(&self, holder: &Machine) {
        eventually(&format!("{} listens to {}", self.name, holder.name), || {
            self.status().is_ok_and(|status| {
                let router = &status.routers[0];
                router.state == RouterState::Backup && router.holder == Some(holder.speaks_from())
            })
        });
    }

    /// Where its adverts come from.
    fn speaks_from(&self) -> IpAddr {
        match self.vip {
            IpAddr::V4(_) => self.address.into(),
            IpAddr::V6(_) => self.link_local().into(),
        }
    }

    /// What the kernel makes of its MAC address, which ends in the decimal digits of its address.
    pub(crate) fn link_local(&self) -> Ipv6Addr {
        let last = self.address.octets()[3];
        Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0xff, 0xfe00, u16::from(last / 10 * 16 + last % 10))
    }

    pub(crate) fn order(&self, order: VipOrder) -> Result<VipStatus, lb::link::LinkError> {
        block_on(VipLink::new(&self.files).order(order))
    }

    pub(crate) fn status(&self) -> Result<VipStatus, lb::link::LinkError> {
        block_on(VipLink::new(&self.files).status())
    }
}

/// The processes whose parent is `parent`, with the first argument of each.
fn children(parent: Pid) -> Vec<(Pid, String)> {
    let processes = fs::read_dir("/proc").expect("proc").filter_map(|entry| {
        let pid: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
        let arguments = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        let is_child = line.trim() == parent.to_string();
        is_child.then_some((Pid::from_raw(pid), arguments.split('\0').nth(1)?.to_owned()))
    });
    processes.collect()
}

/// Whether the process runs no more. Nobody waits for an orphan here, so a zombie has to do.
pub(crate) fn is_gone(pid: Pid) -> bool {
    fs::read_to_string(format!("/proc/{pid}/status")).map_or(true, |status| status.contains("State:\tZ"))
}

/// `lb COMMAND` with the settings in `files`, in the network of machine `name`.
pub(crate) fn lb_in(name: &str, command: &str, files: &Path) -> Command {
    let mut all = Command::new("nsenter");
    all.arg(format!("--net=/run/netns/{name}")).arg(env!("CARGO_BIN_EXE_lb")).arg(command);
    all.arg("--config").arg(files.join("lb.toml"));
    all
}

/// What the speaker knows of a proxy: the ticks of its worker.
struct Proxy {
    stall_ms: Arc<AtomicU64>,
    thread: Arc<AtomicI32>,
    _lives: oneshot::Sender<()>,
}

impl Proxy {
    fn start(files: &Path) -> Self {
        let stall_ms = Arc::new(AtomicU64::new(0));
        let (lives, dies) = oneshot::channel();
        let thread = Arc::new(AtomicI32::new(0));
        let (files, stall, own) = (files.to_owned(), stall_ms.clone(), thread.clone());
        thread::spawn(move || {
            own.store(nix::unistd::gettid().as_raw(), Ordering::Relaxed);
            block_on(async {
                let worker = async {
                    loop {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                        thread::sleep(Duration::from_millis(stall.swap(0, Ordering::Relaxed)));
                    }
                };
                tokio::select! {
                    () = tick_forever(files, 0, 1) => {}
                    () = worker => {}
                    _ = dies => {}
                }
            });
        });
        Proxy { stall_ms, thread, _lives: lives }
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime").block_on(future)
}

/// Notes the adverts and gratuitous ARPs that reach the bridge, from a thread of its own.
fn capture(heard: Arc<Mutex<Vec<Heard>>>) {
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll)
        .expect("packet socket");
    let bridge = nix::ifaddrs::getifaddrs()
        .expect("interfaces")
        .find_map(|entry| {
            let link = *entry.address?.as_link_addr()?;
            (entry.interface_name == "br0").then_some(link)
        })
        .expect("br0");
    bind(socket.as_raw_fd(), &bridge).expect("bound to br0");
    setsockopt(&socket, ReceiveTimeout, &TimeVal::new(0, 0)).expect("no timeout");
    thread::spawn(move || {
        let mut frame = [0; 2048];
        while let Ok(length) = recv(socket.as_raw_fd(), &mut frame, MsgFlags::empty()) {
            if let Some((from, what)) = understand(&frame[..length]) {
                heard.lock().expect("not poisoned").push(Heard { at: Instant::now(), from, what });
            }
        }
    });
}

fn of_digits(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, (last >> 4) * 10 + (last & 0xf))
}

fn understand(frame: &[u8]) -> Option<(Ipv4Addr, What)> {
    let address = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(frame.get(at..at + 4)?).ok()?));
    match frame.get(12..14)? {
        // The sender's MAC, and the link-local address made of it, ends in the decimal digits of its address.
        [8, 6] if address(28)? == VIP && address(38)? == VIP => {
            Some((of_digits(*frame.get(27)?), What::GratuitousArp))
        }
        [0x86, 0xdd] if *frame.get(20)? == vrrp::packet::PROTOCOL => {
            let at = |at: usize| Some(IpAddr::from(<[u8; 16]>::try_from(frame.get(at..at + 16)?).ok()?));
            let advert = Advert::decode(frame.get(54..)?, at(22)?, at(38)?, *frame.get(21)?);
            Some((of_digits(*frame.get(37)?), What::Advert(advert.expect("ours are right").priority)))
        }
        // Unsolicited, Override, of the VIP.
        [0x86, 0xdd] if frame.get(54) == Some(&136) && frame.get(58) == Some(&0x20) => (frame.get(62..78)?
            == VIP_V6.octets())
        .then_some((of_digits(*frame.last()?), What::NeighbourAdvertisement)),
        [8, 0] if *frame.get(23)? == vrrp::packet::PROTOCOL => {
            let (source, destination) = (address(26)?, address(30)?);
            let advert = Advert::decode(frame.get(34..)?, source.into(), destination.into(), *frame.get(22)?);
            // From 10.77.0.1 come the strange ones that a test made.
            let ours = source != Ipv4Addr::new(10, 77, 0, 1);
            ours.then(|| (source, What::Advert(advert.expect("ours are right").priority)))
        }
        _ => None,
    }
}

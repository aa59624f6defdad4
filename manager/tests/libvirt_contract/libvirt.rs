//! The libvirt driver on a host that is itself a tree of namespaces, with a daemon of its own. The daemon
//! and its machines end with the first process of that host, which collects what ends as an init does.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use kit::config::Source;
use manager::config::Config;
use manager::engine::{MachineSpec, Slot};
use manager::ports::libvirt::Libvirt;
use tokio::sync::mpsc;

use crate::stage::{Ends, Stage, eventually, run};
use crate::{deaths, failures, lives, spares, usage};

/// A file system of the test's own.
const FILES: &str = "/run";

/// Any command of libvirt ends within this, in the words of `timeout`.
const LIMIT: &str = "20";

macro_rules! keeps {
    ($($part:ident :: $promise:ident,)*) => {$(
        #[test]
        fn $promise() {
            on_stage(concat!("libvirt::", stringify!($promise)), async |stage| $part::$promise(&stage).await);
        }
    )*};
}

every_promise!(keeps);

pub(crate) struct LibvirtStage;

impl LibvirtStage {
    pub(crate) fn config(bridge: &str, state: &str) -> Config {
        let images =
            std::env::var("HOLDFAST_IMAGES").expect("HOLDFAST_IMAGES: deploy/test.sh machines sets it");
        let text = format!(
            "name = \"a\"\naddress = \"10.77.0.1\"\ngateway = \"10.77.0.1\"\nhypervisor = \"libvirt\"\n\
             bridge = \"{bridge}\"\naddress_pool = [\"10.77.0.10-10.77.0.30\"]\n\
             state_dir = \"{FILES}/{state}\"\nimages = \"{images}\"\n\
             [[service]]\nname = \"stateless\"\nreplicas = 2\n",
        );
        Config::check(&Source::from_text("manager.toml", &text)).expect("a valid configuration")
    }

    pub(crate) fn with(config: &Config) -> (Libvirt, Ends) {
        let (exits, ends) = mpsc::unbounded_channel();
        (Libvirt::new(config, exits).expect("a driver"), ends)
    }

    pub(crate) fn directory(&self, spec: &MachineSpec) -> PathBuf {
        Path::new(FILES).join("state/machines").join(spec.purpose.id.as_str())
    }

    /// Where the files are that a machine's process uses: it may have been a spare.
    fn body(&self, spec: &MachineSpec) -> PathBuf {
        let directory = self.directory(spec);
        fs::read_link(directory.join("body")).unwrap_or(directory)
    }

    /// The process of a machine.
    pub(crate) fn process(&self, spec: &MachineSpec) -> Option<i32> {
        let seed = self.body(spec).join("seed.img");
        processes_with(&seed.display().to_string()).first().map(|(pid, _)| *pid)
    }

    /// The processes of the spares that are no machine's.
    pub(crate) fn spare_processes(&self) -> Vec<i32> {
        let machines = fs::read_dir(Path::new(FILES).join("state/machines")).into_iter().flatten();
        let bodies: Vec<PathBuf> =
            machines.filter_map(|entry| fs::read_link(entry.ok()?.path().join("body")).ok()).collect();
        let is_body = |line: &str| bodies.iter().any(|body| line.contains(&format!("{}/", body.display())));
        let spares = processes_with(&format!("{FILES}/state/spares/")).into_iter();
        spares.filter(|(_, line)| !is_body(line)).map(|(pid, _)| pid).collect()
    }

    /// The names of all domains.
    pub(crate) fn domains() -> Vec<String> {
        let domains = run(&format!("timeout {LIMIT} virsh -q list --all --name"));
        domains.lines().filter(|name| !name.is_empty()).map(str::to_owned).collect()
    }

    /// Starts the daemon and waits until it answers.
    pub(crate) fn start_daemon(&self) {
        run("libvirtd -d");
        eventually("the daemon answers", || {
            Command::new("timeout")
                .args([LIMIT, "virsh", "-q", "version"])
                .output()
                .is_ok_and(|it| it.status.success())
        });
    }

    /// Kills the daemon; its machines live on.
    pub(crate) fn kill_daemon(&self) {
        let pid = fs::read_to_string("/run/libvirtd.pid").expect("the daemon's pid");
        let pid = pid.trim();
        run(&format!("kill -KILL {pid}"));
        eventually("the daemon is gone", || !Path::new("/proc").join(pid).exists());
    }
}

impl Stage for LibvirtStage {
    type Driver = Libvirt;

    fn driver(&self) -> (Libvirt, Ends) {
        Self::with(&Self::config("br0", "state"))
    }

    fn another_managers_driver(&self) -> Libvirt {
        Self::with(&Self::config("br0", "other")).0
    }

    fn driver_without_bridge(&self) -> Libvirt {
        Self::with(&Self::config("br9", "state")).0
    }

    fn without_programs(&self) -> (Libvirt, MachineSpec) {
        let mut spec = self.spec("a-stateless-1", 11, 1);
        spec.hardware.image = "/nowhere/stateless".into();
        (self.driver().0, spec)
    }

    fn spec(&self, name: &str, last: u8, incarnation: u64) -> MachineSpec {
        let config = Self::config("br0", "state");
        let service = &config.services[0];
        let address = IpAddr::from([10, 77, 0, last]);
        let slot = Slot { id: name.into(), service: service.name.clone(), address };
        MachineSpec::of_service(&config, service, &slot, incarnation)
    }

    fn remains(&self, spec: &MachineSpec) -> Vec<String> {
        let directory = self.directory(spec);
        let mut remains: Vec<String> =
            processes_with(&format!("{}/", directory.display())).into_iter().map(|(_, line)| line).collect();
        if directory.exists() {
            remains.push(directory.display().to_string());
        }
        let [.., a, b, c, d] = spec.mac;
        let port = format!("hf{a:02x}{b:02x}{c:02x}{d:02x}");
        remains.extend(self.interfaces().into_iter().filter(|interface| interface.contains(&port)));
        remains.extend(Self::domains().into_iter().filter(|name| name == spec.purpose.id.as_str()));
        // What was made of a spare leaves nothing of that either: whatever is there waits.
        let spares = fs::read_dir(Path::new(FILES).join("state/spares")).into_iter().flatten();
        let spares = spares.map(|entry| entry.expect("listed").path());
        remains.extend(
            spares.filter(|path| !path.join("spare.json").exists()).map(|path| path.display().to_string()),
        );
        remains
    }

    fn spares(&self) -> usize {
        self.spare_processes().len()
    }

    fn kill_spares(&self) {
        for process in self.spare_processes() {
            run(&format!("kill -KILL {process}"));
        }
    }
}

/// The QEMU processes whose command line contains `text`; dead ones have none.
fn processes_with(text: &str) -> Vec<(i32, String)> {
    let processes = fs::read_dir("/proc").expect("proc").filter_map(|entry| {
        let path = entry.ok()?.path();
        let pid = path.file_name()?.to_str()?.parse().ok()?;
        let line = fs::read(path.join("cmdline")).ok()?;
        Some((pid, String::from_utf8_lossy(&line).into_owned()))
    });
    processes.filter(|(_, line)| line.contains("qemu") && line.contains(text)).collect()
}

/// Runs `story` in new namespaces with a bridge and a libvirt daemon. `name` is the test's own.
pub(crate) fn on_stage(name: &str, story: impl AsyncFnOnce(LibvirtStage)) {
    const INSIDE: &str = "CONTRACT_TEST_INSIDE";
    if std::env::var_os(INSIDE).is_some() {
        prepare();
        // Threads beside the story's, which waits without giving way.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        runtime.block_on(story(LibvirtStage));
        return runtime.shutdown_timeout(Duration::from_secs(1));
    }
    assert!(nix::unistd::geteuid().is_root(), "libvirt's daemon wants root");
    let test = std::env::current_exe().expect("this test");
    let status = Command::new("unshare")
        .args(["--net", "--mount", "--pid", "--mount-proc", "--fork", "--kill-child"])
        // The shell is the first process: it collects what ends, which the daemon waits for.
        .args(["bash", "-c", "\"$@\"; exit $?", "init"])
        .arg(test)
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .expect("unshare of util-linux");
    assert!(status.success(), "in its namespaces: {status}");
}

fn prepare() {
    let own = "libvirt";
    for command in ["mount -t sysfs sysfs /sys", &format!("mount -t tmpfs tmpfs {FILES}")] {
        run(command);
    }
    // Nothing of this computer's own daemon is seen or touched.
    for directory in ["/var/lib", "/var/log", "/var/cache"] {
        let path = format!("{directory}/{own}");
        fs::create_dir_all(&path).expect("a directory of the package");
        run(&format!("mount -t tmpfs tmpfs {path}"));
    }
    run("mount -t tmpfs tmpfs /etc/libvirt");
    fs::create_dir_all("/run/libvirt").expect("a directory");
    fs::write(
        "/etc/libvirt/libvirtd.conf",
        "listen_tls = 0\nlisten_tcp = 0\nauth_unix_rw = \"none\"\nunix_sock_rw_perms = \"0700\"\n\
         host_uuid = \"6f2c8b1e-6d1f-4a51-9f0e-3f6a54a0c001\"\n",
    )
    .expect("written");
    // No cgroups, no security driver: the host is only a namespace. No virtlogd: QEMU writes the console.
    fs::write(
        "/etc/libvirt/qemu.conf",
        "user = \"root\"\ngroup = \"root\"\nsecurity_driver = \"none\"\nnamespaces = []\ncgroup_controllers = []\n\
         stdio_handler = \"file\"\nremember_owner = 0\n",
    )
    .expect("written");
    for command in [
        "ip link set lo up",
        "ip link add br0 type bridge stp_state 0 forward_delay 0",
        // The cable to other hosts. Without an address of its own a bridge takes one of its ports'.
        "ip link add uplink address 7e:00:00:00:00:01 type veth peer name far",
        "ip link set uplink master br0 up",
        "ip address add 10.77.0.1/24 dev br0",
        "ip link set br0 up",
    ] {
        run(command);
    }
    LibvirtStage.start_daemon();
}

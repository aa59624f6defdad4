//! The driver for namespace machines, on a host that is itself a tree of namespaces: each test is
//! started once more as the first process of its own, where it may do everything and which the kernel
//! clears away with it.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use kit::config::Source;
use manager::config::Config;
use manager::engine::{MachineSpec, Slot};
use manager::ports::hypervisor::Hypervisor;
use manager::ports::namespaces::Namespaces;
use tokio::sync::mpsc;

use crate::stage::{Ends, Stage, run};
use crate::{deaths, failures, lives, spares, usage};

/// In the command line of a spare that waits.
const SPARE: &str = "\0spare\0--directory\0";

/// A file system of the test's own.
const FILES: &str = "/run";

macro_rules! keeps {
    ($($part:ident :: $promise:ident,)*) => {$(
        #[test]
        fn $promise() {
            on_stage(stringify!($promise), async |stage| $part::$promise(&stage).await);
        }
    )*};
}

every_promise!(keeps);

/// Seeds hold secrets: of this driver's files none may be read by other users of the host.
#[test]
fn seeds_are_for_root_alone() {
    on_stage("seeds_are_for_root_alone", async |stage| {
        let (driver, _ends) = stage.driver();
        let spec = stage.spec("a-stateless-1", 11, 1);
        driver.create(&spec).await.expect("created");
        let directory = stage.directory(&spec);
        let mode = |path: &Path| fs::metadata(path).expect("a file").permissions().mode() & 0o777;
        assert_eq!(mode(&directory), 0o700);
        for name in ["holdfast.json", "meta-data", "network-config", "user-data"] {
            assert_eq!(mode(&directory.join("seed").join(name)), 0o600, "{name}");
        }
    });
}

/// A machine that keeps its disk starts again with what was on it, and with nothing else of what it had.
#[test]
fn a_disk_that_is_kept_outlives_its_machine() {
    on_stage("a_disk_that_is_kept_outlives_its_machine", async |stage| {
        let (driver, _ends) = stage.driver();
        let ledger = Path::new(FILES).join("state/disks/a-db-1/ledger");
        for incarnation in 1..=3 {
            let spec = MachineSpec { persistent: true, ..stage.spec("a-db-1", 11, incarnation) };
            driver.create(&spec).await.expect("created");
            crate::stage::wait_until_it_answers(&spec);
            let lines = processes_with("a-db-1/guest/settings.toml");
            assert_eq!(lines.len(), 1, "{lines:?}");
            let data = fs::read_link(stage.directory(&spec).join("data")).expect("where its disk is");
            assert_eq!(data, ledger.parent().expect("a directory"));
            assert_eq!(fs::metadata(&data).expect("a disk").permissions().mode() & 0o777, 0o700);
            let rest = stage.directory(&spec).join("guest/rest");
            assert!(!rest.exists(), "all else is new");
            fs::write(&rest, "of this one only").expect("written");
            if incarnation == 1 {
                fs::write(&ledger, "kept").expect("written");
            }
            driver.destroy(&spec.purpose.id).await.expect("destroyed");
            assert_eq!(stage.remains(&spec), Vec::<String>::new());
            assert_eq!(fs::read_to_string(&ledger).expect("there"), "kept");
        }
    });
}

struct NamespaceStage;

impl NamespaceStage {
    fn config(bridge: &str, state: &str, programs: &Path) -> Config {
        let text = format!(
            "name = \"a\"\naddress = \"10.77.0.1\"\ngateway = \"10.77.0.1\"\nhypervisor = \"namespaces\"\n\
             bridge = \"{bridge}\"\naddress_pool = [\"10.77.0.10-10.77.0.30\"]\n\
             state_dir = \"{FILES}/{state}\"\nprograms = \"{}\"\n\
             [[service]]\nname = \"stateless\"\nreplicas = 2\n",
            programs.display()
        );
        Config::check(&Source::from_text("manager.toml", &text)).expect("a valid configuration")
    }

    fn with(config: &Config) -> (Namespaces, Ends) {
        let (exits, ends) = mpsc::unbounded_channel();
        let driver = Namespaces::new(config, exits).expect("a driver");
        (driver.with_manager(env!("CARGO_BIN_EXE_manager").into()), ends)
    }

    fn directory(&self, spec: &MachineSpec) -> PathBuf {
        Path::new(FILES).join("state/machines").join(spec.purpose.id.as_str())
    }
}

impl Stage for NamespaceStage {
    type Driver = Namespaces;

    fn driver(&self) -> (Namespaces, Ends) {
        Self::with(&Self::config("br0", "state", &programs()))
    }

    fn another_managers_driver(&self) -> Namespaces {
        Self::with(&Self::config("br0", "other", &programs())).0
    }

    fn driver_without_bridge(&self) -> Namespaces {
        Self::with(&Self::config("br9", "state", &programs())).0
    }

    fn without_programs(&self) -> (Namespaces, MachineSpec) {
        let driver = Self::with(&Self::config("br0", "state", Path::new("/nowhere"))).0;
        (driver, self.spec("a-stateless-1", 11, 1))
    }

    fn spec(&self, name: &str, last: u8, incarnation: u64) -> MachineSpec {
        let config = Self::config("br0", "state", &programs());
        let service = &config.services[0];
        let address = IpAddr::from([10, 77, 0, last]);
        let slot = Slot { id: name.into(), service: service.name.clone(), address };
        MachineSpec::of_service(&config, service, &slot, incarnation)
    }

    fn remains(&self, spec: &MachineSpec) -> Vec<String> {
        let directory = self.directory(spec);
        let mut remains = processes_with(&format!("{}/", directory.display()));
        remains.extend(processes_with(&format!("{}\0", directory.display())));
        if directory.exists() {
            remains.push(directory.display().to_string());
        }
        let [.., a, b, c, d] = spec.mac;
        let port = format!("hf{a:02x}{b:02x}{c:02x}{d:02x}");
        remains.extend(self.interfaces().into_iter().filter(|interface| interface.contains(&port)));
        remains
    }

    fn spares(&self) -> usize {
        processes_with(SPARE).len()
    }

    fn kill_spares(&self) {
        for (pid, _) in all_processes().filter(|(_, line)| line.contains(SPARE)) {
            run(&format!("kill -KILL {pid}"));
        }
    }
}

/// The processes whose command line contains `text`; dead ones have none.
fn processes_with(text: &str) -> Vec<String> {
    all_processes().map(|(_, line)| line).filter(|line| line.contains(text)).collect()
}

fn all_processes() -> impl Iterator<Item = (i32, String)> {
    fs::read_dir("/proc").expect("proc").filter_map(|entry| {
        let path = entry.ok()?.path();
        let line = fs::read(path.join("cmdline")).ok()?;
        Some((path.file_name()?.to_str()?.parse().ok()?, String::from_utf8_lossy(&line).into_owned()))
    })
}

/// Where the programs are that machines run: beside the manager.
fn programs() -> PathBuf {
    let directory = Path::new(env!("CARGO_BIN_EXE_manager")).parent().expect("a directory");
    assert!(directory.join("stateless").is_file(), "cargo build -p stateless first: machines run it");
    directory.to_owned()
}

/// Runs `story` as the first process of new namespaces with a bridge. `name` is the test's own.
fn on_stage(name: &str, story: impl AsyncFnOnce(NamespaceStage)) {
    const INSIDE: &str = "CONTRACT_TEST_INSIDE";
    if std::env::var_os(INSIDE).is_some() {
        for command in [
            &format!("mount -t tmpfs tmpfs {FILES}"),
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
        // Threads beside the story's, which waits without giving way.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        return runtime.expect("a runtime").block_on(story(NamespaceStage));
    }
    let mut command = Command::new("unshare");
    if !nix::unistd::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    let status = command
        .args(["--net", "--mount", "--pid", "--mount-proc", "--fork", "--kill-child"])
        .arg(std::env::current_exe().expect("this test"))
        .args(["--exact", &format!("namespaces::{name}"), "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .expect("unshare of util-linux");
    assert!(status.success(), "in its namespaces: {status} (no namespaces? run as root or allow user ones)");
}

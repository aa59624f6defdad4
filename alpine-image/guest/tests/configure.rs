//! `holdfast-guest configure` in a guest that is made of namespaces: each test is started once more as
//! the first process of its own, with an `eth0` and a directory that stands for the guest's root. The
//! disks in it are files.

#![allow(clippy::expect_used)]

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;

use guest::channel::{Ask, Told, serve};
use guest::machine::Machine;
use guest::places::Places;
use guest::{seed_disk, spare};
use nix::fcntl::OFlag;
use wire::balancing::Secret;
use wire::proxy_config::ProxyConfig;
use wire::seed::{self, Seed};
use wire::upstreams::UpstreamSet;

#[path = "../../../wire/tests/support/namespaces.rs"]
mod namespaces;

use namespaces::{in_namespaces_by, run, said_by};

/// Only visible to the test.
const ROOT: &str = "/run/guest";

fn seed() -> Seed {
    Seed {
        machine: "a-stateless-1".into(),
        address: [10, 77, 0, 11].into(),
        prefix: 24,
        gateway: [10, 77, 0, 1].into(),
        program: "stateless".to_owned(),
        settings: "machine = \"a-stateless-1\"\n".to_owned(),
        upstreams: None,
        proxy_config: None,
        credentials: None,
        environment: Default::default(),
        secrets: Default::default(),
    }
}

fn json(seed: &Seed) -> Vec<u8> {
    serde_json::to_vec_pretty(seed).expect("JSON")
}

/// The guest's disks: each a name and the file that is there, under the name given, on a seed.
fn attach_seed(name: &str, file: &str, content: &[u8]) {
    let device = attach(name);
    seed_disk::write(&device, &[("meta-data", b"instance-id: x\n"), (file, content)]).expect("written");
}

fn attach(name: &str) -> PathBuf {
    let root = Path::new(ROOT);
    fs::create_dir_all(root.join("dev")).expect("made");
    fs::create_dir_all(root.join("sys/block").join(name)).expect("made");
    root.join("dev").join(name)
}

fn configure() -> Output {
    Command::new(env!("CARGO_BIN_EXE_holdfast-guest"))
        .args(["configure", "--wait", "0", "--root", ROOT])
        .output()
        .expect("started")
}

fn configured() -> String {
    let output = configure();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).expect("text")
}

/// What it says when it fails.
fn complaint() -> String {
    let output = configure();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(output.stdout, b"");
    String::from_utf8(output.stderr).expect("text").trim_end().to_owned()
}

fn in_run(name: &str) -> PathBuf {
    Path::new(ROOT).join("run/holdfast").join(name)
}

/// Its content, if it is for root alone.
fn private(name: &str) -> String {
    let path = in_run(name);
    let mode = fs::metadata(&path).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "{name}");
    fs::read_to_string(path).expect("read")
}

#[test]
fn a_machine_becomes_what_its_seed_says() {
    in_a_guest("a_machine_becomes_what_its_seed_says", || {
        fs::write(attach("loop0"), "").expect("written");
        fs::write(attach("vda"), vec![7; 1 << 20]).expect("written");
        attach("sr0");
        attach_seed("vdb", seed::FILE, &json(&seed()));
        assert_eq!(
            configured(),
            "holdfast-guest: a-stateless-1 has 10.77.0.11/24, gateway 10.77.0.1, and runs stateless\n"
        );
        assert_eq!(said_by("hostname").trim_end(), "a-stateless-1");
        let addresses = said_by("ip -4 -o address show");
        assert!(addresses.contains(" lo    inet 127.0.0.1/8 "), "{addresses}");
        assert!(addresses.contains(" eth0    inet 10.77.0.11/24 brd 10.77.0.255 "), "{addresses}");
        assert!(said_by("ip link show eth0").contains(",UP"));
        assert_eq!(
            said_by("ip route show default").trim_end(),
            "default via 10.77.0.1 dev eth0 proto static"
        );
        assert_eq!(private("settings.toml"), "machine = \"a-stateless-1\"\n");
        assert_eq!(
            private("command"),
            format!("/usr/bin/stateless\n--config\n{ROOT}/run/holdfast/settings.toml\n")
        );
        let mode = fs::metadata(in_run("")).expect("a directory").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert!(!in_run("state").exists());
        // A service that is restarted does it once more.
        configured();
    });
}

#[test]
fn a_balancer_gets_its_upstreams() {
    in_a_guest("a_balancer_gets_its_upstreams", || {
        let upstreams = UpstreamSet { generation: 7, ..UpstreamSet::default() };
        let config = ProxyConfig { generation: 3, ..ProxyConfig::default() };
        let lb = Seed {
            machine: "a-lb".into(),
            program: "lb".to_owned(),
            upstreams: Some(upstreams.clone()),
            proxy_config: Some(config.clone()),
            ..seed()
        };
        attach_seed("vda", seed::FILE, &json(&lb));
        configured();
        assert_eq!(
            private("command"),
            format!(
                "/usr/bin/lb\nrun\n--state-dir\n{ROOT}/run/holdfast/state\n--config\n{ROOT}/run/holdfast/settings.toml\n"
            )
        );
        let found: UpstreamSet = serde_json::from_str(&private("state/upstreams.json")).expect("a set");
        assert_eq!(found, upstreams);
        let found: ProxyConfig = serde_json::from_str(&private("state/config.json")).expect("a config");
        assert_eq!(found, config);
        let mode = fs::metadata(in_run("state")).expect("a directory").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    });
}

#[test]
fn a_gateway_outside_the_prefix_is_reached_all_the_same() {
    in_a_guest("a_gateway_outside_the_prefix_is_reached_all_the_same", || {
        let alone = Seed { prefix: 32, gateway: [192, 168, 9, 1].into(), ..seed() };
        attach_seed("vda", seed::FILE, &json(&alone));
        configured();
        let addresses = said_by("ip -4 -o address show dev eth0");
        assert!(addresses.contains(" inet 10.77.0.11/32 "), "{addresses}");
        let route = said_by("ip route get 1.1.1.1");
        assert!(route.starts_with("1.1.1.1 via 192.168.9.1 dev eth0 src 10.77.0.11 "), "{route}");
    });
}

/// Its host's end of the channel, with a guest of this process behind it.
struct Host {
    stream: UnixStream,
    lines: BufReader<UnixStream>,
}

impl Host {
    fn new() -> Self {
        let (stream, mut port) = UnixStream::pair().expect("a pair");
        thread::spawn(move || {
            let places = Places::below(Path::new(ROOT));
            serve(&mut port, &mut Machine::this(&places).expect("a name"))
        });
        Host { lines: BufReader::new(stream.try_clone().expect("cloned")), stream }
    }

    fn ask(&mut self, ask: &Ask) -> Told {
        let mut line = serde_json::to_vec(ask).expect("JSON");
        line.push(b'\n');
        self.stream.write_all(&line).expect("sent");
        let mut told = String::new();
        self.lines.read_line(&mut told).expect("an answer");
        serde_json::from_str(&told).expect("JSON")
    }

    fn become_somebody(&mut self, seed: Seed) -> Told {
        self.ask(&Ask::Become { seed: Box::new(seed), mac: [2, 0x48, 10, 77, 0, 11] })
    }

    fn refused(&mut self, seed: Seed) -> String {
        match self.become_somebody(seed) {
            Told::Failed { reason } => reason,
            told => panic!("not refused: {told:?}"),
        }
    }
}

/// The service that becomes the program.
fn run_program() -> Child {
    Command::new(env!("CARGO_BIN_EXE_holdfast-guest"))
        .args(["run", "--root", ROOT])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("started")
}

/// Waits until it reads its pipe, in which nothing is: without a reader nobody could open it for writing.
fn until_it_waits(child: &mut Child) {
    let open = || {
        let flags = OFlag::O_NONBLOCK.bits();
        OpenOptions::new().write(true).custom_flags(flags).open(in_run("order"))
    };
    while open().is_err() {
        assert_eq!(child.try_wait().expect("asked"), None, "it ended");
        thread::yield_now();
    }
}

#[test]
fn a_spare_becomes_the_machine_that_it_is_told_to_be() {
    in_a_guest("a_spare_becomes_the_machine_that_it_is_told_to_be", || {
        attach_seed("vda", spare::FILE, b"");
        assert_eq!(configured(), "holdfast-guest: a spare: it waits to be told which machine it is\n");
        assert_eq!(said_by("hostname").trim_end(), "spare");
        assert!(!said_by("ip link show eth0").contains(",UP"), "it says nothing");
        let mut waiting = run_program();
        until_it_waits(&mut waiting);

        let mut host = Host::new();
        let nobody = Told::Status { machine: "spare".into(), program: false };
        assert_eq!(host.ask(&Ask::Status), nobody);
        let told = Seed {
            program: "echo".to_owned(),
            secrets: [("key".to_owned(), Secret("planted".to_owned()))].into(),
            ..seed()
        };
        assert!(matches!(host.become_somebody(told), Told::Became { .. }));
        assert_eq!(said_by("hostname").trim_end(), "a-stateless-1");
        let addresses = said_by("ip -4 -o address show");
        assert!(addresses.contains(" eth0    inet 10.77.0.11/24 brd 10.77.0.255 "), "{addresses}");
        let link = said_by("ip link show eth0");
        assert!(link.contains(",UP") && link.contains("link/ether 02:48:0a:4d:00:0b "), "{link}");
        assert!(said_by("ip route show default").starts_with("default via 10.77.0.1 dev eth0 "));
        assert_eq!(private("secrets/key"), "planted");
        private("command");
        private("environment");
        // Its program was waiting for just that.
        let ran = waiting.wait_with_output().expect("it ended");
        let settings = in_run("settings.toml").display().to_string();
        assert_eq!(String::from_utf8_lossy(&ran.stdout), format!("--config {settings}\n"), "{ran:?}");
        let somebody = Told::Status { machine: "a-stateless-1".into(), program: false };
        assert_eq!(host.ask(&Ask::Status), somebody);
        // One that is started again does not wait, and nobody becomes somebody twice.
        assert!(run_program().wait_with_output().expect("it ended").status.success());
        assert_eq!(host.refused(seed()), "this machine is somebody already");
    });
}

#[test]
fn a_spare_whose_program_starts_late_or_again_is_told_all_the_same() {
    in_a_guest("a_spare_whose_program_starts_late_or_again_is_told_all_the_same", || {
        attach_seed("vda", spare::FILE, b"");
        configured();
        let mut killed = run_program();
        until_it_waits(&mut killed);
        killed.kill().expect("killed");
        killed.wait().expect("ended");
        let mut host = Host::new();
        let wrong = Seed { gateway: [10, 77, 0, 255].into(), ..seed() };
        let reason = host.refused(wrong);
        assert!(reason.starts_with("the gateway 10.77.0.255 cannot be set"), "{reason}");
        assert!(!in_run("command").exists(), "what is not done is not begun");
        let mut waiting = run_program();
        until_it_waits(&mut waiting);
        waiting.kill().expect("killed");
        waiting.wait().expect("ended");
        assert!(matches!(
            host.become_somebody(Seed { program: "true".to_owned(), ..seed() }),
            Told::Became { .. }
        ));
        assert!(run_program().wait().expect("it ended").success());
    });
}

#[test]
fn a_machine_that_is_no_spare_stays_who_it_is() {
    in_a_guest("a_machine_that_is_no_spare_stays_who_it_is", || {
        attach_seed("vda", seed::FILE, &json(&seed()));
        configured();
        let other = Seed { machine: "a-other-1".into(), ..seed() };
        assert_eq!(Host::new().refused(other), "this machine is no spare");
        assert_eq!(said_by("hostname").trim_end(), "a-stateless-1");
    });
}

#[test]
fn what_is_missing_is_named() {
    in_a_guest("what_is_missing_is_named", || {
        assert_eq!(
            complaint(),
            "holdfast-guest: no seed disk: there is no disk, so none is a FAT volume labelled CIDATA; \
             attach the machine's seed as a disk"
        );
        fs::write(attach("vda"), vec![7; 1 << 20]).expect("written");
        attach("vdb");
        assert_eq!(
            complaint(),
            format!(
                "holdfast-guest: no seed disk: none of {ROOT}/dev/vda, {ROOT}/dev/vdb is a FAT volume \
                 labelled CIDATA; attach the machine's seed as a disk"
            )
        );
        attach_seed("vdb", "user-data", b"#cloud-config\n");
        assert_eq!(
            complaint(),
            format!("holdfast-guest: {ROOT}/dev/vdb: the seed disk has no file holdfast.json")
        );
    });
}

#[test]
fn what_is_wrong_is_named() {
    in_a_guest("what_is_wrong_is_named", || {
        attach_seed("vda", seed::FILE, b"{\"machine\": 7}");
        assert_eq!(
            complaint(),
            format!(
                "holdfast-guest: {ROOT}/dev/vda: holdfast.json is not valid: \
                 invalid type: integer `7`, expected a string at line 1 column 13"
            )
        );
        assert!(!in_run("").exists(), "nothing was done yet");
        for (seed, reason) in [
            (Seed { prefix: 33, ..seed() }, "the seed's prefix is 33: expected a length from 0 to 32"),
            (
                Seed { gateway: [10, 77, 0, 255].into(), ..seed() },
                "the gateway 10.77.0.255 cannot be set: Received a netlink error message Invalid argument (os error 22)",
            ),
        ] {
            let _ = fs::remove_file(Path::new(ROOT).join("dev/vda"));
            attach_seed("vda", seed::FILE, &json(&seed));
            assert_eq!(complaint(), format!("holdfast-guest: {reason}"));
        }
    });
}

#[test]
fn a_machine_without_a_card_is_told_so() {
    in_a_guest("a_machine_without_a_card_is_told_so", || {
        run("ip link delete eth0");
        attach_seed("vda", seed::FILE, &json(&seed()));
        assert_eq!(
            complaint(),
            "holdfast-guest: there is no network interface eth0: give the machine a network card and its driver"
        );
    });
}

/// Runs `story` as the first process of new namespaces with an `eth0`. `name` is the test's own.
fn in_a_guest(name: &str, story: impl FnOnce()) {
    // Its host name, too, is its own.
    in_namespaces_by(name, &["unshare", "--uts", "--"], || {
        run("ip link add eth0 type veth peer name far");
        run("ip link set far up");
        story();
    });
}

//! Conversations over a socket pair: the test is the host.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::*;
use crate::machine::Machine;
use crate::places::Places;
use crate::wait::until_found;

/// Whatever should happen happens by then, however busy this computer is.
const PATIENCE: Duration = Duration::from_secs(20);

/// A guest with files of its own and the processes of this computer.
struct Guest {
    root: tempfile::TempDir,
}

impl Guest {
    fn new() -> Self {
        Guest { root: tempfile::tempdir().expect("a directory") }
    }

    fn places(&self) -> Places {
        let places = Places { proc: "/proc".into(), ..Places::below(self.root.path()) };
        fs::create_dir_all(&places.run).expect("made");
        places
    }

    fn power_off(&self) -> PathBuf {
        self.root.path().join("poweroff")
    }

    /// A program that nobody else runs: `sleep`, under a name of its own.
    fn start_program(&self) -> Child {
        let program = self.root.path().join("program");
        fs::copy("/bin/sleep", &program).expect("copied");
        fs::write(self.places().command(), format!("{}\n1000\n", program.display())).expect("written");
        let child = Command::new(&program).arg("1000").stdin(Stdio::null()).spawn().expect("started");
        let exe = format!("/proc/{}/exe", child.id());
        let runs = || fs::read_link(&exe).is_ok_and(|path| path == program).then_some(());
        until_found(PATIENCE, runs).expect("the program runs");
        child
    }

    fn serve(&self) -> (Host, JoinHandle<std::io::Result<()>>) {
        let (host, mut port) = UnixStream::pair().expect("a pair");
        host.set_read_timeout(Some(PATIENCE)).expect("set");
        let mut machine = Machine::new("a-stateless-1".into(), &self.places(), &self.power_off());
        let thread = thread::spawn(move || serve(&mut port, &mut machine));
        (Host { lines: BufReader::new(host.try_clone().expect("cloned")), stream: host }, thread)
    }
}

struct Host {
    stream: UnixStream,
    lines: BufReader<UnixStream>,
}

impl Host {
    fn send(&mut self, text: &[u8]) {
        self.stream.write_all(text).expect("sent");
    }

    fn hear(&mut self) -> Told {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("an answer");
        serde_json::from_str(&line).expect("JSON")
    }

    fn ask(&mut self, ask: Ask) -> Told {
        let mut line = serde_json::to_vec(&ask).expect("JSON");
        line.push(b'\n');
        self.send(&line);
        self.hear()
    }

    fn status(&mut self) -> bool {
        match self.ask(Ask::Status) {
            Told::Status { machine, program } => {
                assert_eq!(machine.as_str(), "a-stateless-1");
                program
            }
            told => panic!("expected a status: {told:?}"),
        }
    }

    fn hear_reason(&mut self) -> String {
        match self.hear() {
            Told::Failed { reason } => reason,
            told => panic!("expected a failure: {told:?}"),
        }
    }
}

#[test]
fn messages_look_as_agreed() {
    let text = |told: &Told| serde_json::to_string(told).expect("JSON");
    let machine = MachineId::from("a-stateless-1");
    for (told, json) in [
        (Told::Booted { machine: machine.clone() }, r#"{"told":"booted","machine":"a-stateless-1"}"#),
        (
            Told::Status { machine, program: true },
            r#"{"told":"status","machine":"a-stateless-1","program":true}"#,
        ),
        (Told::Done, r#"{"told":"done"}"#),
        (Told::Became { files_us: 7, address_us: 9 }, r#"{"told":"became","files_us":7,"address_us":9}"#),
        (Told::Failed { reason: "so".to_owned() }, r#"{"told":"failed","reason":"so"}"#),
    ] {
        assert_eq!(text(&told), json);
    }
    for (ask, json) in [
        (Ask::Status, r#"{"ask":"status"}"#),
        (Ask::Shutdown, r#"{"ask":"shutdown"}"#),
        (Ask::StopProgram, r#"{"ask":"stop-program"}"#),
    ] {
        assert_eq!(serde_json::to_string(&ask).expect("JSON"), json);
        assert_eq!(serde_json::from_str::<Ask>(json).expect("an ask"), ask);
    }
}

#[test]
fn the_status_says_whether_the_program_runs() {
    let guest = Guest::new();
    let (mut host, serving) = guest.serve();
    assert!(!host.status(), "not configured yet");
    let mut program = guest.start_program();
    assert!(host.status());
    program.kill().expect("killed");
    program.wait().expect("ended");
    assert!(!host.status());
    drop(host);
    serving.join().expect("no panic").expect("a host may go at any time");
}

#[test]
fn stop_program_kills_the_program() {
    let guest = Guest::new();
    let mut program = guest.start_program();
    let (mut host, _) = guest.serve();
    assert_eq!(host.ask(Ask::StopProgram), Told::Done);
    assert_eq!(program.wait().expect("ended").signal(), Some(9));
    let told = host.ask(Ask::StopProgram);
    assert_eq!(told, Told::Failed { reason: "the program does not run".to_owned() });
}

#[test]
fn garbage_is_answered_and_survived() {
    let guest = Guest::new();
    let (mut host, _) = guest.serve();
    for garbage in [
        &b"nonsense"[..],
        b"{}",
        b"{\"ask\":\"dance\"}",
        b"{\"ask\":\"status\"",
        b"[1,2]",
        b"\xff\xfe\0\x01",
        b"null",
        &b"[".repeat(60_000),
    ] {
        host.send(garbage);
        host.send(b"\n");
        let reason = host.hear_reason();
        assert!(reason.starts_with("expected {\"ask\":\"status\"}"), "{reason}");
        assert!(reason.len() <= 600, "{} bytes", reason.len());
    }
    // Nor does anything of a seed, which holds secrets, come back.
    host.send(b"{\"ask\":\"become\",\"mac\":\"planted\",\"seed\":\"planted\"}\n");
    assert!(!host.hear_reason().contains("planted"));
    let quoted = format!("{{\"ask\":\"{}\"}}\n", "x".repeat(50_000));
    host.send(quoted.as_bytes());
    assert!(host.hear_reason().len() <= 600, "a reason does not give back all that was sent");
    assert!(!host.status());
}

#[test]
fn a_line_that_is_too_long_is_refused_once() {
    let guest = Guest::new();
    let (mut host, _) = guest.serve();
    host.send(&b"x".repeat(LONGEST_LINE + 1));
    host.send(b"\n");
    assert_eq!(host.hear_reason(), "a line of more than 8388608 bytes");
    assert!(!host.status());
}

#[test]
fn many_lines_at_once_are_answered_in_order_and_blank_ones_not_at_all() {
    let guest = Guest::new();
    let (mut host, _) = guest.serve();
    host.send(b"\n  \r\n{\"ask\":\"status\"}\r\nnonsense\n{\"ask\":\"status\",\"later\":1}\n{\"ask\":");
    assert!(matches!(host.hear(), Told::Status { .. }));
    assert!(matches!(host.hear(), Told::Failed { .. }));
    assert!(matches!(host.hear(), Told::Status { .. }));
    host.send(b"\"status\"}\n");
    assert!(matches!(host.hear(), Told::Status { .. }));
}

/// A program that leaves a file behind.
fn make_power_off(path: &Path, mark: &Path) {
    fs::write(path, format!("#!/bin/sh\necho off > {0}.new && mv {0}.new {0}\n", mark.display()))
        .expect("written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).expect("set");
}

#[test]
fn shutdown_says_done_and_powers_off() {
    let guest = Guest::new();
    let mark = guest.root.path().join("mark");
    let (mut host, _) = guest.serve();
    match host.ask(Ask::Shutdown) {
        Told::Failed { reason } => assert!(reason.starts_with("cannot run "), "{reason}"),
        told => panic!("there is no poweroff: {told:?}"),
    }
    make_power_off(&guest.power_off(), &mark);
    assert_eq!(host.ask(Ask::Shutdown), Told::Done);
    until_found(PATIENCE, || mark.exists().then_some(())).expect("powered off");
    assert!(!host.status(), "it answers until the end");
}

#[test]
fn a_host_that_does_not_wait_for_the_answer_gets_what_it_asked() {
    let guest = Guest::new();
    let mark = guest.root.path().join("mark");
    make_power_off(&guest.power_off(), &mark);
    let (host, mut port) = UnixStream::pair().expect("a pair");
    (&host).write_all(b"nonsense\n{\"ask\":\"status\"}\n{\"ask\":\"shutdown\"}\n").expect("sent");
    drop(host);
    let mut machine = Machine::new("a-stateless-1".into(), &guest.places(), &guest.power_off());
    serve(&mut port, &mut machine).expect("a host may go at any time");
    until_found(PATIENCE, || mark.exists().then_some(())).expect("powered off");
}

//! The command line's side of TLS: it shows its token to a manager whose certificate the named CA has signed, and
//! to nobody else. The manager here is OpenSSL and a person who types its answer.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use tempfile::TempDir;

use crate::lab::program;
use crate::run::{Ended, PATIENCE, eventually, run_within};

fn openssl(directory: &Path, words: &str) {
    let mut command = Command::new("openssl");
    command.current_dir(directory).args(words.split(' '));
    run_within(&mut command, PATIENCE).ok();
}

/// The authority `name`, and a certificate of it for 127.0.0.1.
fn authority(directory: &Path, name: &str) {
    const KEY: &str = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2";
    openssl(directory, &format!("{KEY} -subj /CN={name} -keyout {name}-ca.key -out {name}-ca.pem"));
    let signed = format!("-CA {name}-ca.pem -CAkey {name}-ca.key -keyout {name}.key -out {name}.pem");
    let purpose = "-addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE";
    openssl(directory, &format!("{KEY} -subj /CN=manager {purpose} {signed}"));
}

/// Answers one connection with `answer` and gives back the head of the request.
fn serve(directory: &Path, port: u16, answer: &'static str) -> (Child, thread::JoinHandle<Vec<String>>) {
    let mut server = Command::new("openssl")
        .current_dir(directory)
        .args(["s_server", "-quiet", "-naccept", "1", "-cert", "one.pem", "-key", "one.key"])
        .args(["-accept", &format!("127.0.0.1:{port}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl");
    let (mut type_in, shown) = (server.stdin.take().expect("a pipe"), server.stdout.take().expect("a pipe"));
    let served = thread::spawn(move || {
        let lines = BufReader::new(shown).lines().map_while(Result::ok);
        let head: Vec<String> = lines.take_while(|line| !line.trim().is_empty()).collect();
        if !head.is_empty() {
            type_in.write_all(answer.as_bytes()).expect("typed");
        }
        head
    });
    eventually("it listens", || {
        std::fs::read_to_string("/proc/net/tcp")
            .ok()?
            .contains(&format!(":{port:04X} 00000000:0000 0A"))
            .then_some(())
    });
    (server, served)
}

fn ask(directory: &Path, port: u16, ca: Option<&str>) -> Ended {
    let mut command = Command::new(program("manager"));
    command.args(["--manager", &format!("https://127.0.0.1:{port}"), "vm", "create", "web"]);
    command.env("HOLDFAST_TOKEN", "holdfast_abc");
    if let Some(ca) = ca {
        command.env("HOLDFAST_CA", directory.join(ca));
    }
    run_within(&mut command, PATIENCE)
}

#[test]
fn a_token_is_shown_to_whom_the_named_authority_vouches_for() {
    let directory = TempDir::new().expect("a directory");
    let directory = directory.path();
    authority(directory, "one");
    authority(directory, "other");
    let free = || {
        let probe = TcpListener::bind("127.0.0.1:0").expect("a port");
        probe.local_addr().expect("an address").port()
    };
    const REFUSAL: &str = "HTTP/1.1 403 Forbidden\r\ncontent-type: application/problem+json\r\n\
        content-length: 91\r\nconnection: close\r\n\r\n\
        {\"type\":\"about:blank\",\"title\":\"Forbidden\",\"status\":403,\"detail\":\"only on weekdays, please\"}";

    let port = free();
    let (mut server, served) = serve(directory, port, REFUSAL);
    let ended = ask(directory, port, Some("one-ca.pem"));
    let head = served.join().expect("read").join("\n").to_lowercase();
    assert!(head.starts_with("post /vms ") && head.contains("authorization: bearer holdfast_abc"), "{head}");
    assert!(ended.code == Some(1) && ended.stderr.contains("only on weekdays"), "{ended:?}");
    let _ = server.kill();
    server.wait().expect("it ended");

    for stranger in [Some("other-ca.pem"), None] {
        let port = free();
        let (mut server, served) = serve(directory, port, REFUSAL);
        let ended = ask(directory, port, stranger);
        assert!(ended.code == Some(1) && ended.stderr.contains("HOLDFAST_CA"), "{stranger:?}: {ended:?}");
        let _ = server.kill();
        server.wait().expect("it ended");
        assert_eq!(served.join().expect("read"), Vec::<String>::new(), "nothing was shown to it");
    }
}

#[test]
fn what_cannot_prove_anything_is_a_mistake_of_whoever_typed_it() {
    let directory = TempDir::new().expect("a directory");
    std::fs::write(directory.path().join("empty.pem"), "nothing in here").expect("writable");
    let ended = ask(directory.path(), 9, Some("empty.pem"));
    assert!(ended.stderr.contains("no certificates"), "{ended:?}");
    assert_eq!(ended.code, Some(2), "{ended:?}");
    let ended = ask(directory.path(), 9, Some("missing.pem"));
    assert!(ended.code == Some(1) && ended.stderr.contains("missing.pem"), "{ended:?}");
}

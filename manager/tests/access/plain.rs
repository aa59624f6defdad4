//! Before `manager init`, changes are taken from the host itself, its socket and its peers, and everybody may look.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};

use crate::lab::{Lab, builds, read};
use crate::{ask, audit, manager, refused};

const ONE_MORE: [&str; 2] = ["--json", r#"{"service":"stateless"}"#];
const DELETE: [&str; 2] = ["-X", "DELETE"];

#[test]
fn strangers_look_and_those_at_home_change() {
    let lab = Lab::start();
    let before = lab.cluster();
    let log = read(&lab.host_file("a", "manager.log"));
    assert!(log.contains("the API is not authenticated") && log.contains("manager init"), "{log}");

    for path in ["/cluster", "/vms", "/addresses", "/state", "/metrics", "/maintenance"] {
        assert_eq!(ask(&lab, "client", &[], path).0, 200, "{path}");
    }
    assert_eq!(ask(&lab, "client", &[], "/health/live").0, 204);
    for (options, path) in [
        (&ONE_MORE[..], "/vms"),
        (&DELETE, "/vms/a-stateless-1"),
        (&["-X", "POST"], "/vms/a-stateless-1/replace"),
        (&["--json", r#"{"fault":"kill"}"#], "/vms/a-stateless-1/fault"),
        (&["-X", "PUT", "--json", r#"{"on":true}"#], "/maintenance"),
        (&["-X", "POST", "--json", "{}"], "/switchover"),
        (&DELETE, "/peers/b"),
        // To look, but at what is typed at a console.
        (&["-H", "connection: upgrade", "-H", "upgrade: holdfast-console"], "/vms/a-stateless-1/console"),
        (&[], "/audit"),
    ] {
        let detail = refused(&lab, "client", options, path, 403);
        assert!(detail.contains("192.168.10.100") && detail.contains("manager init"), "{path}: {detail}");
    }
    // Neither a peer nor loopback is the socket.
    for from in ["client", "a", "b"] {
        let detail = refused(&lab, from, &[], "/access/tokens", 403);
        assert!(detail.contains("manager access"), "{detail}");
    }
    // A page on the web has a browser of the host itself send what it likes.
    for header in ["origin: http://evil.example", "sec-fetch-site: cross-site", "host: evil.example:8080"] {
        let options = [&DELETE[..], &["-H", header]].concat();
        refused(&lab, "a", &options, "/vms/a-stateless-1", 403);
    }
    let detail = refused(&lab, "client", &["-H", "authorization: Bearer x"], "/cluster", 403);
    assert!(detail.contains("https"), "{detail}");
    assert_eq!(builds(&lab.wait_until_whole()), builds(&before), "nothing was changed");

    for from in ["a", "b"] {
        assert_eq!(ask(&lab, from, &ONE_MORE, "/vms").0, 202, "from {from}");
    }
    let entries = audit(&lab);
    let made: Vec<&str> =
        entries.iter().filter(|entry| entry.status == 202).map(|entry| entry.who.as_str()).collect();
    assert_eq!(made, ["192.168.10.1", "192.168.10.2"]);
    let made = entries.iter().find(|entry| entry.status == 202).expect("written");
    assert_eq!((made.method.as_str(), made.path.as_str()), ("POST", "/vms"));
    assert_eq!(made.body.as_deref(), Some("service=stateless"));
    let strangers = entries.iter().filter(|entry| entry.who == "192.168.10.100").collect::<Vec<_>>();
    assert_eq!(strangers.len(), 8, "each refused change, and no look: {strangers:#?}");
    assert!(strangers.iter().all(|entry| entry.status == 403 && entry.refused.is_some()));
    assert_eq!(lab.wait_until_whole().hosts[0].machines.len(), 5);
}

#[test]
fn the_socket_is_the_way_of_those_at_home() {
    let lab = Lab::start();
    let socket = lab.host_file("a", "state/manager.sock");
    let meta = std::fs::metadata(&socket).expect("there");
    assert!(meta.file_type().is_socket());
    assert_eq!(meta.permissions().mode() & 0o777, 0o600);

    assert!(manager(&lab, "a", &["vm", "create", "stateless"]).ok().contains("a-stateless-3"));
    let entries = audit(&lab);
    let uid = nix::unistd::getuid().as_raw();
    // Where the lab is made without root, its user is root inside.
    let known = [format!("uid {uid} on the socket"), "uid 0 on the socket".to_owned()];
    assert!(known.contains(&entries.last().expect("written").who), "{entries:?}");
    assert!(manager(&lab, "a", &["audit"]).ok().contains("service=stateless"));

    // A manager that was killed leaves its socket behind; the next one replaces it.
    lab.fault(&["kill-manager"]);
    let gone = manager(&lab, "a", &["status"]);
    assert_ne!(gone.code, Some(2), "{gone:?}");
    lab.wait_until_whole();
    assert!(manager(&lab, "a", &["vm", "list"]).ok().contains("a-stateless-3"));
    let after = audit(&lab);
    assert_eq!(after[..entries.len()], entries, "the log outlives the manager");

    // Somebody on the host who may not open it is not root.
    let url = "http://localhost/access/tokens";
    let socket = socket.display().to_string();
    let as_nobody = [
        "setpriv",
        "--reuid",
        "65534",
        "--clear-groups",
        "curl",
        "-sS",
        "-m",
        "5",
        "--unix-socket",
        &socket,
        url,
    ];
    if uid == 0 {
        assert_eq!(lab.exec("a", &as_nobody).code, Some(7), "it cannot be connected to");
    }
    assert_eq!(lab.exec("a", &["curl", "-sS", "-m", "5", "--unix-socket", &socket, url]).ok(), "[]");
}

#[test]
fn a_flood_of_refusals_fills_no_disk() {
    let lab = Lab::start();
    let url = format!("{}/vms", crate::lab::MANAGERS[0]);
    let flood = format!(
        "for i in $(seq 10); do curl -s -o /dev/null -m 20 -X POST --data-raw x \"{url}?[1-100]\"; done"
    );
    lab.exec("client", &["sh", "-c", &flood]).ok();
    let entries = audit(&lab);
    assert!((50..150).contains(&entries.len()), "{}", entries.len());
    let length = |name| std::fs::metadata(lab.host_file("a", name)).map_or(0, |meta| meta.len());
    assert!(length("state/audit-refused.log") < 100_000);
    assert_eq!(length("state/audit.log"), 0);
}

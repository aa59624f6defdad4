//! Two hosts get their certificates from a real ACME server: pebble, that of the people who made the protocol. It asks
//! the public address for its proofs as any server on the Internet would, checks every signature and nonce, and refuses
//! some good nonces on purpose.

#![allow(clippy::expect_used, clippy::unwrap_used)]

#[path = "../cluster/lab.rs"]
#[allow(dead_code)]
mod lab;
#[path = "../cluster/run.rs"]
mod run;
mod server;

use std::fs;
use std::time::Duration;

use lab::{Lab, MANAGERS, VIP, program, read};
use run::eventually;
use server::Server;

const BALANCERS: [&str; 2] = ["192.168.10.10", "192.168.10.20"];

/// The certificate that `address` shows who asks for `name`; none while it shows none.
fn shown(lab: &Lab, address: &str, name: &str) -> Option<String> {
    let command = format!(
        "openssl s_client -connect {address}:443 -servername {name} </dev/null 2>/dev/null | openssl x509 -noout -serial"
    );
    let asked = lab.exec("client", &["timeout", "5", "sh", "-c", &command]);
    (asked.code == Some(0) && asked.stdout.starts_with("serial=")).then_some(asked.stdout)
}

/// Waits until both balancers show the same certificate for `name`.
#[track_caller]
fn everywhere(lab: &Lab, name: &str) -> String {
    eventually(&format!("both balancers show one certificate for {name}"), || {
        let [a, b] = BALANCERS.map(|address| shown(lab, address, name));
        (a.is_some() && a == b).then_some(a?)
    })
}

/// A client of the public address that believes the server's root and nobody else.
fn is_served(lab: &Lab, server: &Server, name: &str) {
    let (url, resolve) = (format!("https://{name}/random/number"), format!("{name}:443:{VIP}"));
    let root = server.root(lab).display().to_string();
    let words = ["curl", "-sS", "-m", "10", "--cacert", &root, "--resolve", &resolve, &url];
    assert!(lab.exec("client", &words).ok().contains("value"));
}

#[test]
fn one_manager_gets_the_certificate_every_balancer_shows_it_and_another_manager_goes_on() {
    let server = Server::make(r#"certificates = [["www.example.org", "example.org"]]"#);
    let lab = Lab::begin_with(&[("HOLDFAST_CERTIFICATES", "1"), ("HOLDFAST_SETTINGS", server.settings())]);
    server.start(&lab);
    lab.wait_until_whole();
    let first = everywhere(&lab, "example.org");
    is_served(&lab, &server, "www.example.org");
    assert_eq!(server.orders(), 1, "one owner");

    // A session that one balancer began goes on at the other: they have the same keys for tickets.
    let session = lab.path().join("session").display().to_string();
    let connect = |address: &str, how: &str| {
        let command = format!(
            "openssl s_client -tls1_2 -connect {address}:443 -servername example.org {how} {session} </dev/null 2>&1"
        );
        lab.exec("client", &["timeout", "5", "sh", "-c", &command]).stdout
    };
    eventually("a session is resumed at the other balancer", || {
        connect(BALANCERS[0], "-sess_out");
        connect(BALANCERS[1], "-sess_in").contains("Reused, TLSv1.2").then_some(())
    });

    nobody_is_shown_a_secret(&lab);

    // The owner's manager dies, and its balancer, which nobody could tell anything any more. The other manager goes on
    // where it ended, with the same account.
    lab.fault(&["stop-manager", "a"]);
    lab.fault(&["kill", "a-lb"]);
    for host in ["a", "b"] {
        let config = lab.host_file(host, "manager.toml");
        let text = read(&config);
        let more = text.replace(r#""example.org"]]"#, r#""example.org"], ["www.example.net"]]"#);
        assert_ne!(text, more);
        fs::write(&config, more).expect("written");
    }
    lab.fault(&["stop-manager", "b"]);
    lab.fault(&["start-manager", "b"]);
    let second = eventually("the other manager gets the next certificate", || {
        shown(&lab, BALANCERS[1], "www.example.net").filter(|shown| *shown != first)
    });
    lab.fault(&["start-manager", "a"]);
    assert_eq!(everywhere(&lab, "www.example.net"), second);
    assert_eq!(everywhere(&lab, "example.org"), first, "what is good is not ordered again");
    is_served(&lab, &server, "www.example.net");
    assert_eq!((server.orders(), server.accounts()), (2, 1));
}

/// Neither managers nor balancers, nor anybody's log.
fn nobody_is_shown_a_secret(lab: &Lab) {
    let mut said = Vec::new();
    for manager in MANAGERS {
        for path in ["cluster", "state", "metrics"] {
            said.push(lab.get(&format!("{manager}/{path}")));
        }
        let exchange = format!("{manager}/certificates/exchange");
        let words = ["curl", "-sS", "-m", "5", "-w", " %{http_code}", "-H", "content-type: application/json"];
        let refused = lab.exec("client", &[&words[..], &["-d", "{}", &exchange]].concat()).ok();
        assert!(refused.ends_with(" 401"), "{refused}");
        said.push(refused);
    }
    for balancer in BALANCERS {
        for path in ["config", "status", "metrics"] {
            said.push(lab.get(&format!("http://{balancer}:8080/{path}")));
        }
    }
    said.push(read(&lab.host_file("a", "manager.log")));
    said.push(read(&lab.host_file("b", "manager.log")));
    for text in &said {
        for secret in ["PRIVATE KEY", "key_pkcs8"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
    assert!(said.concat().contains("(hidden)"), "there are keys, and they are hidden");
    let metrics = lab.get(&format!("{}/metrics", MANAGERS[1]));
    assert!(
        metrics.contains("manager_certificate_expires_timestamp_seconds{name=\"example.org\"}"),
        "{metrics}"
    );
}

#[test]
fn a_certificate_is_renewed_before_it_ends_and_no_client_notices() {
    let server = Server::make_for(r#"certificates = [["www.example.org"]]"#, Duration::from_secs(30));
    let lab = Lab::begin_with(&[("HOLDFAST_CERTIFICATES", "1"), ("HOLDFAST_SETTINGS", server.settings())]);
    server.start(&lab);
    lab.wait_until_whole();
    let mut before = everywhere(&lab, "www.example.org");
    // The first one has ended when the third is shown, and clients look at the time.
    for _ in 0..2 {
        before = eventually("another one is shown", || {
            is_served(&lab, &server, "www.example.org");
            shown(&lab, BALANCERS[0], "www.example.org").filter(|shown| *shown != before)
        });
    }
    assert_eq!(server.accounts(), 1);
    let metrics = lab.get(&format!("{}/metrics", MANAGERS[0]));
    assert!(metrics.contains("manager_acme_failures{names=\"www.example.org\"} 0"), "{metrics}");
}

#[test]
fn a_name_can_be_proved_in_a_handshake_and_what_failed_is_said() {
    let certificates =
        "challenge = \"tls-alpn-01\"\ncertificates = [[\"tls.example.org\"], [\"wrong.example.org\"]]";
    let server = Server::make(certificates);
    let lab = Lab::begin_with(&[("HOLDFAST_CERTIFICATES", "1"), ("HOLDFAST_SETTINGS", server.settings())]);
    server.start(&lab);
    lab.wait_until_whole();
    everywhere(&lab, "tls.example.org");
    is_served(&lab, &server, "tls.example.org");
    // Nobody gets a connection who pretends to be a server, when nothing is to be proved.
    let command = format!(
        "openssl s_client -connect {VIP}:443 -servername tls.example.org -alpn acme-tls/1 </dev/null 2>&1; true"
    );
    let refused = lab.exec("client", &["timeout", "5", "sh", "-c", &command]).ok();
    assert!(refused.contains("no peer certificate available"), "{refused}");
    // That name leads elsewhere.
    eventually("the failure is said in the status", || {
        let status = lab.exec(
            "a",
            &[
                &program("manager"),
                "--config",
                &lab.host_file("a", "manager.toml").display().to_string(),
                "status",
            ],
        );
        status.stdout.contains("no certificate for wrong.example.org after 1 attempts").then_some(())
    });
    let metrics = lab.get(&format!("{}/metrics", MANAGERS[0]));
    assert!(metrics.contains("manager_acme_failures{names=\"wrong.example.org\"} 1"), "{metrics}");
    assert!(metrics.contains("manager_acme_failures{names=\"tls.example.org\"} 0"), "{metrics}");
}

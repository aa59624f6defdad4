//! Which certificate is shown to whom, where certificates come from, and what is wrong with some.

use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::balancer::eventually;
use crate::peers::{curl, openssl, s_client};
use crate::stage::{NAME, Stage};

/// What OpenSSL is shown when it asks for `name`: the names in the certificate, or why there is none.
async fn shown(stage: &Stage, name: &str) -> String {
    let more: &[&str] = if name.is_empty() { &["-noservername"] } else { &["-servername", name] };
    let at = stage.tls();
    let ca = stage.ca.file();
    // Whether the name fits is not OpenSSL's to say here.
    let said = s_client(&ca, "", at, &[&["-showcerts"][..], more].concat()).await;
    let Some(begin) = said.out.find("-----BEGIN CERTIFICATE-----") else { return said.err };
    let file = stage.ca.path().join(format!("shown-{}.pem", name.replace('*', "_")));
    std::fs::write(&file, &said.out[begin..]).expect("written");
    let file = file.to_str().expect("text");
    let text = openssl(&["x509", "-noout", "-ext", "subjectAltName", "-in", file]).await;
    text.out.lines().last().unwrap_or_default().trim().to_owned()
}

#[tokio::test]
async fn the_name_that_is_asked_for_decides() {
    let stage =
        Stage::with("", |ca| ca.server(&["*.b.example"]).toml() + &ca.server(&["c.b.example"]).toml()).await;
    for (name, expected) in [
        (NAME, "DNS:www.example"),
        ("c.b.example", "DNS:c.b.example"),
        ("any.b.example", "DNS:*.b.example"),
        ("too.deep.b.example", "DNS:www.example"),
        ("other.example", "DNS:www.example"),
        ("", "DNS:www.example"),
    ] {
        assert_eq!(shown(&stage, name).await, expected, "{name}");
    }
}

#[tokio::test]
async fn names_that_nobody_has_can_be_refused() {
    let stage = Stage::new("refuse_unknown_names = true").await;
    assert_eq!(shown(&stage, NAME).await, "DNS:www.example");
    for name in ["other.example", ""] {
        let said = shown(&stage, name).await;
        assert!(said.contains("alert access denied"), "{name}: {said}");
    }
    stage.counts("unknown_name", 2.0).await;
}

#[tokio::test]
async fn what_is_pushed_outranks_the_file_is_kept_and_its_keys_are_not_shown() {
    let mut stage = Stage::new("").await;
    let pushed = stage.ca.server(&[NAME, "new.example"]);
    let (status, problem) = stage.push(1, &[&pushed], json!({"ticket_keys": ["k".repeat(32)]})).await;
    assert_eq!(status, 200, "{problem}");
    let both = "DNS:www.example, DNS:new.example";
    assert_eq!(shown(&stage, NAME).await, both);
    let text = stage.balancer.get("/config").await.text().await.expect("text");
    assert!(text.contains("BEGIN CERTIFICATE") && text.contains("(hidden)"), "{text}");
    assert!(!text.contains("PRIVATE KEY") && !text.contains("kkkk"), "{text}");
    let expires = format!("lb_certificate_expires_timestamp_seconds{{name=\"{NAME}\"}}");
    assert!(stage.figure(&expires).await > 1e9);
    assert!((stage.figure("lb_certificates").await - 2.0).abs() < 0.1);
    stage.balancer.kill_and_restart().await;
    assert_eq!(shown(&stage, "new.example").await, both, "it was stored");
    let (status, _) = stage.push(2, &[], json!({})).await;
    assert_eq!(status, 200);
    assert_eq!(shown(&stage, NAME).await, "DNS:www.example", "the file's is there as before");
    assert!(curl(&stage.ca.file(), NAME, stage.tls(), "/", &[]).await.ok);
}

/// As whatever renews them does it: the settings say the same as before.
#[tokio::test]
async fn files_that_were_renewed_are_read_anew_with_the_settings() {
    let mut issued = None;
    let stage = Stage::with("", |ca| issued.insert(ca.server(&["file.example"])).toml()).await;
    let issued = issued.expect("a certificate");
    let mut kept = stage.connect().await;
    let reload = async |taken: u64| {
        let before = stage.balancer.reloads().await;
        stage.balancer.signal(Signal::SIGHUP);
        eventually("the files are read", async || (stage.balancer.reloads().await > before).then_some(()))
            .await;
        assert_eq!(stage.balancer.get_json("/status").await["file"]["taken"], taken);
    };
    let renewed = stage.ca.server(&["file.example", "more.example"]);
    std::fs::write(&issued.chain_file, &renewed.chain).expect("written");
    reload(0).await;
    assert_eq!(shown(&stage, "file.example").await, "DNS:file.example", "half of it is none");
    std::fs::write(&issued.key_file, &renewed.key).expect("written");
    reload(1).await;
    for name in ["file.example", "more.example"] {
        assert_eq!(shown(&stage, name).await, "DNS:file.example, DNS:more.example");
    }
    let answer = kept.ask("GET / HTTP/1.1\r\nHost: www.example\r\n\r\n").await;
    assert_eq!(answer.status(), 200, "who was there stays");
}

#[tokio::test]
async fn what_cannot_be_used_is_refused_by_its_field_and_changes_nothing() {
    let stage = Stage::new("").await;
    let [one, other] = ["a.example", "b.example"].map(|name| stage.ca.server(&[name]));
    let cases = [
        (
            json!([one.json(), {"chain": one.chain, "key": other.key}]),
            "certificates[1].key",
            "the key is not that of",
        ),
        (
            json!([{"chain": "nothing", "key": one.key}]),
            "certificates[0].chain",
            "expected certificates as PEM",
        ),
        (
            json!([{"chain": one.chain, "key": "nothing"}]),
            "certificates[0].key",
            "expected a private key as PEM",
        ),
        (
            json!([{"chain": one.chain, "key": one.key, "ocsp": "AAAA"}]),
            "certificates[0].ocsp",
            "expected an OCSP response",
        ),
    ];
    for (certificates, field, expected) in cases {
        let (status, problem) = stage.push(9, &[], json!({"certificates": certificates})).await;
        let text = problem.to_string();
        assert!(status == 400 && text.contains(field) && text.contains(expected), "{text}");
        assert!(!text.contains("PRIVATE KEY"), "{text}");
    }
    let (status, problem) = stage.push(9, &[], json!({"ticket_keys": ["short"]})).await;
    assert!(status == 400 && problem.to_string().contains("ticket_keys[0]"), "{problem}");
    assert_eq!(shown(&stage, NAME).await, "DNS:www.example");
}

#[tokio::test]
async fn a_broken_file_is_named_with_its_place() {
    let ca = crate::authority::Authority::new("test CA");
    let [one, other] = ["a.example", "b.example"].map(|name| ca.server(&[name]));
    let path = ca.path().join("lb.toml");
    let check = |part: String| {
        let text = format!("machine = \"t\"\naddress = \"127.0.0.1\"\n[[config.certificates]]\n{part}");
        std::fs::write(&path, text).expect("written");
        let run =
            Command::new(env!("CARGO_BIN_EXE_lb")).args(["proxy", "--check", "--config"]).arg(&path).output();
        let output = run.expect("lb runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let files = |chain: &std::path::Path, key: &std::path::Path| {
        format!("chain_file = {chain:?}\nkey_file = {key:?}\n")
    };
    assert_eq!(check(files(&one.chain_file, &one.key_file)).0, Some(0));
    let missing = ca.path().join("missing.pem");
    for (part, place, name, expected) in [
        (files(&missing, &one.key_file), "lb.toml:4:14: ", &missing, "No such file"),
        (
            files(&one.key_file, &one.key_file),
            "lb.toml:4:14: ",
            &one.key_file,
            "expected certificates as PEM",
        ),
        (
            files(&one.chain_file, &one.chain_file),
            "lb.toml:5:12: ",
            &one.chain_file,
            "expected a private key",
        ),
        (
            files(&one.chain_file, &other.key_file),
            "lb.toml:5:12: ",
            &other.key_file,
            "the key is not that of",
        ),
    ] {
        let (code, said) = check(part);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(&format!("{place}{}: {expected}", name.display())), "{said}");
    }
    // A key in the file itself is not repeated.
    let (_, said) = check(format!("chain_file = {:?}\nkey = \"\"\"{}\"\"\"\n", one.chain_file, other.key));
    assert!(said.contains("config.certificates: key: the key is not that of"), "{said}");
    assert!(!said.contains("PRIVATE"), "{said}");
}

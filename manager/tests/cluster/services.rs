//! Services of people's own: who answers for which name and path, what programs are given and nobody else sees, when a
//! machine is ready, and servers that others keep.

use std::path::PathBuf;
use std::process::{Child, Stdio};

use wire::cluster::{Condition, Phase};

use crate::lab::{Lab, MANAGERS, VIP, machine, program};
use crate::load::Load;
use crate::run::eventually;

/// A lab whose hosts have these services too.
pub(crate) fn lab_with(services: &str) -> (Lab, tempfile::TempDir) {
    lab_of(services, &[])
}

/// The same, with further settings for the lab's script.
pub(crate) fn lab_of(services: &str, settings: &[(&str, &str)]) -> (Lab, tempfile::TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("services.toml");
    std::fs::write(&file, services).expect("written");
    let services = [("HOLDFAST_SETTINGS", file.to_str().expect("a plain name"))];
    let lab = Lab::begin_with(&[settings, &services].concat());
    lab.wait_until_whole();
    (lab, directory)
}

/// Status and whole answer of what a client asks a host name for at the public address.
pub(crate) fn ask(lab: &Lab, host: &str, path: &str) -> String {
    let (name, url) = (format!("host: {host}"), format!("http://{VIP}{path}"));
    lab.exec("client", &["curl", "-si", "--max-time", "10", "-H", &name, &url]).stdout
}

/// The service whose machine answered with 200.
fn served_by(answer: &str) -> &str {
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let by = answer.lines().find_map(|line| line.strip_prefix("x-served-by: ")).expect("who served it");
    by.split('-').nth(1).expect("a service")
}

#[test]
fn names_and_a_path_reach_their_services_and_each_has_its_own_page() {
    let (lab, _settings) = lab_with(
        r#"
[[service]]
name = "shop"
replicas = 1
[service.policy]
hold_ms = 0
[[service.route]]
hosts = ["shop.example"]
[service.error_pages]
503 = { body = "<h1>The shop is closed</h1>" }
[[service]]
name = "api"
replicas = 1
[[service.route]]
hosts = ["shop.example"]
path = "/random"
"#,
    );
    assert_eq!(served_by(&ask(&lab, "shop.example", "/health/ready")), "shop");
    assert_eq!(served_by(&ask(&lab, "shop.example", "/random/number")), "api");
    assert_eq!(served_by(&ask(&lab, "other.example", "/health/ready")), "stateless");

    // No machine of the shop is left; all else goes on.
    for (host, manager, id) in [("a", MANAGERS[0], "a-shop-1"), ("b", MANAGERS[1], "b-shop-1")] {
        lab.exec(host, &[&program("manager"), "--manager", manager, "vm", "delete", id]).ok();
        eventually("it is gone", || {
            let view = lab.view(manager)?;
            (!crate::lab::machines(&view).iter().any(|machine| machine.id.as_str() == id)).then_some(())
        });
    }
    let closed = eventually("nobody is left for the shop", || {
        let answer = ask(&lab, "shop.example", "/health/ready");
        answer.starts_with("HTTP/1.1 503").then_some(answer)
    });
    assert!(closed.contains("The shop is closed"), "{closed}");
    assert_eq!(served_by(&ask(&lab, "shop.example", "/random/number")), "api");
    assert_eq!(served_by(&ask(&lab, "other.example", "/health/ready")), "stateless");
}

/// Whatever `command` prints on host a.
fn on_a(lab: &Lab, command: &str) -> String {
    lab.exec("a", &["sh", "-c", command]).stdout
}

#[test]
fn secrets_reach_the_program_and_nobody_else() {
    // Put together here, so that this program's own files do not have it.
    let planted = ["planted", "9b1f", "secret"].join("-");
    let directory = tempfile::tempdir().expect("a directory");
    let secret = directory.path().join("key");
    std::fs::write(&secret, format!("{planted}-key")).expect("written");
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("set");
    let (lab, settings) = lab_with(&format!(
        "[[service]]\nname = \"shop\"\nreplicas = 1\nenvironment = {{ SHOP_PASSWORD = \"{planted}-word\" }}\n\
         secrets = {{ \"tls.key\" = {{ file = \"{}\" }} }}\n",
        secret.display()
    ));
    let state = lab.host_file("a", "state");
    let machine = state.join("machines/a-shop-1");
    let key = machine.join("guest/secrets/tls.key");

    // Where they are to be.
    assert_eq!(std::fs::read_to_string(&key).expect("the key"), format!("{planted}-key"));
    let environment = on_a(&lab, "cat /proc/[0-9]*/environ | tr '\\0' '\\n' | sort -u");
    let has = |line: &str| environment.lines().any(|other| other == line);
    assert!(has(&format!("SHOP_PASSWORD={planted}-word")), "{environment}");
    assert!(has(&format!("CREDENTIALS_DIRECTORY={}", key.parent().expect("a directory").display())));

    // Everything that was written down or is shown to anyone.
    let mut told = vec![
        ("the process list", on_a(&lab, "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")),
        ("the log", crate::lab::read(&lab.host_file("a", "manager.log"))),
        ("the console", crate::lab::read(&machine.join("console.log"))),
    ];
    let lb = "http://192.168.10.10:8080";
    let asked =
        ["/state", "/cluster", "/vms", "/addresses", "/metrics", "/events/history", "/vms/a-shop-1/logs"];
    let asked = asked.map(|path| format!("{}{path}", MANAGERS[0])).into_iter();
    for url in asked.chain(["/status", "/config", "/upstreams", "/metrics"].map(|path| format!("{lb}{path}")))
    {
        told.push(("an answer", on_a(&lab, &format!("curl -s --max-time 3 '{url}'"))));
    }
    for (what, text) in &told {
        assert!(!text.is_empty(), "{what}");
        assert!(!text.contains(&planted), "{what}: {text}");
    }
    // What the operator wrote is the operator's to keep.
    let written: Vec<PathBuf> = ["a", "b"]
        .map(|host| lab.host_file(host, "manager.toml"))
        .into_iter()
        .chain([settings.path().join("services.toml")])
        .collect();
    for file in &written {
        std::fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("set");
    }
    let found = on_a(&lab, &format!("grep -rl '{planted}' {}", lab.path().display()));
    assert!(found.contains("holdfast.json"), "the search finds what is there: {found}");
    let readable = on_a(
        &lab,
        &format!("find {} -type f -perm -004 -exec grep -l '{planted}' {{}} +", lab.path().display()),
    );
    assert_eq!(readable, "", "files that everybody may read");
    // Nor would a file's own mode help whoever may pass through the directories.
    for file in found.lines().filter(|file| !file.ends_with("manager.toml")) {
        let mode =
            std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(file).expect("there").permissions());
        assert_eq!(mode & 0o077, 0, "{file}");
    }
}

#[test]
fn a_machine_that_is_not_ready_is_sent_nothing_and_lives_on() {
    let (lab, _settings) = lab_with(
        r#"
[[service]]
name = "shop"
replicas = 1
[[service.route]]
hosts = ["shop.example"]
[service.liveness]
kind = "tcp"
period_ms = 200
[service.readiness]
kind = "http"
path = "/health/ready"
period_ms = 100
timeout_ms = 300
failure_threshold = 2
"#,
    );
    let before = lab.cluster();
    let shop = machine(&before, "a-shop-1").clone();
    let delay = |ms: u32| {
        let url = format!("http://{}:8080/delay?millis={ms}", shop.address);
        lab.exec("client", &["curl", "-sf", "--max-time", "5", "-X", "PUT", &url]).ok();
    };
    let is_ready = |ready: bool| {
        eventually("its readiness is known", || {
            let view = lab.view(MANAGERS[0])?;
            let now = machine(&view, "a-shop-1").clone();
            (now.phase == Phase::Ready && (now.condition == Some(Condition::NotReady)) != ready).then_some(())
        });
    };
    std::thread::scope(|scope| {
        let load = Load::of_seconds(6).with("--header", "host: shop.example").start(&lab, scope);
        delay(1_000);
        is_ready(false);
        for _ in 0..10 {
            let answer = ask(&lab, "shop.example", "/random/number");
            assert!(answer.contains("x-served-by: b-shop-1"), "{answer}");
        }
        delay(0);
        is_ready(true);
        load.join().expect("a report").assert_nobody_noticed();
    });
    let after = lab.wait_until_whole();
    assert_eq!(machine(&after, "a-shop-1").incarnation, shop.incarnation, "it was not built anew");

    // A machine that does not live is: nothing answers its probe.
    lab.fault(&["freeze", "a-shop-1"]);
    eventually("it is built anew", || {
        let view = lab.view(MANAGERS[0])?;
        (machine(&view, "a-shop-1").incarnation > shop.incarnation).then_some(())
    });
    lab.wait_until_whole();
}

/// A server that no manager keeps; what it left ends with the lab.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a server on the client.
fn serve(lab: &Lab, name: &str, port: u16) -> Server {
    let settings = lab.path().join(format!("{name}.toml"));
    std::fs::write(&settings, format!("machine = \"{name}\"\nlisten = \"192.168.10.100:{port}\"\n"))
        .expect("written");
    let pid = lab.path().join(format!("{name}.pid"));
    let command =
        format!("echo $$ >{}; exec {} --config {}", pid.display(), program("stateless"), settings.display());
    let mut script = lab.script("exec");
    script
        .args(["client", "sh", "-c", &command])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let server = Server(script.spawn().expect("a server"));
    eventually("it answers", || {
        let url = format!("http://192.168.10.100:{port}/health/ready");
        (lab.exec("client", &["curl", "-sf", "--max-time", "1", &url]).code == Some(0)).then_some(())
    });
    server
}

#[test]
fn servers_that_others_keep_are_a_service_too() {
    let (lab, _settings) = lab_with(
        r#"
[[service]]
name = "old"
endpoints = ["192.168.10.100:8001", "192.168.10.100:8002"]
[[service.route]]
hosts = ["old.example"]
[service.policy]
hold_ms = 0
[service.readiness]
kind = "http"
path = "/health/ready"
period_ms = 100
timeout_ms = 300
failure_threshold = 1
[service.error_pages]
5xx = { body = "the old ones are down" }
"#,
    );
    let closed = ask(&lab, "old.example", "/random/number");
    assert!(closed.starts_with("HTTP/1.1 50") && closed.contains("the old ones are down"), "{closed}");
    let _servers = [serve(&lab, "x-one-1", 8001), serve(&lab, "x-two-1", 8002)];
    let served: std::collections::BTreeSet<String> = eventually("both are used", || {
        let served: std::collections::BTreeSet<String> = (0..10)
            .map(|_| ask(&lab, "old.example", "/random/number"))
            .filter(|answer| answer.starts_with("HTTP/1.1 200"))
            .map(|answer| served_by(&answer).to_owned())
            .collect();
        (served.len() == 2).then_some(served)
    });
    assert!(served.contains("one") && served.contains("two"), "{served:?}");
    // One of them ends: nobody notices, and it is left out.
    std::thread::scope(|scope| {
        let load = Load::of_seconds(3).with("--header", "host: old.example").start(&lab, scope);
        lab.exec(
            "client",
            &["sh", "-c", &format!("kill -KILL $(cat {})", lab.path().join("x-one-1.pid").display())],
        )
        .ok();
        load.join().expect("a report").assert_nobody_noticed();
    });
    for _ in 0..10 {
        assert_eq!(served_by(&ask(&lab, "old.example", "/random/number")), "two");
    }
    // Nobody can make one of them.
    let made = lab.exec("a", &[&program("manager"), "--manager", MANAGERS[0], "vm", "create", "old"]);
    assert_eq!(made.code, Some(1), "{made:?}");
    assert!(made.stderr.contains("not ours to make"), "{made:?}");
}

#[test]
fn a_service_is_defined_at_run_time_and_outlives_its_managers() {
    let lab = Lab::start();
    let [a, b] = MANAGERS;
    let file = lab.path().join("shop.toml");
    let define = |text: &str| {
        std::fs::write(&file, text).expect("written");
        let file = file.to_str().expect("a plain name");
        lab.exec("a", &[&program("manager"), "--manager", a, "service", "apply", file])
    };
    let shop = "[[service]]\nname = \"shop\"\nreplicas = 1\nenvironment = { SHOP_PASSWORD = \"planted-7c\" }\n\
                [[service.route]]\nhosts = [\"shop.example\"]\n";
    assert_eq!(served_by(&ask(&lab, "shop.example", "/random/number")), "stateless");
    // The same checks as for the manager's file, with the place.
    let refused = define(&shop.replace("replicas = 1", "replicas = 1\nport = 0"));
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("expected a port from 1 to 65535"), "{refused:?}");
    let refused = define(&shop.replace("replicas = 1", "replicas = 9"));
    assert!(refused.stderr.contains("addresses too few"), "{refused:?}");

    define(shop).ok();
    let whole = lab.wait_until_whole();
    for id in ["a-shop-1", "b-shop-1"] {
        assert_eq!(machine(&whole, id).phase, Phase::Ready);
    }
    assert_eq!(served_by(&ask(&lab, "shop.example", "/random/number")), "shop");
    assert_eq!(served_by(&ask(&lab, "other.example", "/random/number")), "stateless");
    let shown =
        lab.exec("b", &[&program("manager"), "--manager", b, "-o", "json", "service", "show", "shop"]).ok();
    assert!(shown.contains("SHOP_PASSWORD") && shown.contains("(hidden)"), "{shown}");
    assert!(!shown.contains("planted"), "{shown}");
    let listed = lab.exec("b", &[&program("manager"), "--manager", b, "service", "ls"]).ok();
    assert!(listed.contains("shop.example") && listed.contains("at run time"), "{listed}");

    // What was shown can be given back, and secrets stay what they were.
    let spec: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    let mut spec = spec["spec"].clone();
    spec["replicas"] = 2.into();
    let url = format!("{a}/services/shop");
    lab.exec("a", &["curl", "-sf", "-X", "PUT", "--json", &spec.to_string(), &url]).ok();
    eventually("there is one more", || {
        let view = lab.view(a)?;
        crate::lab::machines(&view).iter().any(|machine| machine.id.as_str() == "a-shop-2").then_some(())
    });
    lab.wait_until_whole();
    let environment = on_a(&lab, "cat /proc/[0-9]*/environ | tr '\\0' '\\n' | sort | uniq -c");
    assert!(environment.lines().any(|line| line.trim() == "2 SHOP_PASSWORD=planted-7c"), "{environment}");

    // Nor is it in the audit log, which tells of the change, or in any other file that is not for root alone.
    let found = on_a(&lab, &format!("grep -rl planted-7c {}", lab.host_file("a", "state").display()));
    assert!(found.contains("holdfast.json"), "the search finds what is there: {found}");
    for file in found.lines() {
        assert!(!file.contains("audit"), "{file}");
        let mode =
            std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(file).expect("there").permissions());
        assert_eq!(mode & 0o077, 0, "{file}");
    }
    let audit = on_a(&lab, &format!("curl -s '{a}/audit'"));
    assert!(audit.contains("/services/shop") && !audit.contains("planted"), "{audit}");

    // A manager that is started anew knows it, and nothing is built anew for that.
    let before = crate::lab::builds(&lab.cluster());
    std::thread::scope(|scope| {
        let load = Load::of_seconds(4).with("--header", "host: shop.example").start(&lab, scope);
        lab.fault(&["kill-manager"]);
        load.join().expect("a report").assert_nobody_noticed();
    });
    assert_eq!(crate::lab::builds(&lab.wait_until_whole()), before);

    // It goes as it came, and its requests go where they went before.
    let kept = lab.exec("a", &[&program("manager"), "--manager", a, "service", "rm", "stateless"]);
    assert!(kept.stderr.contains("in this manager's file"), "{kept:?}");
    std::thread::scope(|scope| {
        let load = Load::of_seconds(4).with("--header", "host: shop.example").start(&lab, scope);
        lab.exec("a", &[&program("manager"), "--manager", a, "service", "rm", "shop"]).ok();
        load.join().expect("a report").assert_nobody_noticed();
    });
    let left = lab.wait_until_whole();
    assert!(
        crate::lab::machines(&left).iter().all(|machine| machine.service.as_str() != "shop"),
        "{left:#?}"
    );
    assert_eq!(served_by(&ask(&lab, "shop.example", "/random/number")), "stateless");
}

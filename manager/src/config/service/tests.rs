//! What is said of services, and what is refused.

use kit::config::Source;
use wire::proxy_config::Route;

use crate::config::Config;

const HOST: &str = r#"name = "a"
address = "192.168.10.1"
gateway = "192.168.10.1"
hypervisor = "namespaces"
address_pool = ["192.168.10.10-192.168.10.16"]
"#;

fn check(services: &str) -> Result<Config, String> {
    let text = format!("{HOST}{services}");
    Config::check(&Source::from_text("a.toml", &text)).map_err(|error| error.to_string())
}

/// Whom the balancer asks, in order.
fn routes(services: &str) -> Vec<String> {
    let config = check(services).expect("valid");
    let word = |route: &Route| {
        let path = route.path_exact.as_ref().map_or(route.path.clone(), |path| format!("={path}"));
        let pool = route.pool.as_ref().expect("a pool");
        format!("{} {}{path} {pool}", route.name, route.hosts.first().map_or("", String::as_str))
    };
    super::routes_of(&config.services).iter().map(word).collect()
}

#[test]
fn the_most_specific_route_comes_first_whatever_the_order_of_services() {
    let services = r#"[[service]]
name = "rest"
replicas = 1
[[service]]
name = "shop"
replicas = 1
[[service.route]]
hosts = ["*.example.org", "shop.example.org"]
[[service.route]]
path = "/shop/"
[[service]]
name = "api"
replicas = 1
[[service.route]]
hosts = ["shop.example.org"]
path = "/api"
[[service.route]]
hosts = ["shop.example.org"]
path_exact = "/api/v1/status"
[[service.route]]
hosts = ["*.eu.example.org"]
[[service]]
name = "unheard"
replicas = 0
"#;
    let expected = [
        "api.2 shop.example.org=/api/v1/status api",
        "api shop.example.org/api api",
        "shop.2 shop.example.org/ shop",
        "api.3 *.eu.example.org/ api",
        "shop *.example.org/ shop",
        "shop.3 /shop shop",
        "rest / rest",
    ];
    assert_eq!(routes(services), expected);
    // As it was before services could say it: the first gets everything.
    let plain = "[[service]]\nname = \"one\"\nreplicas = 1\n[[service]]\nname = \"two\"\nreplicas = 1\n";
    assert_eq!(routes(plain), ["one / one"]);
}

#[test]
fn what_cannot_be_used_is_refused_where_it_stands() {
    let cases = [
        ("port = 0", "a.toml:9:8: expected a port from 1 to 65535"),
        ("memory_mib = 1", "a.toml:9:14: memory_mib: expected 64 to"),
        ("prot = 80", "a.toml:9:1: unknown field `prot`"),
        ("[[service.route]]\nhosts = [\"Shop.example\"]", "a.toml:10:10: expected a host name in lower case"),
        ("[[service.route]]\nhosts = [\"shop:80\"]", "a.toml:10:10: expected a host name in lower case"),
        ("[[service.route]]\npath = \"api\"", "a.toml:10:8: expected a path"),
        (
            "[[service.route]]\npath = \"/a\"\npath_exact = \"/a\"",
            "a.toml:11:14: expected `path` or `path_exact`",
        ),
        ("[[service.route]]\n[[service.route]]\npath = \"/\"", "a.toml:10:1: every host/ is said twice"),
        ("[service.error_pages]\n600 = { body = \"x\" }", "a.toml:10:1: expected a status such as"),
        ("[service.error_pages]\n503 = { }", "a.toml:10:1: expected a `body`"),
        (
            "[service.error_pages]\n503 = { body = \"{staus}\" }",
            "a.toml:10:16: there is no {staus} here; did you mean `status`?",
        ),
        ("[service.policy]\nmax_tries = 0", "a.toml:10:13: expected 1 to 100"),
        ("[service.readiness]\nkind = \"http\"\npath = \"ready\"", "a.toml:11:8: expected a path"),
        ("[service.readiness]\nkind = \"tcp\"\npath = \"/x\"", "a.toml:11:8: only `http` asks for a path"),
        (
            "[service.readiness]\nkind = \"tcp\"\nstart_grace_ms = 1000",
            "a.toml:11:18: a machine that is not ready",
        ),
        ("[service.liveness]\nkind = \"tcp\"\nstart_grace_ms = 1", "a.toml:11:18: expected 500 to"),
        ("[service.liveness]\nkind = \"tcp\"\nperiod_ms = 1", "a.toml:11:13: expected 50 to"),
        ("[service.environment]\n1ST = \"x\"", "a.toml:10:7: expected the name of a variable"),
        ("[service.environment]\nCREDENTIALS_DIRECTORY = \"x\"", "a.toml:10:25: says where `secrets` are"),
        ("[service.secrets]\n\"../x\" = { value = \"x\" }", "a.toml:10:1: expected the name of a file"),
        ("[service.secrets]\nx = { file = \"/nonexistent/x\" }", "a.toml:10:1: cannot read /nonexistent/x"),
        ("[service.secrets]\nx = { }", "a.toml:10:1: expected a `value`"),
        ("total = 4", "a.toml:9:9: `replicas` says how many each host has, `total`"),
        ("spread = \"hard\"", "a.toml:9:10: `spread` says where the machines of `total` are"),
        ("hosts = [\"a\"]", "a.toml:9:9: `hosts` says where the machines of `total` are"),
        ("standbys = 1001", "a.toml:9:12: expected at most 1000"),
        ("standbys = 6", "a.toml:5:16: address_pool has 7 addresses"),
        ("standby_mode = \"hot\"", "a.toml:9:16: says nothing without `standbys`"),
        ("standby_hold_ms = 5", "a.toml:9:19: says nothing without `standbys`"),
        (
            "standbys = 1\nstandby_mode = \"hot\"\nstandby_hold_ms = 5",
            "a.toml:11:19: standbys of the mode \"hot\" always run",
        ),
        ("standbys = 1\nstandby_mode = \"warm\"", "a.toml:10:16: unknown variant `warm`"),
        ("spares = 21", "a.toml:9:10: expected at most 20"),
        ("endpoints = [\"10.0.0.5:8080\"]", "a.toml:8:12: the servers of `endpoints` are not ours to make"),
    ];
    for (more, expected) in cases {
        let error = check(&format!("[[service]]\nname = \"shop\"\nreplicas = 1\n{more}\n")).expect_err(more);
        assert!(error.starts_with(expected), "{more}: {error}");
    }
    for (service, expected) in [
        ("name = \"shop\"", "a.toml:6:1: missing field `replicas`"),
        ("name = \"lb\"\nreplicas = 1", "a.toml:7:8: `lb` is the balancer's own name"),
        ("name = \"x\"\nendpoints = [\"10.0.0.5:0\"]", "a.toml:8:14: expected the address and port"),
        ("name = \"x\"\nendpoints = [\"1.2.3.4:5\", \"1.2.3.4:5\"]", "a.toml:8:27: named twice"),
        ("name = \"x\"\ntotal = 10001", "a.toml:8:9: expected 0 to 10000"),
        ("name = \"x\"\ntotal = 2\npersistent = true", "a.toml:9:14: a machine that keeps its disk stays"),
        ("name = \"x\"\ntotal = 2\nhosts = [\"a\", \"a\"]", "a.toml:9:15: named twice"),
        ("name = \"x\"\ntotal = 2\nhosts = [\"A\"]", "a.toml:9:10: expected a name of 1 to"),
        ("name = \"x\"\ntotal = 2\nspread = \"harsh\"", "a.toml:9:10: unknown variant `harsh`"),
        ("name = \"x\"\ntotal = 2\nendpoints = [\"1.2.3.4:5\"]", "a.toml:8:9: the servers of `endpoints`"),
        (
            "name = \"x\"\nstandbys = 1\nendpoints = [\"1.2.3.4:5\"]",
            "a.toml:8:12: standbys stand by for the machines of `replicas`",
        ),
        ("name = \"x\"\nspares = 1\nendpoints = [\"1.2.3.4:5\"]", "a.toml:8:10: says nothing of servers"),
        (
            "name = \"x\"\nreplicas = 1\nspares = 1\npersistent = true",
            "a.toml:9:10: a machine that keeps its disk",
        ),
        (
            "name = \"x\"\nvcpus = 2\nendpoints = [\"1.2.3.4:5\"]",
            "a.toml:8:9: says nothing of servers that others",
        ),
    ] {
        let error = check(&format!("[[service]]\n{service}\n")).expect_err(service);
        assert!(error.starts_with(expected), "{service}: {error}");
    }
    let two = "[[service]]\nname = \"one\"\nreplicas = 1\n[[service.route]]\nhosts = [\"x.example\"]\n\
         [[service]]\nname = \"two\"\nreplicas = 1\n[[service.route]]\npath = \"/\"\nhosts = [\"x.example\"]\n";
    let error = check(two).expect_err("twice");
    assert!(error.contains("x.example/ is answered for by the service `one` already"), "{error}");
}

#[test]
fn a_secret_is_read_where_it_is_named_and_never_repeated() {
    use std::os::unix::fs::PermissionsExt as _;

    let directory = tempfile::tempdir().expect("a directory");
    let key = directory.path().join("key");
    std::fs::write(&key, "planted").expect("written");
    let mode = |mode| std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).expect("set");
    let file = directory.path().join("manager.toml");
    let text = format!(
        "{HOST}[[service]]\nname = \"shop\"\nreplicas = 1\nsecrets = {{ key = {{ file = \"key\" }} }}\n"
    );
    std::fs::write(&file, text).expect("written");
    mode(0o644);
    let error = Config::load(&file).expect_err("readable by everybody").to_string();
    assert!(error.contains("everybody may read") && error.contains("chmod o="), "{error}");
    mode(0o600);
    let config = Config::load(&file).expect("valid");
    let secrets: Vec<_> =
        config.services[0].secrets().map(|(name, value)| (name.as_str(), &*value.0)).collect();
    assert_eq!(secrets, [("key", "planted")]);
    assert!(!format!("{config:?}").contains("planted"), "not in any log");
}

#[test]
fn servers_of_others_are_asked_by_the_balancer() {
    let config = check(
        "[[service]]\nname = \"old\"\nendpoints = [\"10.0.0.5:80\", \"[fd00::5]:80\"]\n\
         readiness = { kind = \"http\", path = \"/up\", period_ms = 500 }\n",
    );
    let config = config.expect("valid");
    let policy = config.services[0].pool_policy().expect("its own");
    assert!(policy.check.active);
    assert_eq!((policy.check.interval_ms, policy.check.fall), (500, 3));
    assert!(serde_json::to_string(&policy.check.ask).expect("JSON").contains("\"/up\""));
}

#[test]
fn machines_of_a_clouds_image_have_no_spares() {
    let text = format!("{HOST}[[service]]\nname = \"shop\"\nreplicas = 1\nspares = 1\n");
    let text = text.replace("\"namespaces\"", "\"libvirt\"");
    Config::check(&Source::from_text("a.toml", &text)).expect("our own image");
    let text = format!("{text}image = \"/i/debian.qcow2\"\nuser_data = \"/i/user-data\"\n");
    let error = Config::check(&Source::from_text("a.toml", &text)).expect_err("refused").to_string();
    assert!(error.contains("a.toml:9:10: a machine of a cloud's image"), "{error}");
}

//! What is said of services, and what is refused.

use kit::config::Source;
use wire::proxy_config::Route;
use wire::tcp::Forwarding;

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
fn services_of_tcp_have_ports_and_names_of_their_own() {
    let services = |other: &str| {
        format!(
            "[[service]]\nname = \"web\"\nreplicas = 1\n\
             [[service]]\nname = \"db\"\nreplicas = 1\nprotocol = \"tcp\"\nlisten = 5432\nprimary_only = true\n\
             proxy_protocol = \"v2\"\nidle_timeout_ms = 1000\n\
             [[service]]\nname = \"other\"\nreplicas = 1\nprotocol = \"tcp\"\n{other}"
        )
    };
    let config = check(&services("listen = 5432\nsni = [\"other.example\"]")).expect("told apart by a name");
    let [db, other] = &super::tcp_of(&config.services)[..] else { panic!("two") };
    assert_eq!((db.port, db.pool.as_ref(), db.idle_timeout_ms), (5432, Some(&"db".into()), 1_000));
    assert_eq!(
        (other.pool.as_ref(), other.sni[0].names.as_slice()),
        (None, &["other.example".to_owned()][..])
    );
    assert_eq!(other.idle_timeout_ms, wire::tcp::TcpService::IDLE_TIMEOUT_MS);
    // What is left over of requests is not for them.
    let routes = super::routes_of(&config.services);
    assert_eq!(routes.iter().map(|route| route.name.as_str()).collect::<Vec<_>>(), ["web"]);
    let policy = config.services[1].pool_policy().expect("not the default");
    assert!(policy.primary_only && policy.check.active, "only who is checked can be the primary");
    let config = check(&services("listen = 5433\nforwarding = \"nftables-dsr\"")).expect("a port of its own");
    let forwarding: Vec<_> =
        super::tcp_of(&config.services).iter().map(|service| service.forwarding).collect();
    assert_eq!(forwarding, [Forwarding::Proxy, Forwarding::NftablesDsr]);
    for (second, refused) in [
        ("listen = 5432", "a.toml:21:10: the service `db` has this port"),
        ("listen = 5432\nforwarding = \"nftables\"", "a.toml:21:10: is the port of the service `db`"),
        (
            "listen = 5432\nsni = [\"a\"]\naccept_proxy_protocol = true",
            "a.toml:23:25: expected the same as of the service `db`",
        ),
        (
            "listen = 8081\n[[listener]]\naddress = \"0.0.0.0:8081\"",
            "a.toml:21:10: is the port of a [[listener]]",
        ),
    ] {
        let error = check(&services(second)).expect_err(refused);
        assert!(error.contains(refused), "{error}");
    }
}

#[test]
fn balancers_ask_what_readiness_says_of_databases() {
    let asks = |kind: &str| {
        let text = format!(
            "[[service]]\nname = \"db\"\nreplicas = 1\nprotocol = \"tcp\"\nlisten = 3306\n\
             [service.readiness]\nperiod_ms = 300\nfailure_threshold = 2\n{kind}"
        );
        let config = check(&text).expect("valid");
        let [service] = &config.services[..] else { panic!("one") };
        assert!(service.readiness.is_none(), "its manager does not");
        let policy = service.pool_policy().expect("a policy");
        assert_eq!((policy.check.interval_ms, policy.check.fall, policy.check.active), (300, 2, true));
        serde_json::to_value(&policy.check.ask).expect("JSON")
    };
    let login = "user = \"u\"\npassword = { value = \"p\" }";
    assert_eq!(
        asks(&format!("kind = \"mysql\"\ngalera = true\n{login}")),
        serde_json::json!({"mysql": {"user": "u", "password": "p", "galera": true}})
    );
    assert_eq!(
        asks(&format!("kind = \"postgres\"\ndatabase = \"d\"\n{login}")),
        serde_json::json!({"postgres": {"user": "u", "password": "p", "database": "d"}})
    );
    assert_eq!(asks("kind = \"redis\""), serde_json::json!({"redis": {}}));
    let ca = "-----BEGIN CERTIFICATE-----";
    let asked = asks(&format!("kind = \"https\"\npath = \"/readyz\"\nserver_name = \"k\"\nca = \"{ca}\""));
    assert_eq!(
        (&asked["http"]["path"], &asked["http"]["tls"]["server_name"]),
        (&"/readyz".into(), &"k".into())
    );
    assert_eq!(asked["http"]["tls"]["ca"], ca);
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
        (
            "[service.readiness]\nkind = \"tcp\"\npath = \"/x\"",
            "a.toml:11:8: only `http` and `https` ask for a path",
        ),
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
        ("listen = 3306", "a.toml:9:10: is for services with `protocol = \"tcp\"`"),
        ("primary_only = true", "a.toml:9:16: is for services with"),
        ("forwarding = \"nftables\"", "a.toml:9:14: is for services with"),
        ("sni = [\"db.example.org\"]", "a.toml:9:7: is for services with"),
        ("idle_timeout_ms = 1000", "a.toml:9:19: is for services with"),
        ("protocol = \"udp\"", "a.toml:9:12: unknown variant `udp`"),
        ("protocol = \"tcp\"", "a.toml:6:1: `listen` is missing: at which port"),
        ("protocol = \"tcp\"\nlisten = 443", "a.toml:10:10: expected a port from 1 to 65535 that is none"),
        ("protocol = \"tcp\"\nlisten = 25\n[[service.route]]", "a.toml:11:1: is about requests of HTTP"),
        (
            "protocol = \"tcp\"\nlisten = 25\n[service.policy]\nmax_pending = 1",
            "a.toml:12:15: is about requests of HTTP",
        ),
        (
            "protocol = \"tcp\"\nlisten = 25\n[service.policy]\nhash_key = \"path\"",
            "a.toml:12:12: is about requests of HTTP",
        ),
        ("protocol = \"tcp\"\nlisten = 25\nsni = [\"A\"]", "a.toml:11:8: expected a host name in lower case"),
        ("protocol = \"tcp\"\nlisten = 25\nsni = [\"a\", \"a\"]", "a.toml:11:13: named twice"),
        (
            "protocol = \"tcp\"\nlisten = 25\ntrusted_proxies = [\"10.0.0.0/8\"]",
            "a.toml:11:19: says nothing without `accept_proxy_protocol`",
        ),
        ("protocol = \"tcp\"\nlisten = 25\nhalf_close_timeout_ms = 0", "a.toml:11:25: expected 1 to"),
        (
            "protocol = \"tcp\"\nlisten = 25\nforwarding = \"nftables\"\nproxy_protocol = \"v2\"",
            "a.toml:12:18: is beyond the kernel",
        ),
        (
            "protocol = \"tcp\"\nlisten = 25\nforwarding = \"nftables-dsr\"\nsni = [\"a\"]",
            "a.toml:12:7: is beyond the kernel",
        ),
        (
            "protocol = \"tcp\"\nlisten = 25\nforwarding = \"nftables\"\naccept_proxy_protocol = true",
            "a.toml:12:25: is beyond the kernel",
        ),
        (
            "protocol = \"tcp\"\nlisten = 25\nforwarding = \"nftables\"\nhalf_close_timeout_ms = 5",
            "a.toml:12:25: is beyond the kernel",
        ),
        (
            "protocol = \"tcp\"\nlisten = 25\nforwarding = \"nftables\"\nidle_timeout_ms = 999",
            "a.toml:12:19: expected 1000 at least",
        ),
        ("[service.liveness]\nkind = \"mysql\"", "a.toml:10:8: is asked by balancers"),
        (
            "[service.readiness]\nkind = \"tcp\"\nuser = \"x\"",
            "a.toml:11:8: is for the kinds `mysql`, `postgres`",
        ),
        ("[service.readiness]\nkind = \"redis\"\ngalera = true", "a.toml:11:10: is for the kinds `mysql`"),
        ("[service.readiness]\nkind = \"mysql\"\npath = \"/x\"", "a.toml:11:8: only `http` and `https`"),
        (
            "[service.readiness]\nkind = \"mysql\"\npassword = { value = \"planted\" }",
            "a.toml:9:10: `user` is missing",
        ),
        (
            "[service.readiness]\nkind = \"mysql\"\nuser = \"x\"\npassword = { }",
            "a.toml:12:1: expected a `value` of 1 to",
        ),
        ("[service.readiness]\nkind = \"mysql\"\ngalera = true", "a.toml:9:10: `user` is missing"),
        ("[service.readiness]\nkind = \"redis\"\nuser = \"x\"", "a.toml:9:10: `password` is missing"),
        ("[service.readiness]\nkind = \"https\"", "a.toml:9:10: `ca` is missing"),
        ("[service.readiness]\nkind = \"https\"\nca = \"x\"", "a.toml:11:6: expected certificates as PEM"),
        (
            "[service.readiness]\nkind = \"https\"\nca_file = \"/nonexistent/ca\"",
            "a.toml:11:11: cannot read /nonexistent/ca",
        ),
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

use super::*;

const EXAMPLE: &str = r#"name = "a"
address = "192.168.10.1"
peers = ["192.168.10.2"]
gateway = "192.168.10.1"
hypervisor = "namespaces"
address_pool = ["192.168.10.10-192.168.10.16"]
[[vip]]
address = "192.168.10.120"
vrid = 50
role = "master"
[[service]]
name = "stateless"
replicas = 2
"#;

fn check(text: &str) -> Result<Config, String> {
    Config::check(&Source::from_text("a.toml", text)).map_err(|error| error.to_string())
}

#[test]
fn the_readme_example_is_valid() {
    let config = check(EXAMPLE).expect("valid");
    assert_eq!(config.pool.addresses().len(), 7);
    assert_eq!(config.vips[0].priority, 240);
    assert_eq!(config.network.to_string(), "192.168.10.0/24");
}

#[test]
fn what_cannot_work_is_refused_where_it_stands() {
    let pool = "192.168.10.10-192.168.10.16";
    let cases = [
        (
            pool,
            "192.168.10.100-192.168.10.130",
            "a.toml:6:16: address_pool contains 192.168.10.120, the address of a VIP",
        ),
        (
            pool,
            "192.168.10.1-192.168.10.9",
            "a.toml:6:16: address_pool contains 192.168.10.1, the address of this host",
        ),
        (
            pool,
            "192.168.10.2-192.168.10.9",
            "a.toml:6:16: address_pool contains 192.168.10.2, the address of a peer",
        ),
        (
            pool,
            "192.168.10.10-192.168.10.11",
            "a.toml:6:16: address_pool has 2 addresses, but one balancer and 2 service machines are configured: add 1",
        ),
        (
            pool,
            "192.168.11.10-192.168.11.16",
            "a.toml:6:16: address_pool has 192.168.11.10, which is outside",
        ),
        (
            pool,
            "192.168.10.16-192.168.10.10",
            "a.toml:6:16: `192.168.10.16-192.168.10.10` ends before it begins",
        ),
        (
            "gateway = \"192.168.10.1\"",
            "gateway = \"192.168.10.12\"",
            "a.toml:6:16: address_pool contains 192.168.10.12, the address of the gateway",
        ),
        ("[\"192.168.10.2\"]", "[\"192.168.10.1\"]", "a.toml:3:10: a manager is not its own peer"),
        ("vrid = 50", "vrid = 0", "a.toml:9:8: expected a vrid"),
        ("name = \"a\"", "name = \"a\"\ntls_port = 8080", "a.toml:2:12: tls_port and api_port must differ"),
        (
            "name = \"a\"",
            "name = \"a\"\ncertificate_lifetime = \"1s\"",
            "a.toml:2:24: certificate_lifetime: expected 5s to 365days",
        ),
        ("\"master\"", "\"boss\"", "a.toml:10:8: unknown variant `boss`"),
        ("replicas", "replica", "a.toml:13:1: unknown field `replica`, expected one of"),
        ("name = \"stateless\"", "name = \"lb\"", "a.toml:12:8: `lb` is the balancer's own name"),
        ("name = \"a\"", "name = \"A b\"", "a.toml:1:8: expected a name"),
        (
            "\"namespaces\"",
            "\"libvirt\"\nlibvirt_uri = \"qemu+ssh://elsewhere/system\"",
            "a.toml:6:15: libvirt_uri: expected a daemon of this host",
        ),
        ("replicas = 2", "replicas = 2\nmemory_mib = 1", "a.toml:14:14: memory_mib: expected 64 to"),
        ("replicas = 2", "replicas = 2\n[lb]\nvcpus = 0", "a.toml:15:9: vcpus: expected 1 to 256"),
        ("replicas = 2", "replicas = 2\n[lb]\nuser_data = \"x\"", "a.toml:15:1: unknown field `user_data`"),
    ];
    for (from, to, expected) in cases {
        let error = check(&EXAMPLE.replacen(from, to, 1)).expect_err(to);
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn what_is_not_said_of_virtual_machines_suits_them() {
    let config = check(EXAMPLE).expect("valid");
    assert_eq!(config.heartbeat.boot_timeout_ms, 15_000);
    let text = EXAMPLE.replace("\"namespaces\"", "\"libvirt\"\nimages = \"/images\"");
    let config = check(&text).expect("valid");
    assert_eq!(config.heartbeat.boot_timeout_ms, 60_000);
    assert_eq!(config.libvirt_uri, "qemu:///system");
    let hardware =
        |memory_mib, image: &str| Hardware { memory_mib, vcpus: 1, image: image.into(), user_data: None };
    assert_eq!(config.lb, hardware(256, "/images/lb"));
    assert_eq!(config.services[0].hardware, hardware(128, "/images/stateless"));
    let text = format!(
        "{text}image = \"/cloud.qcow2\"\n[lb]\nmemory_mib = 512\n[heartbeat]\nboot_timeout_ms = 9000\n"
    );
    let config = check(&text).expect("valid");
    assert_eq!(config.lb.memory_mib, 512);
    assert_eq!(config.services[0].hardware, hardware(128, "/cloud.qcow2"));
    assert_eq!(config.heartbeat.boot_timeout_ms, 9_000);
}

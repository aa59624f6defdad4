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
        ("\"master\"", "\"boss\"", "a.toml:10:8: unknown variant `boss`"),
        ("replicas", "replica", "a.toml:13:1: unknown field `replica`, expected one of"),
        ("name = \"stateless\"", "name = \"lb\"", "a.toml:12:8: `lb` is the balancer's own name"),
        ("name = \"a\"", "name = \"A b\"", "a.toml:1:8: expected a name"),
    ];
    for (from, to, expected) in cases {
        let error = check(&EXAMPLE.replacen(from, to, 1)).expect_err(to);
        assert!(error.starts_with(expected), "{error}");
    }
}

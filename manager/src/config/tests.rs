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
    assert_eq!(config.vips[0].preference, Preference::Role(Role::Master));
    assert_eq!(config.network.to_string(), "192.168.10.0/24");
}

/// The same with IPv6.
const OF_IPV6: &str = r#"name = "a"
address = "fd00:10::1"
peers = ["fd00:10::2"]
gateway = "fd00:10::1"
hypervisor = "namespaces"
address_pool = ["fd00:10::10-fd00:10::1f"]
[[vip]]
address = "fd00:10::120"
vrid = 50
role = "master"
[[service]]
name = "stateless"
replicas = 2
"#;

#[test]
fn a_host_may_be_of_ipv6_with_all_that_is_its() {
    let config = check(OF_IPV6).expect("valid");
    assert_eq!((config.pool.addresses().len(), config.network.to_string().as_str()), (16, "fd00:10::/64"));
    for (good, bad, expected) in [
        ("fd00:10::2", "192.168.10.2", "a.toml:3:10: expected an IPv6 address, as this host's `address` is"),
        ("gateway = \"fd00:10::1\"", "gateway = \"192.168.10.1\"", "a.toml:4:11: expected an IPv6 address"),
        (
            "fd00:10::10-",
            "fd00:10:0:1::30-fd00:10:0:1::3f\", \"fd00:10::10-",
            "which is outside of this host's network",
        ),
        ("fd00:10::120", "192.168.10.120", "a.toml:8:11: an IPv4 VIP needs a balancer with an IPv4 address"),
        ("fd00:10::120", "fd00:10::11", "address_pool contains fd00:10::11, the address of a VIP"),
        ("gateway", "prefix = 129\ngateway", "a.toml:4:10: expected a prefix length from 0 to 128"),
    ] {
        let error = check(&OF_IPV6.replace(good, bad)).expect_err("must be refused");
        assert!(error.contains(expected), "{error}");
    }
    let error = check(&EXAMPLE.replace("peers = [\"192.168.10.2\"]", "peers = [\"fd00:10::2\"]"));
    assert!(error.expect_err("must be refused").contains("expected an IPv4 address, as this host's"));
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
        ("192.168.10.120", "192.168.10.1", "a.toml:8:11: the VIP must not be this host's"),
        ("192.168.10.120", "ff02::1", "a.toml:8:11: expected an address that one machine"),
        ("vrid = 50", "vrid = 50\npreempt_delay_ms = 5", "a.toml:10:20: preempt_delay_ms says nothing"),
        (
            "vrid = 50",
            "vrid = 50\nunicast_peers = [\"fe80::1\"]",
            "a.toml:10:18: expected the other balancer's",
        ),
        ("vrid = 50", "vrid = 50\nchecksum = \"both\"", "a.toml:10:12: unknown variant `both`"),
        ("[[vip]]", "[[notify]]\nurl = \"http://\"\n[[vip]]", "a.toml:8:7: expected a URL"),
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
fn a_vip_may_be_ipv6_and_names_the_other_balancers_by_the_addresses_they_have_here() {
    let text = EXAMPLE.replace("192.168.10.120", "fd00::120");
    let text = text.replace(
        "vrid = 50",
        "vrid = 50\npreempt = true\npreempt_delay_ms = 700\nunicast_peers = [\"192.168.10.20\"]\nvirtual_mac = true",
    );
    let config = check(&format!("{text}[[notify]]\nurl = \"http://192.168.10.1/x\"\n")).expect("valid");
    let vip = &config.vips[0];
    assert_eq!((vip.preempt, vip.virtual_mac), (Some(std::time::Duration::from_millis(700)), true));
    assert_eq!(vip.unicast_peers, [std::net::IpAddr::V6(link_local_of(IpAddr::from([192, 168, 10, 20])))]);
    assert_eq!(config.notify, [Notify::Url("http://192.168.10.1/x".to_owned())]);
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

#[test]
fn an_uplink_and_whom_to_ask_beyond_it_are_checked() {
    let with = |lines: &str| check(&EXAMPLE.replacen("address_pool", &format!("{lines}\naddress_pool"), 1));
    let config =
        with("uplink = \"enp3s0\"\nprobe_targets = [\"192.168.10.254\", \"192.168.10.253\"]").expect("valid");
    assert_eq!((config.uplink.as_deref(), config.probe_targets.len()), (Some("enp3s0"), 2));
    for (lines, expected) in [
        ("uplink = \"br0\"", "a.toml:6:10: expected the interface that leaves the host"),
        ("uplink = \"\"", "a.toml:6:10: expected the interface that leaves the host"),
        ("probe_targets = [\"192.168.10.254\"]", "a.toml:6:18: probe_targets are asked over the uplink"),
        (
            "uplink = \"enp3s0\"\nprobe_targets = [\"192.168.10.1\"]",
            "a.toml:7:18: this host always answers itself",
        ),
    ] {
        let error = with(lines).expect_err(lines);
        assert!(error.starts_with(expected), "{error}");
    }
}

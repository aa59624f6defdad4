//! The settings a balancer is given: what this host's configuration says of it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use kit::notify::Notify;
use serde::Serialize;
use vrrp::ChecksumForm;
use vrrp::fitness::FIT_FROM;

use super::super::desired::Slot;
use super::super::millis;
use crate::config::{Config, Listener, Vip};

/// Where a balancer takes clients' requests when one of its addresses is IPv6: there for IPv4 too.
const LISTEN_BOTH: &str = "[::]:80";

#[derive(Serialize)]
pub(super) struct LbSettings<'a> {
    machine: &'a str,
    address: IpAddr,
    /// Upstreams have their host's name as their zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    listen: Option<&'static str>,
    managers: [IpAddr; 1],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    listener: &'a [Listener],
    vip: Vec<LbVip<'a>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    notify: &'a [Notify],
}

#[derive(Serialize)]
struct LbVip<'a> {
    address: IpAddr,
    vrid: u8,
    priority: u8,
    advert_interval_ms: u64,
    preempt: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    preempt_delay_ms: Option<u64>,
    /// IPv6 has only one.
    #[serde(skip_serializing_if = "Option::is_none")]
    checksum: Option<ChecksumForm>,
    unicast_peers: &'a [IpAddr],
    virtual_mac: bool,
}

/// Those of the balancer in `slot`, which has the priorities `ranks`.
pub(super) fn of<'a>(config: &'a Config, slot: &'a Slot, ranks: &BTreeMap<IpAddr, u8>) -> LbSettings<'a> {
    LbSettings {
        machine: slot.id.as_str(),
        address: slot.address,
        zone: config.prefer_own_host.then_some(config.name.as_str()),
        // Whoever names listeners names all of them.
        listen: (config.listeners.is_empty() && config.vips.iter().any(|vip| vip.address.is_ipv6()))
            .then_some(LISTEN_BOTH),
        managers: [config.address],
        listener: &config.listeners,
        vip: config.vips.iter().map(|vip| vip_of(vip, ranks)).collect(),
        notify: &config.notify,
    }
}

fn vip_of<'a>(vip: &'a Vip, ranks: &BTreeMap<IpAddr, u8>) -> LbVip<'a> {
    let Vip { address, vrid, preference: _, advert_interval, preempt, checksum, unicast_peers, virtual_mac } =
        vip;
    LbVip {
        address: *address,
        vrid: *vrid,
        priority: ranks.get(address).copied().unwrap_or(FIT_FROM),
        advert_interval_ms: millis(*advert_interval),
        preempt: preempt.is_some(),
        preempt_delay_ms: preempt.map(millis),
        checksum: address.is_ipv4().then_some(*checksum),
        unicast_peers,
        virtual_mac: *virtual_mac,
    }
}

#[cfg(test)]
mod tests {
    use kit::config::Source;

    use super::*;

    const CONFIG: &str = r#"name = "a"
address = "192.168.10.1"
gateway = "192.168.10.1"
hypervisor = "namespaces"
address_pool = ["192.168.10.10-192.168.10.16"]
[[vip]]
address = "192.168.10.120"
vrid = 50
role = "master"
checksum = "message"
unicast_peers = ["192.168.10.20"]
[[vip]]
address = "fd00::120"
vrid = 50
role = "secondary"
preempt = true
virtual_mac = true
[[notify]]
command = "/bin/true"
"#;

    #[test]
    fn all_that_is_said_of_a_vip_reaches_the_balancer_in_its_words() {
        let config = Config::check(&Source::from_text("a.toml", CONFIG)).expect("valid");
        let slot = Slot { id: "a-lb".into(), service: "lb".into(), address: [192, 168, 10, 10].into() };
        let ranks = config.vips.iter().zip([240, 230]).map(|(vip, priority)| (vip.address, priority));
        let text = toml::to_string(&of(&config, &slot, &ranks.collect())).expect("TOML");
        let expected = r#"machine = "a-lb"
address = "192.168.10.10"
listen = "[::]:80"
managers = ["192.168.10.1"]

[[vip]]
address = "192.168.10.120"
vrid = 50
priority = 240
advert_interval_ms = 100
preempt = false
checksum = "message"
unicast_peers = ["192.168.10.20"]
virtual_mac = false

[[vip]]
address = "fd00::120"
vrid = 50
priority = 230
advert_interval_ms = 100
preempt = true
preempt_delay_ms = 0
unicast_peers = []
virtual_mac = true

[[notify]]
command = "/bin/true"
"#;
        assert_eq!(text, expected);
    }

    #[test]
    fn listeners_that_are_named_are_all_there_are() {
        let directory = tempfile::tempdir().expect("a directory");
        let ca = directory.path().join("ca.pem");
        let key = rcgen::KeyPair::generate().expect("a key");
        let made = rcgen::CertificateParams::default()
            .self_signed(&key)
            .expect("a certificate")
            .pem()
            .replace('\r', "");
        std::fs::write(&ca, &made).expect("written");
        let listeners = format!(
            "[[listener]]\naddress = \"[::]:80\"\nproxy_protocol = true\ntrusted = [\"10.0.0.0/8\"]\n\
             [[listener]]\naddress = \"[::]:443\"\n[listener.tls]\nmin_version = \"1.3\"\nalpn = [\"h2\"]\n\
             client_certificates = \"optional\"\nclient_ca_file = {ca:?}\n"
        );
        let config =
            Config::check(&Source::from_text("a.toml", &format!("{CONFIG}{listeners}"))).expect("valid");
        let slot = Slot { id: "a-lb".into(), service: "lb".into(), address: [192, 168, 10, 10].into() };
        let text = toml::to_string(&of(&config, &slot, &BTreeMap::new())).expect("TOML");
        let expected = format!(
            "managers = [\"192.168.10.1\"]\n\n[[listener]]\naddress = \"[::]:80\"\nproxy_protocol = true\n\
             trusted = [\"10.0.0.0/8\"]\n\n[[listener]]\naddress = \"[::]:443\"\nproxy_protocol = false\n\n\
             [listener.tls]\nmin_version = \"1.3\"\nalpn = [\"h2\"]\nclient_certificates = \"optional\"\n\
             client_ca = \"\"\"\n{made}\"\"\"\nrefuse_unknown_names = false\n\n[[vip]]\n"
        );
        assert!(!text.contains("listen = ") && text.contains(&expected), "{text}\n{expected}");
    }

    #[test]
    fn the_own_host_is_preferred_where_that_is_asked_for() {
        let zone = |more: &str| {
            let text = format!("{more}{CONFIG}");
            let config = Config::check(&Source::from_text("a.toml", &text)).expect("valid");
            let slot = Slot { id: "a-lb".into(), service: "lb".into(), address: [192, 168, 10, 10].into() };
            toml::to_string(&of(&config, &slot, &BTreeMap::new()))
                .expect("TOML")
                .lines()
                .find(|line| line.starts_with("zone"))
                .map(str::to_owned)
        };
        assert_eq!(zone(""), None);
        assert_eq!(zone("prefer_own_host = true\n"), Some("zone = \"a\"".to_owned()));
    }
}

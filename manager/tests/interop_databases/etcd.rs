//! Three real servers of etcd behind a TCP service, checked by HTTPS with a CA of its own.

use std::fs;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::lab::{Lab, VIP};
use crate::node::{Node, lab_with, warnings};
use crate::run::{Ended, eventually};

/// The name that servers' certificates are for, besides the public address.
const NAME: &str = "etcd.test";

/// A CA, and a certificate of it for all servers; each as PEM.
struct Authority {
    ca: String,
    certificate: String,
    key: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let ca = params.self_signed(&key).expect("a CA");
        let issuer = Issuer::new(params, key);
        let own_key = KeyPair::generate().expect("a key");
        let names = vec![NAME.to_owned(), VIP.to_owned()];
        let params = CertificateParams::new(names).expect("names");
        let own = params.signed_by(&own_key, &issuer).expect("a certificate");
        Authority { ca: ca.pem(), certificate: own.pem(), key: own_key.serialize_pem() }
    }

    /// Writes it down where the servers and the clients find it.
    fn write(&self, directory: &Path) {
        for (name, text) in
            [("ca.pem", &self.ca), ("server.pem", &self.certificate), ("server.key", &self.key)]
        {
            fs::write(directory.join(name), text).expect("written");
        }
    }
}

fn services(authority: &Authority) -> String {
    format!(
        r#"
[[service]]
name = "etcd"
protocol = "tcp"
listen = 2379
endpoints = ["192.168.10.61:2379", "192.168.10.62:2379", "192.168.10.63:2379"]

[service.readiness]
kind = "https"
path = "/health"
server_name = "{NAME}"
ca = """
{}"""
period_ms = 500
# etcd asks itself for a second whether it has a quorum.
timeout_ms = 2500
failure_threshold = 2
"#,
        authority.ca
    )
}

/// The words of a server on `node`, one of `all`.
fn server(node: &Node<'_>, all: &[(String, String)], secrets: &Path) -> Vec<String> {
    let peers: Vec<String> =
        all.iter().map(|(name, address)| format!("{name}=http://{address}:2380")).collect();
    let (Node { name, address, .. }, secrets) = (node, secrets.display());
    [
        format!("etcd --name {name} --data-dir {}/data", node.directory().display()),
        format!("--listen-client-urls https://{address}:2379 --advertise-client-urls https://{address}:2379"),
        format!("--cert-file {secrets}/server.pem --key-file {secrets}/server.key"),
        format!(
            "--listen-peer-urls http://{address}:2380 --initial-advertise-peer-urls http://{address}:2380"
        ),
        format!("--initial-cluster {} --initial-cluster-state new", peers.join(",")),
        "--initial-cluster-token test --unsafe-no-fsync".to_owned(),
    ]
    .iter()
    .flat_map(|line| line.split(' ').map(str::to_owned))
    .collect()
}

/// `etcdctl` at the public address, each time over connections of its own.
fn etcdctl(lab: &Lab, secrets: &Path, words: &[&str]) -> Ended {
    let ca = format!("--cacert={}/ca.pem", secrets.display());
    let at = format!("--endpoints=https://{VIP}:2379");
    let ask = ["env", "ETCDCTL_API=3", "etcdctl", &ca, &at, "--command-timeout=5s"];
    lab.exec("client", &[&ask[..], words].concat())
}

/// Waits until a row can be written and read.
fn serves(lab: &Lab, secrets: &Path, value: &str) {
    eventually("etcd takes a value", || {
        (etcdctl(lab, secrets, &["put", "key", value]).code == Some(0)).then_some(())
    });
    // A read of another server than the one that took it sees it too.
    let got = eventually("etcd gives it back", || {
        let got = etcdctl(lab, secrets, &["get", "key", "--print-value-only"]);
        (got.code == Some(0)).then_some(got.stdout)
    });
    assert_eq!(got.trim(), value);
}

fn says(lab: &Lab, wanted: &str) {
    eventually(wanted, || warnings(lab).iter().any(|warning| warning.contains(wanted)).then_some(()));
}

#[test]
fn one_lost_clients_go_on_and_two_lost_the_state_is_shown() {
    let authority = Authority::new();
    let (lab, secrets) = lab_with(&services(&authority));
    let secrets = secrets.path();
    authority.write(secrets);
    let mut nodes: Vec<Node<'_>> = (1..=3).map(|number| Node::plug(&lab, number)).collect();
    let all: Vec<_> = nodes.iter().map(|node| (node.name.clone(), node.address.clone())).collect();
    for node in &mut nodes {
        node.start(server(node, &all, secrets), &[]);
    }
    serves(&lab, secrets, "with three");
    let none = || {
        eventually("all are well", || {
            warnings(&lab).iter().all(|warning| !warning.contains("service etcd")).then_some(())
        })
    };
    none();

    // One is lost, whoever leads the others.
    nodes[0].kill();
    serves(&lab, secrets, "with two");
    says(&lab, "service etcd: 2 of 3 pass the balancer's checks");
    for number in 0..20 {
        let value = number.to_string();
        let put = etcdctl(&lab, secrets, &["put", "key", &value]);
        assert_eq!(put.code, Some(0), "with two, every client is served: {put:?}");
    }

    // Two are lost: the third is there, and knows that it is alone.
    nodes[1].kill();
    says(&lab, "service etcd: 0 of 3 pass the balancer's checks");
    says(&lab, "192.168.10.63:2379: status 503");
    for words in [&["put", "key", "lost"][..], &["get", "key"]] {
        let refused = etcdctl(&lab, secrets, words);
        assert_ne!(refused.code, Some(0), "nothing is written or read without a quorum: {refused:?}");
    }

    // They are back.
    for node in &nodes[..2] {
        node.start_again(&[]);
    }
    serves(&lab, secrets, "with three again");
    none();
}

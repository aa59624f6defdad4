//! Where connections of TLS go by the name that their clients ask for: nobody but the upstream speaks TLS.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::balancer::Balancer;
use crate::network::in_network;
use crate::stage::{PORT, Server, configure, connect, has_ended, hears, rest};

/// A CA's worth of trust in one certificate.
struct Tls {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl Tls {
    fn for_names(names: &[&str]) -> Self {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let issued = rcgen::generate_simple_self_signed(names).expect("a certificate");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key =
            rustls::pki_types::PrivateKeyDer::try_from(issued.signing_key.serialize_der()).expect("a key");
        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![issued.cert.der().clone()], key)
            .expect("usable");
        let mut roots = RootCertStore::empty();
        roots.add(issued.cert.der().clone()).expect("a root");
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Tls { server: Arc::new(server), client: Arc::new(client) }
    }

    /// A server that says its name over TLS.
    async fn server(&self, name: &'static str) -> Server {
        let acceptor = TlsAcceptor::from(self.server.clone());
        Server::start(move |tcp| {
            let acceptor = acceptor.clone();
            async move {
                if let Ok(mut tls) = acceptor.accept(tcp).await {
                    let _ = tls.write_all(name.as_bytes()).await;
                    let _ = tls.shutdown().await;
                }
            }
        })
        .await
    }

    /// What a server says to a client that asks for `name`.
    async fn said(&self, balancer: &Balancer, name: &str) -> std::io::Result<String> {
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let tcp = connect(balancer).await;
        let mut tls = TlsConnector::from(self.client.clone()).connect(name, tcp).await?;
        let mut said = String::new();
        tls.read_to_string(&mut said).await?;
        Ok(said)
    }

    /// The first message of a client that asks for `name`.
    fn hello(&self, name: &str) -> Vec<u8> {
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let mut client = ClientConnection::new(self.client.clone(), name).expect("a client");
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).expect("written");
        bytes
    }
}

const NAMES: [&str; 4] = ["a.example.org", "b.example.org", "deep.b.example.org", "c.example.org"];

/// Two services that share a port by their names.
async fn stage(tls: &Tls, limits: &str) -> (Balancer, [Server; 2]) {
    let servers = [tls.server("first").await, tls.server("second").await];
    let balancer = Balancer::start_with(limits).await;
    let services = json!([
        {"name": "one", "port": PORT, "sni": [{"names": ["a.example.org"], "pool": "a"}]},
        {"name": "two", "port": PORT, "sni": [{"names": ["b.example.org", "*.b.example.org"], "pool": "b"}]},
    ]);
    let pools = json!({"a": [servers[0].upstream()], "b": [servers[1].upstream()]});
    configure(&balancer, services, json!({}), pools).await;
    (balancer, servers)
}

#[test]
fn the_name_leads_to_the_pool_and_tls_goes_through_untouched() {
    in_network("names::the_name_leads_to_the_pool_and_tls_goes_through_untouched", async {
        let tls = Tls::for_names(&NAMES);
        let (balancer, servers) = stage(&tls, "").await;
        for (name, said) in
            [("a.example.org", "first"), ("b.example.org", "second"), ("deep.b.example.org", "second")]
        {
            assert_eq!(tls.said(&balancer, name).await.expect(name), said, "{name}");
        }
        // Nobody's, and who has the port first is blamed.
        tls.said(&balancer, "c.example.org").await.expect_err("no service has it");
        has_ended(&balancer, "one", "no_service", 1).await;
        let mut plain = connect(&balancer).await;
        plain.write_all(b"SELECT 1").await.expect("sent");
        let _ = rest(&mut plain).await;
        has_ended(&balancer, "one", "no_service", 2).await;
        assert_eq!(servers.each_ref().map(Server::connections), [1, 2]);

        let rest_of_all = Server::echo("anything").await;
        let services = json!([
            {"name": "one", "port": PORT, "sni": [{"names": ["a.example.org"], "pool": "a"}]},
            {"name": "rest", "port": PORT, "pool": "rest"},
        ]);
        let pools = json!({"a": [servers[0].upstream()], "rest": [rest_of_all.upstream()]});
        configure(&balancer, services, json!({}), pools).await;
        assert_eq!(tls.said(&balancer, "a.example.org").await.expect("known"), "first");
        let mut plain = connect(&balancer).await;
        plain.write_all(b"?").await.expect("sent");
        hears(&mut plain, "anything?").await;
        let mut ended = connect(&balancer).await;
        ended.shutdown().await.expect("ended");
        assert_eq!(rest(&mut ended).await.expect("an answer"), b"anything");
    });
}

#[test]
fn a_hello_may_come_in_pieces_of_any_size() {
    in_network("names::a_hello_may_come_in_pieces_of_any_size", async {
        let tls = Tls::for_names(&NAMES);
        // Says back what it got.
        let server = Server::echo("").await;
        let balancer = Balancer::start().await;
        let services =
            json!([{"name": "one", "port": PORT, "sni": [{"names": ["A.example.org"], "pool": "a"}]}]);
        configure(&balancer, services, json!({}), json!({"a": [server.upstream()]})).await;
        let hello = tls.hello("a.example.org");
        let length = usize::from(u16::from_be_bytes([hello[3], hello[4]]));
        let in_records = |size: usize| -> Vec<u8> {
            let record = |part: &[u8]| {
                let length = u16::try_from(part.len()).expect("short").to_be_bytes();
                [&[22, 3, 1], &length[..], part].concat()
            };
            hello[5..5 + length].chunks(size).flat_map(record).collect()
        };
        for (records, packets) in [(length, 1), (length, 50), (40, 1_000), (7, 11), (40, 3)] {
            let bytes = in_records(records);
            let mut client = connect(&balancer).await;
            client.set_nodelay(true).expect("set");
            for part in bytes.chunks(packets) {
                client.write_all(part).await.expect("sent");
                if packets < 100 {
                    tokio::time::sleep(Duration::from_micros(200)).await;
                }
            }
            client.shutdown().await.expect("ended");
            assert!(rest(&mut client).await.expect("all of it") == bytes, "{records} {packets}");
        }
    });
}

#[test]
fn half_a_hello_is_not_waited_for_for_ever() {
    in_network("names::half_a_hello_is_not_waited_for_for_ever", async {
        let tls = Tls::for_names(&NAMES);
        let (balancer, servers) = stage(&tls, "handshake_timeout_ms = 300").await;
        let mut half = connect(&balancer).await;
        half.write_all(&tls.hello("a.example.org")[..60]).await.expect("sent");
        let mut silent: TcpStream = connect(&balancer).await;
        let _ = rest(&mut half).await;
        let _ = rest(&mut silent).await;
        has_ended(&balancer, "one", "late", 2).await;

        // Where somebody takes the rest, silence is for it: of some protocols the server speaks first.
        let greeter = Server::echo("welcome").await;
        let services = json!([
            {"name": "one", "port": PORT, "pool": "rest", "sni": [{"names": ["a.example.org"], "pool": "a"}]},
        ]);
        let pools = json!({"a": [servers[0].upstream()], "rest": [greeter.upstream()]});
        configure(&balancer, services, json!({}), pools).await;
        let mut silent = connect(&balancer).await;
        hears(&mut silent, "welcome").await;
        assert_eq!(servers[0].connections(), 0);
    });
}

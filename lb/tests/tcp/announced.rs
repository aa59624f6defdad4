//! Who the client is, by the PROXY protocol, in and out.

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::balancer::Balancer;
use crate::network::in_network;
use crate::stage::{PORT, Server, balancer_for, has_ended, rest};

/// Says what it heard once its client has ended.
async fn listener() -> Server {
    Server::start(async |mut tcp: TcpStream| {
        let mut heard = Vec::new();
        if tcp.read_to_end(&mut heard).await.is_ok() {
            let _ = tcp.write_all(&heard).await;
        }
    })
    .await
}

/// What the server heard of a client at `from` that says `text`.
async fn heard_of(balancer: &Balancer, from: &str, text: &[u8]) -> (u16, Vec<u8>) {
    let socket = TcpSocket::new_v4().expect("socket");
    socket.bind(format!("{from}:0").parse().expect("address")).expect("bound");
    let mut client = socket.connect((balancer.address, PORT).into()).await.expect("connected");
    let port = client.local_addr().expect("address").port();
    client.write_all(text).await.expect("sent");
    client.shutdown().await.expect("ended");
    (port, rest(&mut client).await.expect("an answer"))
}

#[test]
fn upstreams_are_told_who_the_client_is_in_both_versions() {
    in_network("announced::upstreams_are_told_who_the_client_is_in_both_versions", async {
        let server = listener().await;
        let balancer = balancer_for(json!({"proxy_protocol_out": "v1"}), json!({}), &[&server]).await;
        let (port, heard) = heard_of(&balancer, "127.9.9.9", b"hello").await;
        let expected = format!("PROXY TCP4 127.9.9.9 {} {port} {PORT}\r\nhello", balancer.address);
        assert_eq!(String::from_utf8_lossy(&heard), expected);
        // Two would share the port.
        drop(balancer);

        let balancer = balancer_for(json!({"proxy_protocol_out": "v2"}), json!({}), &[&server]).await;
        let (port, heard) = heard_of(&balancer, "127.9.9.9", b"hello").await;
        let std::net::IpAddr::V4(own) = balancer.address else { panic!("an IPv4 address") };
        let [from, to] = [port, PORT].map(u16::to_be_bytes);
        let header = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\x09\x09\x09"[..], &own.octets(), &from, &to];
        assert_eq!(heard, [&header.concat()[..], b"hello"].concat());
    });
}

#[test]
fn a_proxy_before_us_is_believed_and_passed_on() {
    in_network("announced::a_proxy_before_us_is_believed_and_passed_on", async {
        let server = listener().await;
        let more =
            json!({"proxy_protocol_in": true, "trusted": ["127.8.0.0/16"], "proxy_protocol_out": "v1"});
        let balancer = balancer_for(more, json!({}), &[&server]).await;
        for header in [
            &b"PROXY TCP4 192.0.2.7 198.51.100.1 4660 3306\r\n"[..],
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc6\x33\x64\x01\x12\x34\x0c\xea",
        ] {
            let (_, heard) = heard_of(&balancer, "127.8.8.8", &[header, b"hello"].concat()).await;
            let expected = "PROXY TCP4 192.0.2.7 198.51.100.1 4660 3306\r\nhello";
            assert_eq!(String::from_utf8_lossy(&heard), expected);
        }
        // One that speaks for itself is the client.
        let (port, heard) = heard_of(&balancer, "127.8.8.8", b"PROXY UNKNOWN\r\nhello").await;
        let expected = format!("PROXY TCP4 127.8.8.8 {} {port} {PORT}\r\nhello", balancer.address);
        assert_eq!(String::from_utf8_lossy(&heard), expected);
        assert_eq!(server.connections(), 3);
    });
}

#[test]
fn strangers_and_what_is_no_header_are_turned_away() {
    in_network("announced::strangers_and_what_is_no_header_are_turned_away", async {
        let server = listener().await;
        let more = json!({"proxy_protocol_in": true, "trusted": ["127.8.0.0/16"]});
        let balancer = Balancer::start_with("handshake_timeout_ms = 300").await;
        crate::stage::configure(
            &balancer,
            json!([crate::stage::service(more)]),
            json!({}),
            json!({"db": [server.upstream()]}),
        )
        .await;
        let turned_away = async |from: &str, text: &[u8]| {
            let socket = TcpSocket::new_v4().expect("socket");
            socket.bind(format!("{from}:0").parse().expect("address")).expect("bound");
            let mut client = socket.connect((balancer.address, PORT).into()).await.expect("connected");
            let _ = client.write_all(text).await;
            // What it has sent is not read, so this may be a reset.
            assert!(rest(&mut client).await.unwrap_or_default().is_empty());
        };
        turned_away("127.7.7.7", b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2\r\n").await;
        has_ended(&balancer, "db", "untrusted", 1).await;
        turned_away("127.8.8.8", b"SELECT 1").await;
        has_ended(&balancer, "db", "no_proxy_header", 1).await;
        turned_away("127.8.8.8", b"").await;
        has_ended(&balancer, "db", "late", 1).await;
        assert_eq!(server.connections(), 0);
    });
}

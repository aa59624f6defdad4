//! HAProxy, with a frontend for each way in which it can tell us of a client.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use crate::authority::Authority;
use crate::balancer::eventually;
use crate::peers::curl;
use crate::stage::{NAME, PORT, Stage};

/// Where clients of HAProxy come from, …
const CLIENT: &str = "127.0.0.77";

/// … and where HAProxy itself does.
const HAPROXY: &str = "127.0.0.78";

/// A running HAProxy; it ends when it is dropped.
struct Haproxy(Child);

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The ways: the port of HAProxy, what it does with the connection, and how it goes on to us.
const WAYS: [(u16, &str, &str); 6] = [
    (9001, "mode http", "PLAIN send-proxy"),
    (9002, "mode http", "PLAIN send-proxy-v2"),
    // TLS ends there, and it tells us so.
    (9003, "mode http", "PLAIN send-proxy-v2-ssl-cn"),
    // TLS goes through it, after the header.
    (9004, "mode tcp", "TLS send-proxy"),
    (9005, "mode tcp", "TLS send-proxy-v2-ssl"),
    // It speaks TLS to us itself.
    (9006, "mode http", "TLS ssl verify none send-proxy-v2"),
];

async fn start(stage: &Stage) -> Haproxy {
    let address = stage.balancer.address;
    let own = stage.ca.server(&[NAME]);
    let pem = stage.ca.path().join("haproxy.pem");
    std::fs::write(&pem, own.chain + &own.key).expect("written");
    let mut text = "defaults\n timeout connect 5s\n timeout client 20s\n timeout server 20s\n".to_owned();
    for (port, mode, way) in WAYS {
        let tls = if port == 9003 { format!(" ssl crt {}", pem.display()) } else { String::new() };
        let way = way
            .replace("PLAIN", &format!("{address}:{}", PORT + 1))
            .replace("TLS", &format!("{address}:{}", PORT + 2));
        text += &format!(
            "listen way{port}\n bind {address}:{port}{tls}\n {mode}\n server us {way} source {HAPROXY}\n"
        );
    }
    // Its own checks are no client's: LOCAL in version 2.
    text += &format!(
        "backend checked\n mode http\n option httpchk GET /haproxy-check\n server us {address}:{} source {HAPROXY} \
         send-proxy-v2 check inter 200ms\n",
        PORT + 1
    );
    let path = stage.ca.path().join("haproxy.cfg");
    std::fs::write(&path, text).expect("written");
    let child = Command::new("haproxy").args(["-db", "-f"]).arg(&path).stdin(Stdio::null()).spawn();
    let haproxy = Haproxy(child.expect("haproxy: deploy/test.sh interop installs it"));
    let last = SocketAddr::new(address, WAYS[WAYS.len() - 1].0);
    eventually("HAProxy listens", async || tokio::net::TcpStream::connect(last).await.ok()).await;
    haproxy
}

fn listeners(_: &Authority) -> String {
    format!(
        "[[listener]]\naddress = \"ADDRESS:{}\"\nproxy_protocol = true\ntrusted = [\"{HAPROXY}/32\"]\n\
         [[listener]]\naddress = \"ADDRESS:{}\"\nproxy_protocol = true\ntrusted = [\"{HAPROXY}/32\"]\n[listener.tls]\n",
        PORT + 1,
        PORT + 2,
    )
}

#[tokio::test]
async fn whichever_way_it_comes_the_upstream_is_told_of_the_client_and_its_tls() {
    let stage = Stage::with("", listeners).await;
    let _haproxy = start(&stage).await;
    let ca = stage.ca.file();
    for (port, _, way) in WAYS {
        let at = SocketAddr::new(stage.balancer.address, port);
        // What the client's own connection is, and whether we know.
        let (scheme, told) = match port {
            9001 | 9002 => ("http", "http"),
            9006 => ("http", "https"),
            _ => ("https", "https"),
        };
        let url = format!("{scheme}://{NAME}:{port}/{port}");
        // Twice on one connection: the header stands at its beginning alone.
        let more = ["--interface", CLIENT, url.as_str()];
        let said = if scheme == "https" {
            curl(&ca, NAME, at, &format!("/{port}"), &more).await
        } else {
            plain(at, &url).await
        };
        assert!(said.ok, "{way}: {said:?}");
        let lines = |text: &str| said.out.lines().filter(|line| *line == text).count();
        assert_eq!(lines(&format!("x-forwarded-for: {CLIENT}")), 2, "{way}: {said:?}");
        assert_eq!(lines(&format!("x-forwarded-proto: {told}")), 2, "{way}: {said:?}");
    }
    eventually("its own checks are taken as its own", async || {
        let seen = stage.backend.seen();
        let check = seen.iter().find(|request| request.path() == "/haproxy-check")?;
        assert_eq!(check.headers["x-forwarded-for"], HAPROXY);
        Some(())
    })
    .await;
    assert!(stage.failures("proxy_malformed").await < 1.0);
}

/// curl without TLS, which asks twice.
async fn plain(at: SocketAddr, url: &str) -> crate::peers::Said {
    let resolve = format!("{NAME}:{}:{}", at.port(), at.ip());
    let arguments = ["--silent", "--show-error", "--noproxy", "*", "--max-time", "20", "--interface", CLIENT];
    crate::peers::run("curl", &[&arguments[..], &["--resolve", &resolve, url, url]].concat(), "").await
}

//! Other people's servers behind us: nginx, HAProxy and OpenSSL's own, which speak TLS and want to be told of clients.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::authority::Authority;
use crate::balancer::{Balancer, eventually};
use crate::client::{get, post};
use crate::stage::NAME;

/// Where clients come from that say so; loopback addresses are told apart like any others.
const CLIENT: &str = "127.0.0.77";

/// A running program; it ends when it is dropped.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Program {
    async fn start(command: &mut Command, ports: &[SocketAddr]) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        let program = Program(child.expect("deploy/test.sh interop installs it"));
        for port in ports {
            eventually("it listens", async || tokio::net::TcpStream::connect(port).await.ok()).await;
        }
        program
    }
}

/// Sends everything to the server at `port` of the balancer's own address.
async fn use_server(balancer: &Balancer, port: u16, policy: Value) {
    let generation = balancer.get_json("/status").await["config_generation"].as_u64().expect("a number") + 1;
    let config = json!({
        "generation": generation, "routes": [{"name": "all", "pool": "p"}], "pools": {"p": policy},
    });
    let answer = balancer.put("/config", &config).await;
    assert_eq!(answer.0, 200, "{answer:?}");
    let id = format!("server-{port}-{generation}");
    balancer.use_upstreams(&[json!({"id": id, "address": balancer.address, "port": port})]).await;
}

fn tls(ca: &Authority) -> Value {
    json!({"ca": std::fs::read_to_string(ca.file()).expect("a file"), "server_name": NAME})
}

/// nginx with a server for each way.
async fn nginx(balancer: &Balancer, ca: &Authority) -> Program {
    let own = ca.server(&[NAME]);
    let directory = ca.path().display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {directory}/{kind};\n"))
        .concat();
    let address = balancer.address;
    let servers: String = [
        (9101, "ssl", "", "$server_protocol $scheme $ssl_server_name"),
        (9102, "ssl http2", "", "$server_protocol $scheme $ssl_server_name"),
        (9103, "proxy_protocol", "", "$proxy_protocol_addr"),
        (9104, "ssl proxy_protocol", "", "$proxy_protocol_addr"),
        (9105, "ssl", "ssl_verify_client on;", "$ssl_client_s_dn"),
        (9106, "ssl", "ssl_protocols TLSv1.2;", "$ssl_protocol $ssl_session_reused"),
    ]
    .map(|(port, how, more, said)| {
        format!(
            "server {{ listen {address}:{port} {how}; {more} location / {{ return 200 \"{said}\"; }} }}\n"
        )
    })
    .concat();
    let text = format!(
        "daemon off;\nmaster_process off;\npid {directory}/nginx.pid;\nerror_log stderr;\nevents {{}}\nhttp {{\n\
         access_log off;\n{temporary}ssl_certificate {};\nssl_certificate_key {};\nssl_client_certificate {};\n\
         ssl_session_cache shared:all:1m;\n{servers}}}\n",
        own.chain_file.display(),
        own.key_file.display(),
        ca.file().display(),
    );
    let path = ca.path().join("nginx.conf");
    std::fs::write(&path, text).expect("written");
    let ports = (9101..=9106).map(|port| SocketAddr::new(address, port)).collect::<Vec<_>>();
    Program::start(Command::new("nginx").arg("-e").arg("stderr").arg("-c").arg(&path), &ports).await
}

#[tokio::test]
async fn nginx_is_spoken_to_over_tls_in_both_versions_of_http() {
    let (balancer, ca) = (Balancer::start().await, Authority::new("test CA"));
    let _nginx = nginx(&balancer, &ca).await;
    for (port, protocol, said) in [(9101, "http1", "HTTP/1.1"), (9102, "h2", "HTTP/2.0")] {
        use_server(&balancer, port, json!({"protocol": protocol, "tls": tls(&ca)})).await;
        let large = "x".repeat(300 << 10);
        for n in 0..10 {
            let expected = (200, format!("{said} https {NAME}"));
            let answer = get(balancer.clients(), &format!("/{n}")).await;
            assert_eq!((answer.status(), answer.text()), expected);
            let answer = post(balancer.clients(), "/", &large).await;
            assert_eq!((answer.status(), answer.text()), expected);
        }
    }
    // Over TLS 1.2 too; a POST has a connection of its own, whose session is resumed.
    use_server(&balancer, 9106, json!({"tls": tls(&ca)})).await;
    post(balancer.clients(), "/", "body").await;
    assert_eq!(post(balancer.clients(), "/", "body").await.text(), "TLSv1.2 r");
}

#[tokio::test]
async fn nginx_is_shown_our_certificate() {
    let (balancer, ca) = (Balancer::start().await, Authority::new("test CA"));
    let _nginx = nginx(&balancer, &ca).await;
    let mut with = tls(&ca);
    with["certificate"] = ca.client("the balancer").json();
    use_server(&balancer, 9105, json!({"tls": with})).await;
    let answer = get(balancer.clients(), "/").await;
    assert_eq!((answer.status(), answer.text()), (200, "CN=the balancer".to_owned()));
    use_server(&balancer, 9105, json!({"tls": tls(&ca)})).await;
    assert_eq!(get(balancer.clients(), "/").await.status(), 400, "nginx says so itself");
}

#[tokio::test]
async fn the_server_of_openssl_is_spoken_to() {
    let (balancer, ca) = (Balancer::start().await, Authority::new("test CA"));
    let own = ca.server(&[NAME]);
    let at = SocketAddr::new(balancer.address, 9110);
    let mut command = Command::new("openssl");
    command.args(["s_server", "-www", "-quiet", "-accept", &at.to_string()]);
    command.arg("-cert").arg(&own.chain_file).arg("-key").arg(&own.key_file);
    let _server = Program::start(&mut command, &[at]).await;
    use_server(&balancer, 9110, json!({"tls": tls(&ca)})).await;
    let answer = get(balancer.clients(), "/").await;
    assert!(answer.status() == 200 && answer.text().contains("TLSv1.3"), "{answer:?}");
}

/// HAProxy, which insists on a header.
async fn haproxy(balancer: &Balancer, ca: &Authority) -> Program {
    let own = ca.server(&[NAME]);
    let pem = ca.path().join("haproxy.pem");
    std::fs::write(&pem, own.chain + &own.key).expect("written");
    let address = balancer.address;
    let text = format!(
        "defaults\n mode http\n timeout connect 5s\n timeout client 20s\n timeout server 20s\nfrontend plain\n \
         bind {address}:9203 accept-proxy\n http-request return status 200 content-type text/plain lf-string %[src]\n\
         frontend secure\n bind {address}:9204 accept-proxy ssl crt {}\n \
         http-request return status 200 content-type text/plain lf-string %[src]\n",
        pem.display()
    );
    let path = ca.path().join("haproxy-behind.cfg");
    std::fs::write(&path, text).expect("written");
    let ports = [9203, 9204].map(|port| SocketAddr::new(address, port));
    Program::start(Command::new("haproxy").args(["-db", "-f"]).arg(&path), &ports).await
}

#[tokio::test]
async fn nginx_and_haproxy_are_told_of_each_client_ahead_of_everything() {
    let (balancer, ca) = (Balancer::start().await, Authority::new("test CA"));
    let _nginx = nginx(&balancer, &ca).await;
    let _haproxy = haproxy(&balancer, &ca).await;
    for version in ["v1", "v2"] {
        for (port, secure) in [(9103, false), (9104, true), (9203, false), (9204, true)] {
            let check = json!({"active": true, "interval_ms": 50, "edge_interval_ms": 50});
            let tls = if secure { tls(&ca) } else { Value::Null };
            use_server(&balancer, port, json!({"proxy_protocol": version, "tls": tls, "check": check})).await;
            for from in [CLIENT, "127.0.0.76"] {
                for body in ["", &"x".repeat(100 << 10)] {
                    let told = ask_from(from, balancer.clients(), body).await;
                    assert_eq!(told, from, "{version} {port}");
                }
            }
        }
    }
}

/// What a client at this address is answered.
async fn ask_from(from: &str, to: SocketAddr, body: &str) -> String {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::new(from.parse().expect("an address"), 0)).expect("bound");
    let tcp = socket.connect(to).await.expect("connected");
    let length = body.len();
    let request = format!(
        "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    let answer = crate::client::Reader::new(tcp).ask(&request).await;
    assert_eq!(answer.status(), 200, "{answer:?}");
    answer.text()
}

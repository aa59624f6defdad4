//! nginx and HAProxy, each set up as one does who means well by it: keep-alive to the backend, HTTP/1.1, deadlines.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::balancer::eventually;

/// A running one. Killed when dropped.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) version: String,
    pub(crate) address: SocketAddr,
    child: Child,
    _directory: TempDir,
}

impl Peer {
    pub(crate) async fn nginx(backend: SocketAddr) -> Self {
        let (directory, address) = (tempfile::tempdir().expect("directory"), own_address(1));
        let path = directory.path().display();
        let config = format!(
            "daemon off; master_process off; worker_processes 1; error_log stderr crit; pid {path}/pid;
             events {{ worker_connections 1024; }}
             http {{
               access_log off; client_body_temp_path {path}/body; proxy_temp_path {path}/proxy;
               fastcgi_temp_path {path}/f; uwsgi_temp_path {path}/u; scgi_temp_path {path}/s;
               client_header_timeout 1s; client_body_timeout 1s; keepalive_timeout 10s; lingering_timeout 1s;
               upstream backend {{ server {backend}; keepalive 8; }}
               server {{
                 listen {address};
                 location / {{
                   proxy_pass http://backend; proxy_http_version 1.1; proxy_read_timeout 1s;
                   proxy_set_header Host $host; proxy_set_header Connection \"\";
                   proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
                 }}
               }}
             }}"
        );
        let file = directory.path().join("nginx.conf");
        std::fs::write(&file, config).expect("written");
        let mut command = Command::new("nginx");
        command.arg("-p").arg(directory.path()).arg("-c").arg(&file);
        Self::start("nginx", &["-v"], command, address, directory).await
    }

    pub(crate) async fn haproxy(backend: SocketAddr) -> Self {
        let (directory, address) = (tempfile::tempdir().expect("directory"), own_address(2));
        let config = format!(
            "global\n nbthread 1\n maxconn 1000\ndefaults\n mode http\n option forwardfor\n retries 1\n\
             option http-keep-alive\n timeout connect 1s\n timeout client 1s\n timeout server 1500ms\n\
             timeout http-request 1s\n timeout http-keep-alive 10s\n\
             frontend clients\n bind {address}\n default_backend servers\n\
             backend servers\n server s {backend}\n"
        );
        let file = directory.path().join("haproxy.cfg");
        std::fs::write(&file, config).expect("written");
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(&file);
        Self::start("HAProxy", &["-v"], command, address, directory).await
    }

    async fn start(
        name: &'static str,
        version: &[&str],
        mut command: Command,
        address: SocketAddr,
        directory: TempDir,
    ) -> Self {
        let program = command.get_program().to_owned();
        let said = Command::new(program).args(version).output();
        let said = said.expect("deploy/test.sh interop installs it");
        let said = String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned();
        let digits = said.find(|letter: char| letter.is_ascii_digit()).expect("a version");
        let version = said[digits..].split(|letter: char| !letter.is_ascii_digit() && letter != '.').next();
        let version = version.expect("a version").to_owned();
        let child = command.stdin(Stdio::null()).stderr(Stdio::null()).stdout(Stdio::null()).spawn();
        let child = child.expect("started");
        let peer = Peer { name, version, address, child, _directory: directory };
        eventually("it listens", async || tokio::net::TcpStream::connect(address).await.ok()).await;
        peer
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address that no other test has.
fn own_address(which: u8) -> SocketAddr {
    let [_, _, a, b] = std::process::id().to_be_bytes();
    (Ipv4Addr::new(127, 100 + which, a, b.max(1)), 8000).into()
}

//! MariaDB without Galera.

use std::process::Command;

use serde_json::json;

use crate::balancer::{Balancer, eventually};
use crate::server::{Server, check, comes_to};

const PORT: u16 = 3306;

#[tokio::test]
async fn mariadb_says_whether_it_takes_writes() {
    let balancer = Balancer::start().await;
    let address = balancer.address;
    let directory = tempfile::tempdir().expect("a directory");
    let (data, socket) = (directory.path().join("data"), directory.path().join("socket"));
    let common = ["--no-defaults", "--innodb-buffer-pool-size=32M", "--innodb-log-file-size=4M"];
    let data = format!("--datadir={}", data.display());
    let root = nix::unistd::geteuid().is_root().then_some("--user=root");
    let mut install = Command::new("mariadb-install-db");
    install
        .args(common)
        .args(root)
        .arg(&data)
        .args(["--skip-test-db", "--auth-root-authentication-method=normal"]);
    let installed = install.output().expect("deploy/test.sh interop installs it");
    assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stdout));
    let mut mariadbd = Command::new("mariadbd");
    mariadbd.args(common).args(root).arg(&data).arg(format!("--socket={}", socket.display()));
    mariadbd
        .arg(format!("--bind-address={address}"))
        .arg(format!("--port={PORT}"))
        .arg("--skip-name-resolve");
    // Whoever is an error so often in a row is shut out.
    let _server =
        Server::start(mariadbd.args(["--skip-log-bin", "--max-connect-errors=3"]), (address, PORT)).await;
    let sql = |sql: &str| {
        let mut client = Command::new("mariadb");
        client.args(["--no-defaults", "--user=root", "--batch", "--skip-column-names", "--execute", sql]);
        let said = client.arg(format!("--socket={}", socket.display())).output().expect("a client");
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        String::from_utf8(said.stdout).expect("text")
    };
    // Without a user, many times.
    check(&balancer, json!({"mysql": {}}), &[PORT]).await;
    comes_to(&balancer, PORT, Ok("any")).await;
    eventually("it was asked often", async || {
        let status = sql("SHOW GLOBAL STATUS LIKE 'Connections'");
        let count: u64 = status.split_whitespace().last()?.parse().ok()?;
        (count > 30).then_some(())
    })
    .await;
    comes_to(&balancer, PORT, Ok("any")).await;
    sql("CREATE USER 'checker'@'%' IDENTIFIED BY 'secret'");
    let login = |user: &str, password: &str| json!({"mysql": {"user": user, "password": password}});
    check(&balancer, login("checker", "secret"), &[PORT]).await;
    comes_to(&balancer, PORT, Ok("writer")).await;
    sql("SET GLOBAL read_only = ON");
    comes_to(&balancer, PORT, Ok("standby")).await;
    sql("SET GLOBAL read_only = OFF");
    comes_to(&balancer, PORT, Ok("writer")).await;
    check(&balancer, login("checker", "wrong"), &[PORT]).await;
    comes_to(&balancer, PORT, Err("the login was refused")).await;
    let galera = json!({"mysql": {"user": "checker", "password": "secret", "galera": true}});
    check(&balancer, galera, &[PORT]).await;
    comes_to(&balancer, PORT, Err("no node of a Galera cluster")).await;
}

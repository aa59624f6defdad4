//! PostgreSQL: a primary and a hot standby of it.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::balancer::{Balancer, eventually};
use crate::server::{Server, check, comes_to};

const PRIMARY: u16 = 5432;
const STANDBY: u16 = 5433;

/// A program of PostgreSQL, whatever version there is: they are not in `PATH`.
fn program(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").expect("deploy/test.sh interop installs it");
    let found = versions.flatten().map(|version| version.path().join("bin").join(name));
    found.filter(|path| path.exists()).max().expect("a version")
}

/// It, as somebody else than root, whom it refuses.
fn command(name: &str) -> Command {
    if !nix::unistd::geteuid().is_root() {
        return Command::new(program(name));
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=postgres", "--regid=postgres", "--clear-groups"])
        .arg(program(name))
        .current_dir("/");
    command
}

fn run(command: &mut Command) -> String {
    let ended = command.output().expect("to start");
    assert!(ended.status.success(), "{command:?}: {}", String::from_utf8_lossy(&ended.stderr));
    String::from_utf8(ended.stdout).expect("text")
}

async fn postgres(address: IpAddr, port: u16, data: &Path) -> Server {
    let mut server = command("postgres");
    server.args([
        "-D",
        data.to_str().expect("a plain name"),
        "-h",
        &address.to_string(),
        "-p",
        &port.to_string(),
    ]);
    server.args(["-c", "unix_socket_directories=", "-c", "fsync=off", "-c", "shared_buffers=16MB"]);
    Server::start(&mut server, (address, port)).await
}

#[tokio::test]
async fn postgres_says_who_recovers_and_takes_proofs_of_a_password() {
    let balancer = Balancer::start().await;
    let address = balancer.address;
    let directory = tempfile::tempdir().expect("a directory");
    run(Command::new("chmod").arg("0777").arg(directory.path()));
    let [one, other] = ["one", "other"].map(|name| directory.path().join(name));
    let pwfile = directory.path().join("password");
    std::fs::write(&pwfile, "secret\n").expect("written");
    run(Command::new("chmod").arg("0644").arg(&pwfile));
    let files = [&one, &pwfile].map(|path| path.to_str().expect("a plain name").to_owned());
    run(command("initdb").args(["-D", &files[0], "--pwfile", &files[1], "-U", "root", "--no-sync"]).args([
        "--auth-host=scram-sha-256",
        "--auth-local=reject",
        "--locale=C",
    ]));
    // Who logs in by MD5, and who by nothing; the first line that fits counts.
    let hba = one.join("pg_hba.conf");
    let rules = std::fs::read_to_string(&hba).expect("rules");
    let more = "host all old 127.0.0.0/8 md5\nhost all plain 127.0.0.0/8 password\nhost all,replication all 127.0.0.0/8 scram-sha-256\n";
    std::fs::write(&hba, more.to_owned() + &rules).expect("written");
    let _primary = postgres(address, PRIMARY, &one).await;
    let at = format!("host={address} port={PRIMARY} user=root password=secret dbname=postgres");
    let sql = |sql: &str| run(Command::new(program("psql")).args([&at, "-Atc", sql]));
    eventually("it serves", async || {
        let asked = Command::new(program("psql")).args([&at, "-Atc", "SELECT 1"]).output().ok()?;
        asked.status.success().then_some(())
    })
    .await;
    sql("CREATE ROLE checker LOGIN PASSWORD 'checked'");
    sql("CREATE ROLE plain LOGIN PASSWORD 'checked'");
    sql("SET password_encryption = 'md5'; CREATE ROLE old LOGIN PASSWORD 'checked'");
    let to = other.to_str().expect("a plain name");
    run(command("pg_basebackup").args(["-d", &at, "-D", to, "-R", "--no-sync", "-c", "fast"]));
    let _standby = postgres(address, STANDBY, &other).await;

    check(&balancer, json!({"postgres": {}}), &[PRIMARY, STANDBY]).await;
    comes_to(&balancer, PRIMARY, Ok("any")).await;
    comes_to(&balancer, STANDBY, Ok("any")).await;
    for user in ["checker", "old"] {
        let ask = json!({"postgres": {"user": user, "password": "checked", "database": "postgres"}});
        check(&balancer, ask, &[PRIMARY, STANDBY]).await;
        comes_to(&balancer, PRIMARY, Ok("writer")).await;
        comes_to(&balancer, STANDBY, Ok("standby")).await;
    }
    for (user, password, database, reason) in [
        ("checker", "wrong", "postgres", "the login was refused"),
        ("plain", "checked", "postgres", "another proof of the password"),
        ("checker", "checked", "nowhere", "SQLSTATE 3D000"),
    ] {
        let ask = json!({"postgres": {"user": user, "password": password, "database": database}});
        check(&balancer, ask, &[PRIMARY]).await;
        comes_to(&balancer, PRIMARY, Err(reason)).await;
    }
    // The standby is promoted.
    let ask = json!({"postgres": {"user": "checker", "password": "checked", "database": "postgres"}});
    check(&balancer, ask, &[STANDBY]).await;
    comes_to(&balancer, STANDBY, Ok("standby")).await;
    let at = format!("host={address} port={STANDBY} user=root password=secret dbname=postgres");
    run(Command::new(program("psql")).args([&at, "-Atc", "SELECT pg_promote()"]));
    comes_to(&balancer, STANDBY, Ok("writer")).await;
}

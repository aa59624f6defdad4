//! Three real nodes of MariaDB with Galera behind a service with `primary_only`.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use wire::pools::PoolsHealth;

use crate::lab::{Lab, MANAGERS, VIP, program};
use crate::node::{Node, lab_with, warnings};
use crate::run::{eventually, run_within};
use crate::writers::{PASSWORD, USER, Writers};

/// Who checks.
const CHECKER: &str = "checker";
const CHECKERS_PASSWORD: &str = "checked";

const SERVICES: &str = r#"
[[service]]
name = "db"
protocol = "tcp"
listen = 3306
endpoints = ["192.168.10.61:3306", "192.168.10.62:3306", "192.168.10.63:3306"]
primary_only = true

[service.readiness]
kind = "mysql"
user = "checker"
password = { value = "checked" }
galera = true
period_ms = 200
timeout_ms = 500
failure_threshold = 3
"#;

/// Making the first database takes that long at most, on a busy computer.
const INSTALL: Duration = Duration::from_secs(120);

/// A cluster of Galera.
struct Galera<'a> {
    lab: &'a Lab,
    nodes: Vec<Node<'a>>,
}

impl<'a> Galera<'a> {
    /// Founds it with a first node, which makes the accounts and a table; the others join.
    fn found(lab: &'a Lab) -> Self {
        // A daemon of rsync that is started by root writes as nobody, who may not. Only the lab sees another script.
        let script = lab.path().join("wsrep_sst_rsync").display().to_string();
        let change = format!(
            "sed 's/^use chroot = no/&\\nuid = 0\\ngid = 0/' /usr/bin/wsrep_sst_rsync >{script} && chmod +x {script} \
             && mount --bind {script} /usr/bin/wsrep_sst_rsync"
        );
        lab.exec("switch", &["bash", "-c", &change]).ok();
        let mut nodes: Vec<Node<'_>> = (1..=3).map(|number| Node::plug(lab, number)).collect();
        let all: Vec<String> = nodes.iter().map(|node| node.address.clone()).collect();
        for (index, node) in nodes.iter_mut().enumerate() {
            let data = node.directory().join("data").display().to_string();
            std::fs::create_dir_all(&data).expect("a directory");
            let words = mariadbd(node, &all);
            if index == 0 {
                let mut install = Command::new("mariadb-install-db");
                install.args(["--no-defaults", "--user=root", "--skip-test-db", "--innodb-log-file-size=4M"]);
                install.arg("--auth-root-authentication-method=normal").arg(format!("--datadir={data}"));
                run_within(&mut install, INSTALL).ok();
                node.start(words, &["--wsrep-new-cluster"]);
            } else {
                node.start(words, &[]);
            }
            wait_for(node);
            if index == 0 {
                let sql = format!(
                    "CREATE USER '{CHECKER}'@'%' IDENTIFIED BY '{CHECKERS_PASSWORD}'; \
                     CREATE USER '{USER}'@'%' IDENTIFIED BY '{PASSWORD}'; CREATE DATABASE test; \
                     GRANT ALL ON test.* TO '{USER}'@'%'; \
                     CREATE TABLE test.written (number BIGINT PRIMARY KEY, node VARCHAR(20), at VARCHAR(40));"
                );
                ask(node, &sql).expect("set up");
            }
        }
        Galera { lab, nodes }
    }

    fn node(&self, name: &str) -> &Node<'a> {
        self.nodes.iter().find(|node| node.name == name).expect("a node")
    }

    /// Who answers at the public address.
    fn writer(&self) -> String {
        eventually("a writer answers at the public address", || {
            let words = ["mariadb", "--no-defaults", "--batch", "--skip-column-names", "--connect-timeout=5"];
            let password = format!("--password={PASSWORD}");
            let ask = ["--user", USER, &password, "--host", VIP, "--execute", "SELECT @@wsrep_node_name"];
            let ended = self.lab.exec("client", &[&words[..], &ask].concat());
            (ended.code == Some(0)).then(|| ended.stdout.trim().to_owned())
        })
    }

    /// All rows that a node has: their numbers and writers in the order of time. None while it does not answer: one that
    /// stood still finds out that it was left behind, and joins again first.
    fn rows(&self, name: &str) -> Option<(BTreeSet<u64>, Vec<String>)> {
        let rows = ask(self.node(name), "SELECT number, node FROM test.written ORDER BY at, number")?;
        let rows = rows.lines().map(|row| row.split_once('\t').expect("two columns"));
        Some(rows.map(|(number, node)| (number.parse::<u64>().expect("a number"), node.to_owned())).unzip())
    }
}

/// What the server on `node` answers its own root; none while it does not.
fn ask(node: &Node<'_>, sql: &str) -> Option<String> {
    let socket = format!("--socket={}/socket", node.directory().display());
    let words = ["mariadb", "--no-defaults", "--batch", "--skip-column-names", "--user=root"];
    let ended = node.lab.exec("switch", &[&words[..], &[&socket, "--execute", sql]].concat());
    (ended.code == Some(0)).then_some(ended.stdout)
}

/// Waits until `node` is in step with the others.
fn wait_for(node: &Node<'_>) {
    eventually(&format!("{} is in step", node.name), || {
        ask(node, "SHOW STATUS LIKE 'wsrep_local_state_comment'")?.contains("Synced").then_some(())
    });
}

/// The words of a small server on `node`.
fn mariadbd(node: &Node<'_>, all: &[String]) -> Vec<String> {
    let directory = node.directory().display().to_string();
    [
        "mariadbd --no-defaults --user=root --bind-address=0.0.0.0 --port=3306 --skip-name-resolve",
        "--performance-schema=0 --innodb-buffer-pool-size=32M --innodb-log-file-size=4M --max-connections=50",
        // The computer is lost, and not the machine that all of them run on.
        "--innodb-flush-log-at-trx-commit=2 --binlog-format=ROW --innodb-autoinc-lock-mode=2",
        "--wsrep-on=1 --wsrep-provider=/usr/lib/galera/libgalera_smm.so --wsrep-cluster-name=test",
        "--wsrep-sst-method=rsync --wsrep-slave-threads=1",
    ]
    .iter()
    .flat_map(|line| line.split(' ').map(str::to_owned))
    .chain([
        format!("--datadir={directory}/data"),
        format!("--socket={directory}/socket"),
        format!("--pid-file={directory}/pid"),
        format!("--wsrep-node-name={}", node.name),
        format!("--wsrep-node-address={}", node.address),
        format!("--wsrep-cluster-address=gcomm://{}", all.join(",")),
        "--wsrep-provider-options=gcache.size=16M".to_owned(),
    ])
    .collect()
}

/// The primary as each balancer uses it.
fn primaries(lab: &Lab) -> Vec<Option<String>> {
    ["192.168.10.10", "192.168.10.20"]
        .iter()
        .map(|lb| {
            let asked =
                lab.exec("client", &["curl", "-s", "--max-time", "2", &format!("http://{lb}:8080/pools")]);
            let health: PoolsHealth = serde_json::from_str(&asked.stdout).ok()?;
            Some(health.pools.get(&"db".into())?.primary.as_ref()?.id.as_ref()?.to_string())
        })
        .collect()
}

/// Each writer once, in the order in which they wrote: one that writes again after another one did is there twice.
fn turns(writers: &[String]) -> Vec<String> {
    let mut turns = writers.to_vec();
    turns.dedup();
    turns
}

#[test]
fn no_committed_row_is_lost_and_there_is_one_writer_at_a_time() {
    let (lab, _services) = lab_with(SERVICES);
    let lab = &lab;
    let galera = Galera::found(lab);
    let mut expected = Vec::new();
    let first = galera.writer();
    expected.push(first.clone());
    let writers = Writers::start(lab, 4);
    writers.go_on(100);

    // The writer is killed.
    galera.node(&first).kill();
    writers.go_on(100);
    let second = galera.writer();
    assert_ne!(second, first);
    expected.push(second.clone());
    assert!(writers.lost() >= 4, "every client had to connect anew");
    eventually("a manager says who is missing", || {
        let node = galera.node(&first);
        warnings(lab)
            .iter()
            .any(|warning| warning.contains("service db: 2 of 3 pass") && warning.contains(&node.address))
            .then_some(())
    });

    // It is back, and nobody is disturbed: the writer stays who it is.
    let lost = writers.lost();
    // From one that does not write: who gives its data away blocks meanwhile.
    let third =
        ["db1", "db2", "db3"].into_iter().find(|name| ![&first, &second].contains(&&(*name).to_owned()));
    galera.node(&first).start_again(&[&format!("--wsrep-sst-donor={}", third.expect("one of three"))]);
    wait_for(galera.node(&first));
    writers.go_on(100);
    assert_eq!((galera.writer(), writers.lost()), (second.clone(), lost));

    // The writer is frozen, and wakes when others have written.
    galera.node(&second).freeze();
    writers.go_on(100);
    let third = galera.writer();
    assert_ne!(third, second);
    expected.push(third.clone());
    galera.node(&second).thaw();
    wait_for(galera.node(&second));
    writers.go_on(100);

    // The address moves to the other balancer, which knows who writes.
    let [one, other] = &primaries(lab)[..] else { panic!("two balancers") };
    assert_eq!(one, other, "balancers choose alike");
    lab.exec("a", &[&program("manager"), "--manager", MANAGERS[0], "switchover"]).ok();
    writers.go_on(100);
    assert_eq!(galera.writer(), third);

    let committed = writers.stop();
    for node in ["db1", "db2", "db3"] {
        let order = eventually("each node has all rows", || {
            let (rows, order) = galera.rows(node)?;
            committed.is_subset(&rows).then_some(order)
        });
        assert_eq!(turns(&order), expected, "one after the other, as {node} has it");
    }
    for node in &galera.nodes {
        node.stop();
    }
}

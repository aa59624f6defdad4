//! What can be seen of TCP services: figures, the connection table, the log.

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use crate::balancer::{Balancer, eventually};
use crate::network::in_network;
use crate::stage::{
    Server, balancer_for, configure, connect, echoes, has_ended, hears, rest, service, use_pools,
};

#[test]
fn figures_add_up() {
    in_network("seen::figures_add_up", async {
        let server = Server::echo("hello").await;
        let balancer = balancer_for(json!({}), json!({}), &[&server]).await;
        let mut open = connect(&balancer).await;
        hears(&mut open, "hello").await;
        let mut client = connect(&balancer).await;
        hears(&mut client, "hello").await;
        echoes(&mut client, "1234567890").await;
        client.shutdown().await.expect("ended");
        assert_eq!(rest(&mut client).await.expect("an end"), b"");
        for line in [
            "lb_tcp_listening{service=\"db\"} 1",
            "lb_tcp_connections_open{service=\"db\"} 1",
            "lb_tcp_connections_accepted_total{service=\"db\"} 2",
            "lb_tcp_connections_total{ended=\"closed\",service=\"db\"} 1",
            "lb_tcp_bytes_total{service=\"db\",way=\"received\"} 10",
            "lb_tcp_bytes_total{service=\"db\",way=\"sent\"} 20",
            "lb_tcp_connect_failures_total{reason=\"refused\",service=\"db\"} 0",
            "lb_tcp_connection_duration_seconds_count{service=\"db\"} 1",
            &format!("lb_upstream_in_flight{{pool=\"db\",upstream=\"{}\"}} 1", server.id()),
        ] {
            balancer.counts(line).await;
        }
        let csv = balancer.get("/statistics.csv").await.text().await.expect("text");
        let front = csv.lines().find(|line| line.starts_with("db,FRONTEND,")).expect("a line");
        let columns: Vec<_> = csv.lines().next().expect("columns").split(',').collect();
        let values: std::collections::BTreeMap<_, _> = columns.into_iter().zip(front.split(',')).collect();
        assert_eq!(
            (values["scur"], values["stot"], values["bin"], values["bout"], values["status"]),
            ("1", "2", "10", "20", "OPEN")
        );
    });
}

#[test]
fn the_table_of_connections_is_as_ipvsadm_has_it() {
    in_network("seen::the_table_of_connections_is_as_ipvsadm_has_it", async {
        let [one, two] = [Server::echo("hello").await, Server::echo("hello").await];
        let policy = json!({"balance": {"algorithm": "least_requests"}});
        let balancer = balancer_for(json!({}), policy, &[&one]).await;
        let table = async |path: &str| balancer.get(path).await.text().await.expect("text");
        let empty = table("/connections").await;
        let lines: Vec<_> = empty.lines().collect();
        assert!(lines[0].ends_with("(connections=0)"), "{empty}");
        assert_eq!(lines[1], "Prot LocalAddress:Port Scheduler Flags");
        assert_eq!(lines[2], "  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn");
        assert_eq!(lines[3], "TCP  0.0.0.0:3306 wlc db");
        assert_eq!(
            lines[4],
            format!("  -> {:<28} Proxy   1      0          0         ", one.address.to_string())
        );

        let [mut active, mut half] = [connect(&balancer).await, connect(&balancer).await];
        for client in [&mut active, &mut half] {
            hears(client, "hello").await;
        }
        let mut upstream = one.upstream();
        upstream["state"] = json!("draining");
        use_pools(&balancer, json!({"db": [upstream, two.upstream()]})).await;
        let full = table("/connections").await;
        let lines: Vec<_> = full.lines().skip(3).collect();
        assert_eq!(lines[0], format!("TCP  {}:3306 wlc db", balancer.address), "{full}");
        assert!(
            lines.contains(&&*format!(
                "  -> {:<28} Proxy   0      2          0         ",
                one.address.to_string()
            )),
            "{full}"
        );
        assert!(
            lines.contains(&&*format!(
                "  -> {:<28} Proxy   1      0          0         ",
                two.address.to_string()
            )),
            "{full}"
        );

        let list = table("/connections/list").await;
        let line =
            list.lines().find(|line| line.contains(&active.local_addr().expect("address").to_string()));
        let words: Vec<_> = line.expect("its line").split_whitespace().collect();
        assert_eq!((words[0], words[2]), ("TCP", "ESTABLISHED"), "{list}");
        assert!(words[1] == "10:00" || words[1].starts_with("09:5"), "{list}");
        assert_eq!(words[4..], [format!("{}:3306", balancer.address), one.address.to_string()]);
    });
}

#[test]
fn each_connection_is_written_down_with_how_it_ended() {
    in_network("seen::each_connection_is_written_down_with_how_it_ended", async {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("access.json");
        let server = Server::echo("hello").await;
        let balancer = Balancer::start_also_with(&format!("[access_log]\npath = {path:?}\n")).await;
        let services = json!([service(json!({})), {"name": "none", "port": 3307, "pool": "none"}]);
        let pools = json!({"db": [server.upstream()], "none": []});
        configure(&balancer, services, json!({"none": {"hold_ms": 0}}), pools).await;
        let mut client = connect(&balancer).await;
        hears(&mut client, "hello").await;
        echoes(&mut client, "123").await;
        client.shutdown().await.expect("ended");
        assert_eq!(rest(&mut client).await.expect("an end"), b"");
        has_ended(&balancer, "db", "closed", 1).await;
        crate::stage::is_turned_away(&balancer, 3307).await;
        let lines: Vec<Value> = eventually("both are written down", async || {
            let text = std::fs::read_to_string(&path).ok()?;
            let lines: Vec<_> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
            (lines.len() == 2).then_some(lines)
        })
        .await;
        let of = |service: &str| lines.iter().find(|line| line["service"] == service).expect("its line");
        let well = of("db");
        assert_eq!(
            json!([
                well["pool"],
                well["upstream"],
                well["ended"],
                well["tries"],
                well["received_bytes"],
                well["sent_bytes"]
            ]),
            json!(["db", server.id(), "closed", 1, 3, 8]),
            "{well}"
        );
        assert_eq!(well["client"], well["peer"]);
        let not_well = of("none");
        assert_eq!(
            json!([not_well["ended"], not_well["tries"], not_well["upstream"]]),
            json!(["no_upstream", 0, null]),
            "{not_well}"
        );
    });
}

//! The ports of services: opened and closed while the balancer runs, from a manager's word or its own file.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::balancer::{Balancer, eventually};
use crate::network::in_network;
use crate::stage::{PORT, Server, balancer_for, configure, connect, hears, rest, service};

#[test]
fn a_port_is_open_when_the_configuration_is_answered() {
    in_network("ports::a_port_is_open_when_the_configuration_is_answered", async {
        let server = Server::echo("hello").await;
        let balancer = Balancer::start().await;
        for port in 4_000..4_020 {
            let services = json!([service(json!({"port": port}))]);
            configure(&balancer, services, json!({}), json!({"db": [server.upstream()]})).await;
            // Of IPv6 too.
            for address in [balancer.address, "::1".parse().expect("address")] {
                let mut client = TcpStream::connect((address, port)).await.expect("connected");
                hears(&mut client, "hello").await;
            }
        }
    });
}

#[test]
fn a_port_that_cannot_be_had_is_said_and_tried_again_and_the_rest_is_in_use() {
    in_network("ports::a_port_that_cannot_be_had_is_said_and_tried_again_and_the_rest_is_in_use", async {
        let server = Server::echo("hello").await;
        let balancer = Balancer::start().await;
        let other = std::net::TcpListener::bind("0.0.0.0:3307").expect("bound");
        let services = json!([service(json!({})), {"name": "other", "port": 3307, "pool": "db"}]);
        configure(&balancer, services, json!({}), json!({"db": [server.upstream()]})).await;
        hears(&mut connect(&balancer).await, "hello").await;
        let status = balancer.get_json("/status").await["tcp"].clone();
        assert!(status["db"]["fault"].is_null());
        assert!(status["other"]["fault"].as_str().expect("a fault").contains("in use"), "{status}");
        balancer.counts("lb_tcp_listening{service=\"other\"} 0").await;
        balancer.counts("lb_tcp_listening{service=\"db\"} 1").await;
        drop(other);
        balancer.counts("lb_tcp_listening{service=\"other\"} 1").await;
        hears(&mut crate::stage::connect_at(&balancer, 3307).await, "hello").await;
    });
}

#[test]
fn ports_that_are_somebody_elses_are_refused() {
    in_network("ports::ports_that_are_somebody_elses_are_refused", async {
        let balancer = Balancer::start().await;
        for (port, owner) in
            [(8000, "the listener of HTTP at"), (8080, "the admin interface"), (8443, "admin")]
        {
            let config = json!({"generation": 1, "routes": [], "tcp": [service(json!({"port": port}))]});
            let (status, problem) = balancer.put("/config", &config).await;
            assert_eq!((status, &problem["parameter"]), (400, &json!("tcp[0].port")), "{problem}");
            assert!(problem["detail"].as_str().expect("text").contains(owner), "{problem}");
        }
    });
}

#[test]
fn swaps_under_load_lose_no_connection() {
    in_network("ports::swaps_under_load_lose_no_connection", async {
        let servers = [Server::echo("hello").await, Server::echo("hello").await, Server::echo("hello").await];
        let balancer = balancer_for(json!({}), json!({}), &servers.each_ref()).await;
        let done = Arc::new(AtomicBool::new(false));
        let address = balancer.address;
        let load: Vec<_> = (0..6)
            .map(|_| {
                let done = done.clone();
                tokio::spawn(async move {
                    let mut count = 0;
                    while !done.load(Ordering::SeqCst) {
                        let mut client = TcpStream::connect((address, PORT)).await.expect("connected");
                        hears(&mut client, "hello").await;
                        client.write_all(b"something").await.expect("sent");
                        client.shutdown().await.expect("ended");
                        assert_eq!(rest(&mut client).await.expect("an end"), b"something");
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        for swap in 0..40_u64 {
            // Other settings of the service, another service that comes and goes, and servers that drain.
            let mut services = vec![service(json!({"idle_timeout_ms": 60_000 + swap}))];
            if swap % 2 == 0 {
                services.push(json!({"name": "other", "port": 3307, "pool": "db"}));
            }
            let mut upstreams: Vec<_> = servers.iter().map(Server::upstream).collect();
            upstreams[usize::try_from(swap).expect("small") % 3]["state"] = json!("draining");
            configure(&balancer, json!(services), json!({}), json!({"db": upstreams})).await;
        }
        done.store(true, Ordering::SeqCst);
        let mut connections = 0;
        for worker in load {
            connections += worker.await.expect("every connection served");
        }
        println!("{connections} connections during 40 swaps");
        assert!(connections > 0);
        let ended = balancer.get_json("/status").await["tcp"]["db"]["ended"].clone();
        assert_eq!(ended.as_object().expect("counts").len(), 1, "none but closed: {ended}");
    });
}

#[test]
fn a_file_says_it_too_and_is_read_anew() {
    in_network("ports::a_file_says_it_too_and_is_read_anew", async {
        let server = Server::echo("hello").await;
        let (address, port) = (server.address.ip(), server.address.port());
        let file = |name: &str, port_of_service: u16| {
            format!(
                "[upstreams]\ndb = [{{ address = \"{address}\", port = {port} }}]\n\
                 [[config.tcp]]\nname = \"{name}\"\nport = {port_of_service}\npool = \"db\"\n"
            )
        };
        let mut balancer = Balancer::start_also_with(&file("db", PORT)).await;
        for _ in 0..2 {
            let mut client = connect(&balancer).await;
            hears(&mut client, "hello").await;
            assert_eq!(balancer.get("/health/ready").await.status(), 200);
            balancer.kill_and_restart().await;
        }
        let mut before = connect(&balancer).await;
        hears(&mut before, "hello").await;
        balancer.reload_with(&file("db", 3307)).await;
        hears(&mut crate::stage::connect_at(&balancer, 3307).await, "hello").await;
        crate::stage::echoes(&mut before, "goes on").await;
        eventually("the port is closed", async || {
            TcpStream::connect((balancer.address, PORT)).await.is_err().then_some(())
        })
        .await;
        // What is wrong changes nothing.
        balancer.reload_with(&file("db", 8080)).await;
        let error = balancer.get_json("/status").await["file"]["error"].clone();
        assert!(
            error.as_str().expect("an error").contains("8080 is taken by the admin interface"),
            "{error}"
        );
        hears(&mut crate::stage::connect_at(&balancer, 3307).await, "hello").await;
    });
}

#[test]
fn another_program_takes_its_place_without_a_connection_refused() {
    in_network("ports::another_program_takes_its_place_without_a_connection_refused", async {
        let server = Server::echo("hello").await;
        let mut balancer = balancer_for(json!({}), json!({}), &[&server]).await;
        let done = Arc::new(AtomicBool::new(false));
        let address = balancer.address;
        let load = tokio::spawn({
            let done = done.clone();
            async move {
                let mut count = 0;
                while !done.load(Ordering::SeqCst) {
                    let mut client = TcpStream::connect((address, PORT)).await.expect("connected");
                    hears(&mut client, "hello").await;
                    client.shutdown().await.expect("ended");
                    assert_eq!(rest(&mut client).await.expect("an end"), b"");
                    count += 1;
                }
                count
            }
        });
        balancer.upgrade().await;
        hears(&mut connect(&balancer).await, "hello").await;
        done.store(true, Ordering::SeqCst);
        println!("{} connections", load.await.expect("every connection served"));
    });
}

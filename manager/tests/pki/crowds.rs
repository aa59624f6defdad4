//! Somebody opens as many connections as he can and says nothing: the manager has its descriptors for its machines, and
//! others are answered.

use std::io::{ErrorKind, Read};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::run::eventually;
use crate::stage::{Host, address, client, get};

/// More than a process may have descriptors, unless it is told otherwise.
const CROWD: usize = 1_100;

/// Connections to `to` from loopback address `from`, on which nothing is said.
fn crowd(from: IpAddr, to: SocketAddr) -> Vec<Socket> {
    let connect = |_| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::from((from, 0)).into()).expect("bound");
        socket.connect_timeout(&to.into(), Duration::from_secs(5)).ok()?;
        socket.set_nonblocking(true).expect("set");
        Some(socket)
    };
    (0..CROWD).filter_map(connect).collect()
}

/// How many of them the other end has not closed.
fn open(crowd: &mut [Socket]) -> usize {
    let is_open = |socket: &mut &mut Socket| {
        let mut bytes = [0; 1024];
        loop {
            match socket.read(&mut bytes) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
    };
    crowd.iter_mut().filter_map(|socket| is_open(&mut { socket }).then_some(())).count()
}

#[tokio::test]
async fn who_opens_a_thousand_connections_and_says_nothing_harms_nobody() {
    let host = Host::founder("a", 1);
    for port in [8080, 8443] {
        let mut crowd = crowd(address(99), SocketAddr::from((host.address, port)));
        assert!(crowd.len() > 64, "{} connections on port {port}", crowd.len());
        eventually("most of the crowd is sent away", || (open(&mut crowd) <= 64).then_some(()));
        assert!(host.descriptors() < 300, "{} descriptors are in use", host.descriptors());
        // Others are answered on both ports while the crowd is there.
        assert!(host.view().await.is_some(), "{}", host.logged());
        let answer = get(&client(&host.credentials()), &host.url("/cluster")).await.expect("an answer");
        assert_eq!(answer.status, 200);
        let log = eventually("it is said", || {
            Some(host.logged()).filter(|log| log.contains("at a time, and no more"))
        });
        // Once in a second, whatever the crowd does.
        assert!(log.matches("at a time, and no more").count() < 60, "{log}");
    }
}

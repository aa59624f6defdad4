//! Clients of the service.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use crate::PORT;

/// Whatever should be answered is answered by then.
const SOON: Duration = Duration::from_secs(15);

/// A connection, and the name of the server that it is at.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    pub(crate) server: String,
}

impl Client {
    /// Connects to `address`, whoever answers.
    pub(crate) fn connect(address: &str) -> std::io::Result<Self> {
        let address: IpAddr = address.parse().expect("an address");
        let mut stream = TcpStream::connect_timeout(&SocketAddr::new(address, PORT), Duration::from_secs(1))?;
        stream.set_read_timeout(Some(SOON))?;
        let mut name = [0; 2];
        stream.read_exact(&mut name)?;
        Ok(Client { stream, server: String::from_utf8_lossy(&name).into_owned() })
    }

    /// So many of them.
    pub(crate) fn many(count: usize, address: &str) -> Vec<Self> {
        (0..count).map(|_| Self::connect(address).expect("connected")).collect()
    }

    /// Whether what it says comes back.
    pub(crate) fn echoes(&mut self) -> bool {
        let mut heard = [0; 5];
        self.stream.write_all(b"hello").is_ok()
            && self.stream.read_exact(&mut heard).is_ok()
            && heard == *b"hello"
    }

    /// Asserts that it hears of a reset although it says nothing.
    pub(crate) fn is_reset(&mut self) {
        let error = self.stream.read_exact(&mut [0]).expect_err("a reset");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
    }
}

/// How many of them each server has.
pub(crate) fn spread(clients: &[Client]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    clients.iter().for_each(|client| *counts.entry(client.server.as_str()).or_default() += 1);
    counts
}

/// Asserts that `clients` are spread over so many servers, as evenly as can be.
pub(crate) fn is_even(clients: &[Client], servers: usize) {
    let counts = spread(clients);
    let (least, most) = (counts.values().min(), counts.values().max());
    let difference = most.zip(least).map_or(0, |(most, least)| most - least);
    assert!(counts.len() == servers && difference <= 1, "{counts:?}");
}

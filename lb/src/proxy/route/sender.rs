//! Who sent a request, and how.

use std::net::IpAddr;

use super::super::client::Client;
use super::super::client_stream::ClientStream;
use super::super::headers::Origin;

/// A client, as rules see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sender {
    /// Its address.
    pub(crate) address: IpAddr,
    /// Whether it speaks to us over TLS.
    pub(crate) secure: bool,
}

impl Sender {
    /// The client of a request.
    pub(crate) fn of(client: &Client) -> Self {
        match client {
            Client::Http1(stream) => Self::at(stream),
            Client::Http2(stream) => Self::described(stream.origin()),
        }
    }

    /// The client at the other end of a connection.
    pub(crate) fn at(stream: &ClientStream) -> Self {
        Sender { address: stream.peer(), secure: stream.is_secure() }
    }

    fn described(origin: &Origin) -> Self {
        Sender { address: origin.client, secure: origin.is_secure }
    }

    /// The scheme of what it asks for.
    pub(crate) fn scheme(self) -> &'static str {
        if self.secure { "https" } else { "http" }
    }
}

#[cfg(test)]
impl Sender {
    pub(crate) fn somebody() -> Self {
        Sender { address: [192, 0, 2, 7].into(), secure: false }
    }
}

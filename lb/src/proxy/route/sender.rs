//! Who sent a request, and how.

use std::net::IpAddr;

use super::super::client::Client;
use super::super::limits::hops::Told;

/// A client, as rules see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sender {
    /// Its address.
    pub(crate) address: IpAddr,
    /// Whether it speaks to us, or to the trusted proxy before us, over TLS.
    pub(crate) secure: bool,
}

impl Sender {
    /// The client of a request.
    pub(crate) fn of(client: &Client) -> Self {
        match client {
            Client::Http1(stream) => stream.sender(),
            Client::Http2(stream) => stream.sender(),
        }
    }

    /// The one who asks by `peer`, which may have told who that is; its own connection may be `secure`.
    pub(crate) fn behind(peer: IpAddr, secure: bool, told: Option<&Told>) -> Self {
        Sender {
            address: told.map_or(peer, |told| told.client),
            secure: told.and_then(|told| told.is_secure).unwrap_or(secure),
        }
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

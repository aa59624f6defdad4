//! Who sent a request, and how.

use std::net::IpAddr;

use super::super::client_stream::ClientStream;

/// A client, as rules see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sender {
    /// Its address.
    pub(crate) address: IpAddr,
    /// Whether it speaks to us over TLS.
    pub(crate) secure: bool,
}

impl Sender {
    /// The client at the other end of `client`.
    pub(crate) fn of(client: &ClientStream) -> Self {
        Sender { address: client.peer(), secure: client.is_secure() }
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

//! Why there was no connection: what is counted, and what is said in the log.

use std::io;

use rustls::{Error, PeerIncompatible};

/// Why a client that connected is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The handshake was not done in time.
    Timeout,
    /// The client closed the connection in midst of it.
    Closed,
    /// The address moved to another balancer in midst of it.
    Moved,
    /// Plain HTTP on a port for TLS.
    PlainHttp,
    /// TLS on a port for plain HTTP.
    TlsOnPlainPort,
    /// No certificate is for the name that was asked for.
    UnknownName,
    /// No version of TLS in common.
    Version,
    /// No cipher, key exchange or signature in common.
    NothingInCommon,
    /// No protocol in common (ALPN).
    Protocol,
    /// The client has to show a certificate and did not.
    NoClientCertificate,
    /// The client's certificate is not good.
    ClientCertificate,
    /// The client does not like what it was shown.
    Alert,
    /// What came is no TLS.
    Malformed,
    /// The header of the PROXY protocol was not there in time.
    ProxyTimeout,
    /// There is none, or it is not as it should be.
    ProxyMalformed,
    /// It comes from somebody who may not send one.
    ProxyUntrusted,
    /// An ACME server that has seen what it asked for: no failure, but there is nothing to serve either.
    AcmeChallenge,
    /// Something else.
    Other,
}

impl Failure {
    /// All of them, in the order of their numbers.
    pub(crate) const ALL: [Failure; 18] = [
        Failure::Timeout,
        Failure::Closed,
        Failure::Moved,
        Failure::PlainHttp,
        Failure::TlsOnPlainPort,
        Failure::UnknownName,
        Failure::Version,
        Failure::NothingInCommon,
        Failure::Protocol,
        Failure::NoClientCertificate,
        Failure::ClientCertificate,
        Failure::Alert,
        Failure::Malformed,
        Failure::ProxyTimeout,
        Failure::ProxyMalformed,
        Failure::ProxyUntrusted,
        Failure::AcmeChallenge,
        Failure::Other,
    ];

    /// Its name in metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Failure::Timeout => "timeout",
            Failure::Closed => "closed",
            Failure::Moved => "moved",
            Failure::PlainHttp => "plain_http",
            Failure::TlsOnPlainPort => "tls_on_plain_port",
            Failure::UnknownName => "unknown_name",
            Failure::Version => "version",
            Failure::NothingInCommon => "nothing_in_common",
            Failure::Protocol => "protocol",
            Failure::NoClientCertificate => "no_client_certificate",
            Failure::ClientCertificate => "client_certificate",
            Failure::Alert => "alert",
            Failure::Malformed => "malformed",
            Failure::ProxyTimeout => "proxy_timeout",
            Failure::ProxyMalformed => "proxy_malformed",
            Failure::ProxyUntrusted => "proxy_untrusted",
            Failure::AcmeChallenge => "acme_challenge",
            Failure::Other => "other",
        }
    }

    /// Why a handshake ended with `error`.
    pub(crate) fn of(error: &io::Error) -> Self {
        let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
            return match error.kind() {
                io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::ConnectionAborted => Failure::Closed,
                _ => Failure::Other,
            };
        };
        match error {
            Error::PeerIncompatible(
                PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
                | PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::SupportedVersionsExtensionRequired
                // Older versions have no such extension.
                | PeerIncompatible::SignatureAlgorithmsExtensionRequired
                | PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::Tls12NotOfferedOrEnabled,
            ) => Failure::Version,
            Error::PeerIncompatible(_) => Failure::NothingInCommon,
            Error::NoApplicationProtocol => Failure::Protocol,
            Error::NoCertificatesPresented => Failure::NoClientCertificate,
            Error::InvalidCertificate(_) | Error::InvalidCertRevocationList(_) => Failure::ClientCertificate,
            Error::AlertReceived(_) => Failure::Alert,
            Error::InvalidMessage(_)
            | Error::InappropriateMessage { .. }
            | Error::InappropriateHandshakeMessage { .. }
            | Error::PeerMisbehaved(_)
            | Error::DecryptError
            | Error::PeerSentOversizedRecord => Failure::Malformed,
            // The library has no word of its own for it.
            Error::General(text) if text.starts_with("no server certificate") => Failure::UnknownName,
            _ => Failure::Other,
        }
    }
}

//! Why there is no TLS with an upstream: what is counted, logged, and held against it.

use std::io;

use rustls::{AlertDescription, CertificateError, Error};

/// Why a handshake with an upstream failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TlsFailure {
    /// It was not done in time.
    TimedOut,
    /// The upstream closed or reset the connection in midst of it.
    Closed,
    /// Its certificate has expired.
    Expired,
    /// Its certificate is not valid yet.
    NotYetValid,
    /// Its certificate leads to no CA of the pool's.
    UnknownIssuer,
    /// Its certificate is for other names.
    WrongName,
    /// Its certificate is bad in another way.
    Certificate,
    /// It does not take our certificate, or wants one and there is none.
    OwnCertificate,
    /// It refused with another alert.
    Alert,
    /// No version, cipher or signature in common.
    NothingInCommon,
    /// It does not speak the pool's protocol (ALPN).
    Protocol,
    /// What it sent is no TLS.
    NoTls,
    /// Something else.
    Other,
}

impl TlsFailure {
    /// All of them, in the order of their numbers.
    pub(crate) const ALL: [TlsFailure; 13] = [
        TlsFailure::TimedOut,
        TlsFailure::Closed,
        TlsFailure::Expired,
        TlsFailure::NotYetValid,
        TlsFailure::UnknownIssuer,
        TlsFailure::WrongName,
        TlsFailure::Certificate,
        TlsFailure::OwnCertificate,
        TlsFailure::Alert,
        TlsFailure::NothingInCommon,
        TlsFailure::Protocol,
        TlsFailure::NoTls,
        TlsFailure::Other,
    ];

    /// Its name in metrics and logs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            TlsFailure::TimedOut => "tls_timeout",
            TlsFailure::Closed => "tls_closed",
            TlsFailure::Expired => "tls_expired",
            TlsFailure::NotYetValid => "tls_not_yet_valid",
            TlsFailure::UnknownIssuer => "tls_unknown_issuer",
            TlsFailure::WrongName => "tls_wrong_name",
            TlsFailure::Certificate => "tls_certificate",
            TlsFailure::OwnCertificate => "tls_own_certificate",
            TlsFailure::Alert => "tls_alert",
            TlsFailure::NothingInCommon => "tls_nothing_in_common",
            TlsFailure::Protocol => "tls_protocol",
            TlsFailure::NoTls => "tls_malformed",
            TlsFailure::Other => "tls",
        }
    }

    /// Whether the next connection would end the same way: it is no matter of load or chance.
    pub(crate) fn is_certain(self) -> bool {
        !matches!(self, TlsFailure::TimedOut | TlsFailure::Closed | TlsFailure::Other)
    }

    /// Why a handshake ended with `error`.
    pub(crate) fn of(error: &io::Error) -> Self {
        let Some(error) = inner(error) else {
            return match error.kind() {
                io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::ConnectionAborted => TlsFailure::Closed,
                _ => TlsFailure::Other,
            };
        };
        match error {
            Error::InvalidCertificate(why) => of_certificate(why),
            Error::AlertReceived(alert) => of_alert(*alert),
            Error::NoApplicationProtocol => TlsFailure::Protocol,
            Error::InvalidMessage(_)
            | Error::InappropriateMessage { .. }
            | Error::InappropriateHandshakeMessage { .. }
            | Error::PeerMisbehaved(_)
            | Error::DecryptError
            | Error::PeerSentOversizedRecord => TlsFailure::NoTls,
            Error::PeerIncompatible(_) => TlsFailure::NothingInCommon,
            _ => TlsFailure::Other,
        }
    }

    /// The failure that `error`, which came in place of an answer, tells of: since TLS 1.3 a client is done before its
    /// certificate was looked at (RFC 8446, section 4.4.2.4), and hears of it when it waits for an answer. The other end
    /// has read nothing of the request then.
    pub(crate) fn after_the_handshake(error: &io::Error) -> Option<Self> {
        match inner(error)? {
            Error::AlertReceived(alert) => {
                Some(of_alert(*alert)).filter(|failure| *failure == TlsFailure::OwnCertificate)
            }
            _ => None,
        }
    }
}

fn inner(error: &io::Error) -> Option<&Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}

fn of_certificate(why: &CertificateError) -> TlsFailure {
    match why {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => TlsFailure::Expired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            TlsFailure::NotYetValid
        }
        CertificateError::UnknownIssuer => TlsFailure::UnknownIssuer,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            TlsFailure::WrongName
        }
        _ => TlsFailure::Certificate,
    }
}

fn of_alert(alert: AlertDescription) -> TlsFailure {
    match alert {
        AlertDescription::CertificateRequired
        | AlertDescription::NoCertificate
        | AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnknownCA
        | AlertDescription::AccessDenied => TlsFailure::OwnCertificate,
        AlertDescription::ProtocolVersion | AlertDescription::InsufficientSecurity => {
            TlsFailure::NothingInCommon
        }
        AlertDescription::NoApplicationProtocol => TlsFailure::Protocol,
        _ => TlsFailure::Alert,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_has_its_own_place_and_name() {
        let names: std::collections::BTreeSet<_> =
            TlsFailure::ALL.iter().map(|failure| failure.name()).collect();
        assert_eq!(names.len(), TlsFailure::ALL.len());
        for (at, failure) in TlsFailure::ALL.iter().enumerate() {
            assert_eq!(*failure as usize, at);
        }
    }

    #[test]
    fn only_what_is_said_of_our_certificate_means_that_nothing_was_read() {
        let alert = |alert| io::Error::other(Error::AlertReceived(alert));
        let found = TlsFailure::after_the_handshake(&alert(AlertDescription::CertificateRequired));
        assert_eq!(found, Some(TlsFailure::OwnCertificate));
        for other in [
            alert(AlertDescription::InternalError),
            alert(AlertDescription::DecodeError),
            io::Error::from(io::ErrorKind::ConnectionReset),
        ] {
            assert_eq!(TlsFailure::after_the_handshake(&other), None, "{other}");
        }
    }
}

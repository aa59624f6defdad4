//! What an upstream is told of a client's certificate: `Client-Cert` (RFC 9440) has all of it, and
//! `X-Client-Cert-Subject` the name in it for those that do not read certificates. Whoever sends such header fields
//! to us is not believed: they are taken away from every request, on every listener.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use http::header::{HeaderMap, HeaderName};
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// A larger certificate does not fit the heads that usual servers take, in bytes.
pub(crate) const MAX_CERTIFICATE: usize = 8 << 10;

/// The longest subject that is passed on, in bytes.
const MAX_SUBJECT: usize = 2 << 10;

/// The certificate, as a sequence of bytes between colons (RFC 8941, section 3.3.5).
const CERTIFICATE: HeaderName = HeaderName::from_static("client-cert");
const SUBJECT: HeaderName = HeaderName::from_static("x-client-cert-subject");

/// A client's certificate that was found good, as upstreams are told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClientCertificate {
    certificate: HeaderValue,
    subject: HeaderValue,
}

impl ClientCertificate {
    /// What is said of `der`; none where it is too large to be said.
    pub(crate) fn of(der: &CertificateDer<'_>) -> Option<Self> {
        if der.len() > MAX_CERTIFICATE {
            return None;
        }
        let (_, parsed) = X509Certificate::from_der(der).ok()?;
        let subject = in_ascii(&parsed.subject().to_string());
        if subject.len() > MAX_SUBJECT {
            return None;
        }
        Some(ClientCertificate {
            certificate: HeaderValue::try_from(format!(":{}:", STANDARD.encode(der))).ok()?,
            subject: HeaderValue::try_from(subject).ok()?,
        })
    }

    /// The header fields that say it.
    pub(crate) fn fields(&self) -> [(HeaderName, HeaderValue); 2] {
        [(CERTIFICATE, self.certificate.clone()), (SUBJECT, self.subject.clone())]
    }
}

/// The header fields among `headers` that speak of certificates. Many servers take `_` for `-`.
pub(crate) fn forged(headers: &HeaderMap) -> Vec<HeaderName> {
    headers.keys().filter(|name| speaks_of_certificates(name.as_str().as_bytes())).cloned().collect()
}

/// Whether a field of this name does.
pub(crate) fn speaks_of_certificates(name: &[u8]) -> bool {
    let alike = |name: &[u8], other: &[u8]| {
        name.len() == other.len() && name.iter().zip(other).all(|(&a, &b)| a == b || (a == b'_' && b == b'-'))
    };
    let begins = |prefix: &[u8]| name.get(..prefix.len()).is_some_and(|start| alike(start, prefix));
    begins(b"x-client-cert") || alike(name, b"client-cert") || alike(name, b"client-cert-chain")
}

/// `text` with all that a header field had better not have written as `%` and two digits.
fn in_ascii(text: &str) -> String {
    use std::fmt::Write as _;
    let mut written = String::with_capacity(text.len());
    for &byte in text.as_bytes() {
        if matches!(byte, b' '..=b'~') && byte != b'%' {
            written.push(char::from(byte));
        } else {
            let _ = write!(written, "%{byte:02X}");
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    #[test]
    fn whatever_looks_like_it_is_taken_away_and_nothing_else() {
        let mut headers = HeaderMap::new();
        let forgeries =
            ["client-cert", "client-cert_chain", "client_cert", "x-client-cert-subject", "x_client-cert-x"];
        for name in
            forgeries.iter().chain(&["client-certs", "client-ip", "x-client", "x-client-cer", "cookie"])
        {
            headers.insert(
                HeaderName::from_bytes(name.as_bytes()).expect("name"),
                HeaderValue::from_static("x"),
            );
        }
        let mut found: Vec<_> = forged(&headers).iter().map(ToString::to_string).collect();
        found.sort();
        assert_eq!(found, forgeries);
    }

    #[test]
    fn a_subject_cannot_end_its_line_whatever_is_in_it() {
        let key = KeyPair::generate().expect("key");
        let mut params = CertificateParams::new(Vec::new()).expect("params");
        params.distinguished_name.push(DnType::CommonName, "Zoë\r\nX-Admin: 100%");
        let signed = params.self_signed(&key).expect("signed");
        let told = ClientCertificate::of(signed.der()).expect("told");
        let [(_, certificate), (_, subject)] = told.fields();
        let subject = subject.to_str().expect("ASCII");
        assert!(subject.contains("CN=Zo%C3%AB%0D%0AX-Admin: 100%25"), "{subject}");
        let encoded = certificate.to_str().expect("ASCII").trim_matches(':').to_owned();
        assert_eq!(STANDARD.decode(encoded).expect("base64"), signed.der().to_vec());
    }
}

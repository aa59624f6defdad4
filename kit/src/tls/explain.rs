//! What is wrong with the other end of a TLS connection, in words.

use std::error::Error;

use rustls::{AlertDescription, CertificateError};

/// What `error`, or one of its causes, says about TLS; none when TLS is not at fault.
pub fn explain(error: &(dyn Error + 'static)) -> Option<String> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return Some(in_words(tls));
        }
        // An io::Error has what it wraps not as its cause.
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        cause = match wrapped {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    None
}

fn in_words(error: &rustls::Error) -> String {
    use AlertDescription as Alert;
    match error {
        rustls::Error::InvalidCertificate(certificate) => found(certificate),
        rustls::Error::NoCertificatesPresented => "it has shown no certificate of this cluster".to_owned(),
        rustls::Error::AlertReceived(Alert::CertificateRequired) => {
            "it wants a certificate of this cluster, and none was shown: run `manager init` or `manager join` on this \
             host"
                .to_owned()
        }
        rustls::Error::AlertReceived(Alert::CertificateRevoked) => {
            "it says that this host has been revoked: to let it in again, remove `pki` from this host's state_dir and \
             run `manager join` with a new token"
                .to_owned()
        }
        rustls::Error::AlertReceived(Alert::UnknownCA) => {
            "it says that this host's certificate is not of its cluster: this host belongs to another CA".to_owned()
        }
        rustls::Error::AlertReceived(Alert::CertificateExpired) => {
            "it says that this host's certificate has expired or is not valid yet: compare the clocks of both hosts"
                .to_owned()
        }
        rustls::Error::AlertReceived(
            Alert::BadCertificate | Alert::CertificateUnknown | Alert::UnsupportedCertificate,
        ) => {
            "it does not accept this host's certificate: its log says why".to_owned()
        }
        rustls::Error::AlertReceived(alert) => format!("it ended the handshake: {alert:?}"),
        rustls::Error::InvalidMessage(_) => "it does not speak TLS on this port: has it joined the cluster, and is this its tls_port?".to_owned(),
        other => other.to_string(),
    }
}

fn found(error: &CertificateError) -> String {
    match error {
        CertificateError::Revoked => "its certificate is of a host that has been revoked".to_owned(),
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "its certificate is of another CA than this cluster's".to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            format!("its certificate has expired: compare the clocks of both hosts ({error})")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            format!("its certificate is not valid yet: compare the clocks of both hosts ({error})")
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("its certificate is for another address ({error})")
        }
        // A private type of webpki's: its name is all that can be seen of it.
        CertificateError::Other(other) if format!("{other:?}").contains("NameConstraintViolation") => {
            "its certificate is for an address that its host must not certify: one outside of its pool"
                .to_owned()
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "its certificate is not for this purpose: a balancer's is no manager's".to_owned()
        }
        other => format!("its certificate is not acceptable: {other}"),
    }
}

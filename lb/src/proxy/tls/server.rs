//! What a listener's TLS looks like to rustls.

use std::sync::Arc;

use ring::digest;
use rustls::crypto::CryptoProvider;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};

use super::resolver::Resolver;
use super::tickets::Ticketer;
use super::{ACME, Tls};
use crate::settings::{ClientCertificates, ListenerTls, TlsVersion};

/// Since TLS 1.3 a server gives as many tickets as it likes; a browser opens a few connections at once, and each
/// ticket is for one (RFC 8446, appendix C.4).
const TICKETS: usize = 2;

/// The TLS of a listener with these settings.
///
/// # Errors
///
/// When its list of CAs cannot be used.
pub(super) fn config(settings: &ListenerTls, tls: &Tls) -> anyhow::Result<Arc<ServerConfig>> {
    let verifier = verifier(&settings.client_certificates, &tls.provider)?;
    let mut config = ServerConfig::builder_with_provider(tls.provider.clone())
        .with_protocol_versions(versions(settings.min_version))?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(Resolver {
            certificates: tls.certificates.clone(),
            challenges: tls.challenges.clone(),
            refuse_unknown_names: settings.refuse_unknown_names,
        }));
    let spoken = settings.alpn.iter().map(|protocol| protocol.id());
    config.alpn_protocols = spoken.chain([ACME]).map(<[u8]>::to_vec).collect();
    // All that is known of a session is in its ticket: nothing of it is kept here.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = Arc::new(Ticketer::new(tls.tickets.clone(), policy(&settings.client_certificates)));
    config.send_tls13_tickets = TICKETS;
    Ok(Arc::new(config))
}

static FROM_TLS12: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];

fn versions(min: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    match min {
        TlsVersion::Tls12 => &FROM_TLS12,
        TlsVersion::Tls13 => &FROM_TLS12[..1],
    }
}

fn verifier(
    clients: &ClientCertificates,
    provider: &Arc<CryptoProvider>,
) -> anyhow::Result<Arc<dyn ClientCertVerifier>> {
    let (cas, is_required) = match clients {
        ClientCertificates::Off => return Ok(Arc::new(NoClientAuth)),
        ClientCertificates::Optional(cas) => (cas, false),
        ClientCertificates::Required(cas) => (cas, true),
    };
    let mut roots = RootCertStore::empty();
    for ca in cas {
        roots.add(ca.clone())?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    Ok(if is_required { builder } else { builder.allow_unauthenticated() }.build()?)
}

/// What is asked of clients, as a digest: a session resumes only where the same is asked.
fn policy(clients: &ClientCertificates) -> [u8; 32] {
    let (kind, cas) = match clients {
        ClientCertificates::Off => (0u8, &[][..]),
        ClientCertificates::Optional(cas) => (1, &cas[..]),
        ClientCertificates::Required(cas) => (2, &cas[..]),
    };
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(&[kind]);
    for ca in cas {
        // Of each by itself, so that it is told where one ends.
        context.update(digest::digest(&digest::SHA256, ca).as_ref());
    }
    let mut policy = [0; 32];
    policy.copy_from_slice(context.finish().as_ref());
    policy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_of_clients_tells_policies_apart() {
        let ca = |byte: u8| rustls::pki_types::CertificateDer::from(vec![byte; 3]);
        let all = [
            ClientCertificates::Off,
            ClientCertificates::Optional(vec![ca(1)]),
            ClientCertificates::Required(vec![ca(1)]),
            ClientCertificates::Required(vec![ca(2)]),
            ClientCertificates::Required(vec![ca(1), ca(2)]),
        ];
        let policies: std::collections::BTreeSet<_> = all.iter().map(policy).collect();
        assert_eq!(policies.len(), all.len());
    }
}

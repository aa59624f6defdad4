//! Whether a certificate can be shown: the same questions as the balancer's, asked before it is told, for a balancer
//! refuses a configuration as a whole.

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use wire::certificates::Certificate;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

/// The most certificates in a chain.
const MAX_CHAIN: usize = 10;

/// The most names of a certificate.
const MAX_NAMES: usize = 1_000;

/// What is known of a certificate that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// The host names it is for, in small letters and in their order.
    pub(super) names: Vec<String>,
    /// When it begins to be good, in seconds since 1970-01-01 UTC.
    pub(super) not_before: i64,
    /// When it ends to be.
    pub(super) not_after: i64,
}

/// Looks at `certificate`.
///
/// # Errors
///
/// Says what is expected instead, with nothing of the key in it.
pub(super) fn look(certificate: &Certificate) -> Result<Facts, String> {
    let chain = CertificateDer::pem_slice_iter(certificate.chain.as_bytes())
        .take(MAX_CHAIN + 1)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| "expected certificates as PEM: it is damaged".to_owned())?;
    if chain.len() > MAX_CHAIN {
        return Err(format!("expected at most {MAX_CHAIN} certificates in a chain"));
    }
    let mut leaf = None;
    for der in &chain {
        let (_, parsed) = X509Certificate::from_der(der)
            .map_err(|error| format!("expected X.509 certificates: {error}"))?;
        if leaf.is_none() {
            leaf = Some((facts_of(&parsed)?, parsed.public_key().raw.to_vec()));
        }
    }
    let (facts, public_key) = leaf.ok_or("expected certificates as PEM, found none")?;
    // What the library says may show some of the key.
    let key = PrivateKeyDer::from_pem_slice(certificate.key.0.as_bytes())
        .map_err(|_| "expected a private key as PEM that is not encrypted".to_owned())?;
    let key = kit::tls::provider()
        .key_provider
        .load_private_key(key)
        .map_err(|error| format!("the key cannot be used: {error}"))?;
    if key.public_key().is_some_and(|of_key| of_key.as_ref() != public_key) {
        return Err("the key is not that of the first certificate".to_owned());
    }
    Ok(facts)
}

fn facts_of(leaf: &X509Certificate<'_>) -> Result<Facts, String> {
    let alternative =
        leaf.subject_alternative_name().map_err(|error| format!("its names cannot be read: {error}"))?;
    let mut names: Vec<String> = alternative
        .iter()
        .flat_map(|extension| &extension.value.general_names)
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.trim_end_matches('.').to_ascii_lowercase()),
            _ => None,
        })
        .collect();
    names.sort();
    names.dedup();
    if names.len() > MAX_NAMES {
        return Err(format!("expected a certificate for at most {MAX_NAMES} names"));
    }
    let (not_before, not_after) = (leaf.validity().not_before, leaf.validity().not_after);
    Ok(Facts { names, not_before: not_before.timestamp(), not_after: not_after.timestamp() })
}

#[cfg(test)]
pub(super) mod tests {
    use rcgen::{CertificateParams, KeyPair};
    use wire::balancing::Secret;

    use super::*;

    /// A certificate for these names, signed by itself, good for 30 days.
    pub(crate) fn made(names: &[&str]) -> Certificate {
        let key = KeyPair::generate().expect("a key");
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.not_before = time::OffsetDateTime::now_utc() - time::Duration::hours(1);
        params.not_after = params.not_before + time::Duration::days(30);
        let signed = params.self_signed(&key).expect("signed");
        Certificate { chain: signed.pem(), key: Secret(key.serialize_pem()), ocsp: None }
    }

    #[test]
    fn what_a_balancer_would_refuse_is_refused_here_without_the_key_in_it() {
        let good = made(&["B.example", "a.example"]);
        let facts = look(&good).expect("usable");
        assert_eq!(facts.names, ["a.example", "b.example"]);
        assert_eq!(facts.not_after - facts.not_before, 30 * 86_400);
        let key = |key: &str| Certificate { key: Secret(key.to_owned()), ..good.clone() };
        let chain = |chain: &str| Certificate { chain: chain.to_owned(), ..good.clone() };
        for (wrong, expected) in [
            (chain(""), "expected certificates as PEM, found none"),
            (chain("-----BEGIN CERTIFICATE-----\nAA"), "expected certificates as PEM: it is damaged"),
            (
                chain("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
                "expected X.509 certificates",
            ),
            (chain(&good.chain.repeat(MAX_CHAIN + 1)), "expected at most 10"),
            (key("secret words"), "expected a private key as PEM"),
            (key(&made(&["c.example"]).key.0), "the key is not that of the first certificate"),
        ] {
            let error = look(&wrong).expect_err(expected);
            assert!(error.starts_with(expected) && !error.contains("secret words"), "{error}");
        }
        assert!(look(&chain(&good.chain.repeat(MAX_CHAIN))).is_ok(), "at the limit");
    }
}

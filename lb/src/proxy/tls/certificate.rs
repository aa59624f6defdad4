//! One certificate with its key, looked at before it is shown to anybody.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use thiserror::Error as ThisError;
use wire::certificates::Certificate;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::ocsp::{self, Staple};

/// The most certificates in a chain: they are sent in every full handshake.
const MAX_CHAIN: usize = 10;

/// The most names of a certificate.
const MAX_NAMES: usize = 1_000;

/// A response of the issuer's is not shown any more so long before clients stop to believe it: their clocks differ.
const STAPLE_MARGIN: Duration = Duration::from_secs(60);

/// Which part of a certificate cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Chain,
    Key,
    Ocsp,
}

impl Part {
    /// As it is called where it is written.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Part::Chain => "chain",
            Part::Key => "key",
            Part::Ocsp => "ocsp",
        }
    }
}

/// Why a certificate cannot be used. What it says never has anything of the key in it.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
#[error("{message}")]
pub(crate) struct Unusable {
    pub(crate) part: Part,
    pub(crate) message: String,
}

impl Unusable {
    fn new(part: Part, message: impl Into<String>) -> Self {
        Unusable { part, message: message.into() }
    }
}

/// A certificate that can be shown.
#[derive(Debug)]
pub(crate) struct Usable {
    /// The names it is for, in small letters; `*.example.org` is every name right below `example.org`.
    pub(crate) names: BTreeSet<String>,
    /// It is good until then.
    pub(crate) not_after: SystemTime,
    not_before: SystemTime,
    plain: Arc<CertifiedKey>,
    stapled: Option<(Staple, Arc<CertifiedKey>)>,
    out_of_order: bool,
}

impl Usable {
    /// Looks at `certificate`.
    ///
    /// # Errors
    ///
    /// Says which part cannot be used, and what is expected.
    pub(crate) fn read(certificate: &Certificate, provider: &CryptoProvider) -> Result<Self, Unusable> {
        let chain = chain(&certificate.chain)?;
        let parsed = chain.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        let Some(leaf) = parsed.first() else {
            return Err(Unusable::new(Part::Chain, "expected a certificate, found none"));
        };
        let names = names(leaf)?;
        let out_of_order = parsed.windows(2).any(|pair| pair[0].issuer() != pair[1].subject());
        let (not_before, not_after) = (leaf.validity().not_before, leaf.validity().not_after);
        let staple = certificate.ocsp.as_deref().map(|text| ocsp::read(text, leaf.raw_serial()));
        let staple = staple.transpose().map_err(|message| Unusable::new(Part::Ocsp, message))?;
        let public_key = leaf.public_key().raw.to_vec();
        drop(parsed);
        let key = provider
            .key_provider
            .load_private_key(key(&certificate.key.0)?)
            .map_err(|error| Unusable::new(Part::Key, format!("the key cannot be used: {error}")))?;
        // What rustls itself would compare; but it refuses a certificate for an ACME server to look at, whose
        // extension is critical and means nothing to it (RFC 8737, section 3).
        if key.public_key().is_some_and(|of_key| of_key.as_ref() != public_key) {
            let message = "the key is not that of the first certificate of the chain";
            return Err(Unusable::new(Part::Key, message));
        }
        let plain = CertifiedKey::new(chain, key);
        let stapled = staple.map(|staple| {
            let key = CertifiedKey { ocsp: Some(staple.der.clone()), ..plain.clone() };
            (staple, Arc::new(key))
        });
        Ok(Usable {
            names,
            not_after: time(not_after.timestamp()),
            not_before: time(not_before.timestamp()),
            plain: Arc::new(plain),
            stapled,
            out_of_order,
        })
    }

    /// What is shown to clients at `now`.
    pub(crate) fn shown(&self, now: SystemTime) -> Arc<CertifiedKey> {
        match &self.stapled {
            Some((staple, key)) if staple.is_fresh(now, STAPLE_MARGIN) => key.clone(),
            _ => self.plain.clone(),
        }
    }

    /// What a person had better know of it.
    pub(crate) fn warnings(&self, now: SystemTime) -> Vec<&'static str> {
        let stale = self.stapled.as_ref().is_some_and(|(staple, _)| !staple.is_fresh(now, STAPLE_MARGIN));
        [
            (now >= self.not_after, "it has expired: clients will refuse it"),
            (now < self.not_before, "it is not valid yet: clients will refuse it"),
            (self.names.is_empty(), "it is for no host name: only clients that ask for none are shown it"),
            (
                self.out_of_order,
                "its chain is not in order, each one before its issuer: some clients will refuse it",
            ),
            (stale, "its OCSP response is too old and is not shown: give a newer one"),
        ]
        .into_iter()
        .filter_map(|(is_so, warning)| is_so.then_some(warning))
        .collect()
    }
}

fn chain(text: &str) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let chain = CertificateDer::pem_slice_iter(text.as_bytes())
        .take(MAX_CHAIN + 1)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| {
            Unusable::new(Part::Chain, format!("expected certificates as PEM: {}", in_words(&error)))
        })?;
    match chain.len() {
        0 => Err(Unusable::new(Part::Chain, "expected certificates as PEM, found none")),
        1..=MAX_CHAIN => Ok(chain),
        _ => Err(Unusable::new(Part::Chain, format!("expected at most {MAX_CHAIN} certificates"))),
    }
}

fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, Unusable> {
    match X509Certificate::from_der(der) {
        Ok((_, parsed)) => Ok(parsed),
        Err(error) => Err(Unusable::new(Part::Chain, format!("expected X.509 certificates: {error}"))),
    }
}

fn names(leaf: &X509Certificate<'_>) -> Result<BTreeSet<String>, Unusable> {
    let alternative = leaf
        .subject_alternative_name()
        .map_err(|error| Unusable::new(Part::Chain, format!("its names cannot be read: {error}")))?;
    let names: BTreeSet<String> = alternative
        .iter()
        .flat_map(|extension| &extension.value.general_names)
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.trim_end_matches('.').to_ascii_lowercase()),
            _ => None,
        })
        .collect();
    if names.len() > MAX_NAMES {
        return Err(Unusable::new(
            Part::Chain,
            format!("expected a certificate for at most {MAX_NAMES} names"),
        ));
    }
    Ok(names)
}

fn key(text: &str) -> Result<PrivateKeyDer<'static>, Unusable> {
    PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|error| {
        let message = match error {
            pem::Error::NoItemsFound if text.contains("ENCRYPTED") => {
                "the key is encrypted: `openssl pkey -in KEY -out NEW` takes the password away".to_owned()
            }
            // What else it says may show some of the key.
            pem::Error::NoItemsFound => "expected a private key as PEM, found none".to_owned(),
            _ => "expected a private key as PEM: it is damaged".to_owned(),
        };
        Unusable::new(Part::Key, message)
    })
}

/// The library's words have bytes as numbers in them.
fn in_words(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a line -----END …----- is missing",
        pem::Error::IllegalSectionStart { .. } => "a line -----BEGIN …----- is damaged",
        pem::Error::Base64Decode(_) => "the lines between are no base64",
        _ => "it is damaged",
    }
}

fn time(seconds: i64) -> SystemTime {
    match u64::try_from(seconds) {
        Ok(seconds) => UNIX_EPOCH + Duration::from_secs(seconds),
        Err(_) => UNIX_EPOCH,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use rcgen::{CertificateParams, KeyPair};
    use wire::balancing::Secret;

    use super::*;

    /// A certificate for these names, signed by itself.
    pub(crate) fn made(names: &[&str]) -> Certificate {
        let key = KeyPair::generate().expect("key");
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let signed = CertificateParams::new(names).expect("names").self_signed(&key).expect("signed");
        Certificate { chain: signed.pem(), key: Secret(key.serialize_pem()), ocsp: None }
    }

    pub(crate) fn read(certificate: &Certificate) -> Result<Usable, Unusable> {
        Usable::read(certificate, &kit::tls::provider())
    }

    #[test]
    fn what_cannot_be_used_is_refused_by_part_and_without_the_key_in_it() {
        let good = made(&["a.example"]);
        let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        let cut = good.chain.replace("-----END CERTIFICATE-----", "");
        let no_certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let key = |key: &str| Certificate { key: Secret(key.to_owned()), ..good.clone() };
        let chain = |chain: &str| Certificate { chain: chain.to_owned(), ..good.clone() };
        for (wrong, part, expected) in [
            (chain(""), Part::Chain, "expected certificates as PEM, found none"),
            (chain(&cut), Part::Chain, "expected certificates as PEM: a line -----END"),
            (chain(no_certificate), Part::Chain, "expected X.509 certificates"),
            (chain(&good.chain.repeat(MAX_CHAIN + 1)), Part::Chain, "expected at most 10"),
            (key(""), Part::Key, "expected a private key as PEM, found none"),
            (key(encrypted), Part::Key, "the key is encrypted"),
            (key(&made(&["b.example"]).key.0), Part::Key, "the key is not that of the first certificate"),
            (
                Certificate { ocsp: Some("AAAA".to_owned()), ..good.clone() },
                Part::Ocsp,
                "expected an OCSP response",
            ),
        ] {
            let error = read(&wrong).expect_err(expected);
            assert_eq!(error.part, part, "{error}");
            assert!(error.message.starts_with(expected), "{error}");
        }
        let longest = chain(&good.chain.repeat(MAX_CHAIN));
        assert!(read(&longest).is_ok(), "at the limit");
    }

    #[test]
    fn times_and_order_are_warned_of() {
        let usable = read(&made(&["A.Example", "*.b.example"])).expect("usable");
        assert_eq!(usable.names.iter().collect::<Vec<_>>(), ["*.b.example", "a.example"]);
        assert_eq!(usable.warnings(SystemTime::now()), [""; 0]);
        assert!(usable.warnings(usable.not_after)[0].starts_with("it has expired"));
        assert!(usable.warnings(UNIX_EPOCH)[0].starts_with("it is not valid yet"));
        let (one, other) = (made(&[]), made(&["x.example"]));
        let mixed = Certificate { chain: format!("{}{}", one.chain, other.chain), ..one };
        // Both are called the same by who made them, so their order cannot be told.
        assert!(
            read(&mixed).expect("usable").warnings(SystemTime::now())[0]
                .starts_with("it is for no host name")
        );
    }
}

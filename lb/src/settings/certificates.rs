//! `[[config.certificates]]` in the settings' file: as a configuration that is pushed has them, and their parts may
//! also be in files of their own.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kit::config::{ConfigError, MAX_PEM, Source, Spanned, as_pem, read_file};
use serde::Deserialize;
use wire::balancing::Secret;
use wire::certificates::Certificate;

use crate::proxy::tls::certificate::{Part, Usable};
use crate::proxy::tls::{MAX_CERTIFICATES, MAX_TICKET_KEYS, check_ticket_key};

/// One certificate; each part is a text, or in a file.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct CertificateFile {
    /// The certificate itself and then those that lead to a root that clients know, as PEM.
    #[serde(default)]
    chain: Option<Spanned<String>>,
    /// The file it is in.
    #[serde(default)]
    chain_file: Option<Spanned<PathBuf>>,
    /// Its private key, as PEM: PKCS #8, PKCS #1 or SEC 1, not encrypted.
    #[serde(default)]
    key: Option<Spanned<Secret>>,
    /// The file it is in.
    #[serde(default)]
    key_file: Option<Spanned<PathBuf>>,
    /// What its issuer says of it (an OCSP response, RFC 6960), in base64.
    #[serde(default)]
    ocsp: Option<Spanned<String>>,
    /// The file it is in, in base64 or as bytes.
    #[serde(default)]
    ocsp_file: Option<Spanned<PathBuf>>,
}

/// A part's content, and the place where it or its file is written.
struct Written<T> {
    content: T,
    place: std::ops::Range<usize>,
    file: Option<PathBuf>,
}

/// The certificates with what their files contain, and whether the keys can be used: here and not with the rest, as the
/// lines that errors show there would be those of the keys.
pub(super) fn check(
    source: &Source,
    certificates: Vec<Spanned<CertificateFile>>,
    ticket_keys: &[Secret],
) -> Result<Vec<Certificate>, ConfigError> {
    if let Some(beyond) = certificates.get(MAX_CERTIFICATES) {
        let message = format!("expected at most {MAX_CERTIFICATES} certificates");
        return Err(source.error_at(Some(beyond.span()), &message));
    }
    if ticket_keys.len() > MAX_TICKET_KEYS {
        let message =
            format!("config.ticket_keys: expected at most {MAX_TICKET_KEYS}, found {}", ticket_keys.len());
        return Err(source.error_at(None, &message));
    }
    for (index, key) in ticket_keys.iter().enumerate() {
        check_ticket_key(key)
            .map_err(|expected| source.error_at(None, &format!("config.ticket_keys[{index}]: {expected}")))?;
    }
    certificates.into_iter().map(|file| CertificateFile::check(file, source)).collect()
}

impl CertificateFile {
    fn check(file: Spanned<Self>, source: &Source) -> Result<Certificate, ConfigError> {
        let whole = file.span();
        let CertificateFile { chain, chain_file, key, key_file, ocsp, ocsp_file } = file.into_inner();
        let missing = |name: &str| {
            source.error_at(Some(whole.clone()), &format!("expected either `{name}` or `{name}_file`"))
        };
        let chain = written(source, "chain", chain, chain_file, as_pem)?.ok_or_else(|| missing("chain"))?;
        let key = key.map(|key| Spanned::new(key.span(), key.into_inner().0));
        let key = written(source, "key", key, key_file, as_pem)?.ok_or_else(|| missing("key"))?;
        let ocsp = written(source, "ocsp", ocsp, ocsp_file, |bytes| Ok(as_base64(&bytes)))?;
        let places = [
            (Part::Chain, chain.place.clone(), chain.file.clone()),
            (Part::Key, key.place.clone(), key.file.clone()),
            (
                Part::Ocsp,
                ocsp.as_ref().map_or(whole, |ocsp| ocsp.place.clone()),
                ocsp.as_ref().and_then(|ocsp| ocsp.file.clone()),
            ),
        ];
        let certificate = Certificate {
            chain: chain.content,
            key: Secret(key.content),
            ocsp: ocsp.map(|ocsp| ocsp.content),
        };
        match Usable::read(&certificate, &kit::tls::provider()) {
            Ok(_) => Ok(certificate),
            Err(unusable) => {
                let place = places.into_iter().find(|(part, ..)| *part == unusable.part);
                let (_, span, file) = place.map_or((unusable.part, 0..0, None), |place| place);
                Err(match file {
                    Some(file) => source.error_at(Some(span), &format!("{}: {unusable}", file.display())),
                    // Without its place: the line would show the key.
                    None if unusable.part == Part::Key => {
                        source.error_at(None, &format!("config.certificates: key: {unusable}"))
                    }
                    None => source.error_at(Some(span), &unusable.message),
                })
            }
        }
    }
}

/// What is in `text` or in the file.
fn written(
    source: &Source,
    name: &str,
    text: Option<Spanned<String>>,
    file: Option<Spanned<PathBuf>>,
    read: impl FnOnce(Vec<u8>) -> Result<String, String>,
) -> Result<Option<Written<String>>, ConfigError> {
    match (text, file) {
        (None, None) => Ok(None),
        (Some(text), None) => {
            Ok(Some(Written { place: text.span(), content: text.into_inner(), file: None }))
        }
        (None, Some(file)) => {
            let place = file.span();
            let path = file.into_inner();
            let wrong = |what: &dyn std::fmt::Display| {
                source.error_at(Some(place.clone()), &format!("{}: {what}", path.display()))
            };
            let bytes = read_file(&path, MAX_PEM).map_err(|error| wrong(&error))?;
            let content = read(bytes).map_err(|error| wrong(&error))?;
            Ok(Some(Written { content, place, file: Some(path) }))
        }
        (Some(_), Some(file)) => {
            let message = format!("expected either `{name}` or `{name}_file`, found both");
            Err(source.error_at(Some(file.span()), &message))
        }
    }
}

/// `openssl ocsp -respout` writes bytes; others write them as base64.
fn as_base64(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.starts_with('0') => text.to_owned(),
        _ => STANDARD.encode(bytes),
    }
}

//! The `[acme]` part of the configuration: certificates that the cluster gets itself (RFC 8555).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use kit::config::{ConfigError, Source, Spanned};
use serde::Deserialize;

use super::listener::{Asked, Listener};

/// The most certificates.
const MAX_CERTIFICATES: usize = 100;

/// The most names of one, as public servers have it.
const MAX_NAMES: usize = 100;

/// The longest host name, and the longest part of one (RFC 1035, section 2.3.4).
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

/// From whom, for what, and how it is proved that the names are ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acme {
    /// The server's directory.
    pub directory: String,
    /// Whom the server may write to, as URLs.
    pub contact: Vec<String>,
    /// How the names are proved.
    pub challenge: Challenge,
    /// The CAs that the server's own certificate is believed by; none: those of the system.
    pub ca_file: Option<PathBuf>,
    /// Who we are to a server that knows its customers.
    pub external_account: Option<ExternalAccount>,
    /// The names of each certificate, in small letters; the first name first.
    pub certificates: Vec<Vec<String>>,
}

/// How it is proved that a name is ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, serde::Serialize))]
pub enum Challenge {
    /// By an answer to a plain request (RFC 8555, section 8.3).
    #[default]
    #[serde(rename = "http-01")]
    Http01,
    /// By a certificate in a handshake (RFC 8737).
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
}

/// An account that was made elsewhere (RFC 8555, section 7.3.4).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ExternalAccount {
    /// Its name.
    pub id: String,
    /// The absolute path of the file with its key, in base64url.
    pub key_file: PathBuf,
}

/// Certificates that the cluster gets itself from an ACME server (RFC 8555).
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct AcmeFile {
    /// The server's directory, a URL of https.
    directory: Spanned<String>,
    /// Whom the server may write to, as URLs such as `mailto:someone@example.org`.
    #[serde(default)]
    contact: Vec<Spanned<String>>,
    /// That the terms of the server's service were read: has to be `true`.
    #[serde(default)]
    #[cfg_attr(test, schemars(extend("default" = false)))]
    terms_of_service_agreed: Option<Spanned<bool>>,
    /// How it is proved that the names are ours.
    #[serde(default)]
    #[cfg_attr(test, schemars(extend("default" = Challenge::default())))]
    challenge: Option<Spanned<Challenge>>,
    /// The absolute path of the CAs that the server's own certificate is believed by; without it those of the system.
    #[serde(default)]
    ca_file: Option<Spanned<PathBuf>>,
    /// Who we are to a server that knows its customers.
    #[serde(default)]
    external_account: Option<Spanned<ExternalAccount>>,
    /// The names of each certificate, the first name first: 1 to 100 lists of 1 to 100 names.
    certificates: Spanned<Vec<Spanned<Vec<Spanned<String>>>>>,
}

impl AcmeFile {
    pub(super) fn check(self, source: &Source, listeners: &[Listener]) -> Result<Acme, ConfigError> {
        let AcmeFile {
            directory,
            contact,
            terms_of_service_agreed,
            challenge,
            ca_file,
            external_account,
            certificates,
        } = self;
        let wrong = |at: std::ops::Range<usize>, message: &str| Err(source.error_at(Some(at), message));
        if !directory.as_ref().starts_with("https://") {
            return wrong(directory.span(), "expected a URL that begins with https://");
        }
        if !terms_of_service_agreed.as_ref().is_some_and(|agreed| *agreed.as_ref()) {
            let span = terms_of_service_agreed.map_or(directory.span(), |agreed| agreed.span());
            let message = "read the terms of the server's service, and say `terms_of_service_agreed = true`";
            return wrong(span, message);
        }
        if let Some(bare) = contact.iter().find(|contact| !contact.as_ref().contains(':')) {
            return wrong(bare.span(), "expected a URL, such as \"mailto:someone@example.org\"");
        }
        let files = [ca_file.as_ref().map(|file| (file.span(), file.as_ref().as_path()))]
            .into_iter()
            .chain([external_account.as_ref().map(|file| (file.span(), file.as_ref().key_file.as_path()))]);
        for (span, file) in files.flatten() {
            if !Path::is_absolute(file) {
                return wrong(span, "expected a path that begins with /");
            }
        }
        let (challenge_span, challenge) = challenge
            .map_or((directory.span(), Challenge::default()), |given| (given.span(), given.into_inner()));
        if let Err(message) = can_be_proved(challenge, listeners) {
            return wrong(challenge_span, message);
        }
        let span = certificates.span();
        let certificates = certificates.into_inner();
        if !(1..=MAX_CERTIFICATES).contains(&certificates.len()) {
            return wrong(span, &format!("expected 1 to {MAX_CERTIFICATES} lists of names"));
        }
        let mut all: Vec<Vec<String>> = Vec::new();
        for names in certificates {
            let (span, names) = (names.span(), names.into_inner());
            if !(1..=MAX_NAMES).contains(&names.len()) {
                return wrong(span, &format!("expected 1 to {MAX_NAMES} names"));
            }
            let mut checked = Vec::new();
            for name in names {
                let span = name.span();
                checked.push(source.checked(span, host_name(name.as_ref()))?);
            }
            let set: BTreeSet<&String> = checked.iter().collect();
            if set.len() < checked.len()
                || all.iter().any(|other| other.iter().collect::<BTreeSet<_>>() == set)
            {
                return wrong(span, "expected each name once, and no two certificates for the same names");
            }
            all.push(checked);
        }
        Ok(Acme {
            directory: directory.into_inner(),
            contact: contact.into_iter().map(Spanned::into_inner).collect(),
            challenge,
            ca_file: ca_file.map(Spanned::into_inner),
            external_account: external_account.map(Spanned::into_inner),
            certificates: all,
        })
    }
}

/// Whether the server can ask what it has to. Its ports are 80 and 443; here they may be others, behind a router.
fn can_be_proved(challenge: Challenge, listeners: &[Listener]) -> Result<(), &'static str> {
    let possible = match challenge {
        Challenge::Http01 => listeners.is_empty() || listeners.iter().any(|listener| listener.tls.is_none()),
        Challenge::TlsAlpn01 => listeners.iter().any(|listener| {
            listener.tls.as_ref().is_some_and(|tls| tls.client_certificates != Asked::Required)
        }),
    };
    match challenge {
        _ if possible => Ok(()),
        Challenge::Http01 => {
            Err("http-01 needs a [[listener]] without TLS, which the server reaches at port 80")
        }
        Challenge::TlsAlpn01 => Err(
            "tls-alpn-01 needs a [[listener]] with [listener.tls] that asks no certificate of clients, which the \
             server reaches at port 443",
        ),
    }
}

/// A host name in small letters.
fn host_name(name: &str) -> Result<String, &'static str> {
    if name.starts_with("*.") {
        return Err("names below a domain (*.) can be proved by DNS only: name each, or use [[certificate]]");
    }
    let is_label = |label: &str| {
        (1..=MAX_LABEL).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.len() <= MAX_NAME && name.contains('.') && name.split('.').all(is_label) {
        return Ok(name.to_ascii_lowercase());
    }
    Err("expected a host name, such as \"www.example.org\"")
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    const CONFIG: &str = r#"name = "a"
address = "192.168.10.1"
gateway = "192.168.10.1"
hypervisor = "namespaces"
address_pool = ["192.168.10.10-192.168.10.16"]
[acme]
directory = "https://acme.example/dir"
terms_of_service_agreed = true
certificates = [["WWW.example.org", "example.org"], ["b.example"]]
"#;

    fn check(text: &str) -> Result<Config, String> {
        Config::check(&Source::from_text("a.toml", text)).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_to_be_got_is_checked_before_a_server_is_asked() {
        let acme = check(CONFIG).expect("valid").acme.expect("it is there");
        assert_eq!(acme.certificates, [vec!["www.example.org", "example.org"], vec!["b.example"]]);
        assert_eq!(acme.challenge, Challenge::Http01);
        let tls = "challenge = \"tls-alpn-01\"\n[[listener]]\naddress = \"0.0.0.0:443\"\n[listener.tls]\n";
        assert!(check(&format!("{CONFIG}{tls}")).is_ok());
        for (from, to, expected) in [
            ("https://", "http://", "a.toml:7:13: expected a URL that begins with https://"),
            ("= true", "= false", "a.toml:8:27: read the terms"),
            ("terms_of_service_agreed = true\n", "", "a.toml:7:13: read the terms"),
            ("\"b.example\"", "\"*.b.example\"", "a.toml:9:54: names below a domain"),
            ("\"b.example\"", "\"b\"", "a.toml:9:54: expected a host name"),
            ("\"b.example\"", "", "a.toml:9:53: expected 1 to 100 names"),
            ("\"b.example\"", "\"example.org\", \"www.example.org\"", "a.toml:9:53: expected each name once"),
            ("\"b.example\"", "\"b.example\", \"B.example\"", "a.toml:9:53: expected each name once"),
            ("[acme]", "[acme]\ncontact = [\"me\"]", "a.toml:7:12: expected a URL, such as"),
            ("[acme]", "[acme]\nca_file = \"ca.pem\"", "a.toml:7:11: expected a path"),
            ("[acme]", "[acme]\nchallenge = \"tls-alpn-01\"", "a.toml:7:13: tls-alpn-01 needs"),
            (
                "[acme]",
                "[[listener]]\naddress = \"0.0.0.0:443\"\n[listener.tls]\n[acme]",
                "a.toml:10:13: http-01 needs",
            ),
        ] {
            let error = check(&CONFIG.replacen(from, to, 1)).expect_err(to);
            assert!(error.starts_with(expected), "{error}\n{expected}");
        }
    }
}

//! The `[etcd]` part of the configuration: where what people define of services is kept for all hosts.

use std::collections::BTreeSet;
use std::path::PathBuf;

use http::Uri;
use kit::config::{ConfigError, Source, Spanned};
use serde::Deserialize;

/// The most members that are named: etcd itself advises against more than seven.
const MAX_ENDPOINTS: usize = 16;

/// The longest prefix, in bytes.
const MAX_PREFIX: usize = 200;

/// Where an etcd is, and how it is believed and convinced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Etcd {
    /// The URLs of its members, without a path.
    pub endpoints: Vec<String>,
    /// What the names of all keys begin with.
    pub prefix: String,
    /// The CAs that its certificates are believed by; none: those of the system.
    pub ca_file: Option<PathBuf>,
    /// What it is shown, and the private key of that.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// An etcd in which the definitions of services are kept that are put at run time: what is put on one host holds on all
/// that name the same etcd. For three hosts and more.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct EtcdFile {
    /// The URLs that its members answer clients at, such as `https://192.168.10.1:2379`: 1 to 16.
    endpoints: Spanned<Vec<Spanned<String>>>,
    /// What the names of all keys begin with: it begins and ends with `/`.
    #[serde(default = "default_prefix")]
    prefix: Spanned<String>,
    /// The absolute path of the CAs that its certificates are believed by, as PEM; without it those of the system.
    #[serde(default)]
    ca_file: Option<Spanned<PathBuf>>,
    /// The absolute path of a certificate to show it, as PEM; with `key_file`.
    #[serde(default)]
    cert_file: Option<Spanned<PathBuf>>,
    /// The absolute path of the private key of that, as PEM.
    #[serde(default)]
    key_file: Option<Spanned<PathBuf>>,
}

fn default_prefix() -> Spanned<String> {
    Spanned::new(0..0, "/holdfast/".to_owned())
}

impl EtcdFile {
    pub(super) fn check(self, source: &Source) -> Result<Etcd, ConfigError> {
        let EtcdFile { endpoints, prefix, ca_file, cert_file, key_file } = self;
        let wrong = |at: std::ops::Range<usize>, message: &str| Err(source.error_at(Some(at), message));
        let span = endpoints.span();
        if !(1..=MAX_ENDPOINTS).contains(&endpoints.as_ref().len()) {
            return wrong(span, &format!("expected the URLs of 1 to {MAX_ENDPOINTS} members"));
        }
        let mut seen = BTreeSet::new();
        for endpoint in endpoints.as_ref() {
            if !is_endpoint(endpoint.as_ref()) {
                return wrong(
                    endpoint.span(),
                    "expected a URL such as https://192.168.10.1:2379, without a path",
                );
            }
            if !seen.insert(endpoint.as_ref().trim_end_matches('/').to_owned()) {
                return wrong(endpoint.span(), "this member is named twice");
            }
        }
        let is_prefix = |text: &str| {
            text.len() <= MAX_PREFIX
                && text.starts_with('/')
                && text.ends_with('/')
                && text.bytes().all(|byte| byte.is_ascii_graphic())
        };
        if !is_prefix(prefix.as_ref()) {
            let message = format!(
                "expected at most {MAX_PREFIX} characters without spaces that begin and end with /, such as /holdfast/"
            );
            return wrong(prefix.span(), &message);
        }
        for path in [&ca_file, &cert_file, &key_file].into_iter().flatten() {
            if !path.as_ref().is_absolute() {
                let message =
                    format!("expected a path that begins with /, found {}", path.as_ref().display());
                return wrong(path.span(), &message);
            }
        }
        let is_tls = seen.iter().any(|endpoint| endpoint.starts_with("https://"));
        if let Some(path) = [&ca_file, &cert_file, &key_file].into_iter().flatten().find(|_| !is_tls) {
            return wrong(path.span(), "certificates are for endpoints that begin with https://");
        }
        let identity = match (cert_file, key_file) {
            (Some(cert), Some(key)) => Some((cert.into_inner(), key.into_inner())),
            (None, None) => None,
            (Some(path), None) => return wrong(path.span(), "say the `key_file` of this certificate too"),
            (None, Some(path)) => return wrong(path.span(), "say the `cert_file` of this key too"),
        };
        let trimmed = |endpoint: Spanned<String>| endpoint.into_inner().trim_end_matches('/').to_owned();
        Ok(Etcd {
            endpoints: endpoints.into_inner().into_iter().map(trimmed).collect(),
            prefix: prefix.into_inner(),
            ca_file: ca_file.map(Spanned::into_inner),
            identity,
        })
    }
}

fn is_endpoint(text: &str) -> bool {
    let Ok(uri) = text.parse::<Uri>() else { return false };
    let scheme = matches!(uri.scheme_str(), Some("http" | "https"));
    let plain = uri.path() == "/" && uri.query().is_none() && !text.contains('@') && !text.contains('#');
    scheme && plain && uri.port_u16().is_some() && uri.host().is_some_and(|host| !host.is_empty())
}

#[cfg(test)]
mod tests {
    use kit::config::Source;

    use crate::config::Config;

    fn with(etcd: &str) -> Result<Config, String> {
        let text = format!(
            "name = \"a\"\naddress = \"192.168.10.1\"\ngateway = \"192.168.10.1\"\nhypervisor = \"namespaces\"\n\
             address_pool = [\"192.168.10.10-192.168.10.16\"]\n[etcd]\n{etcd}\n"
        );
        Config::check(&Source::from_text("a.toml", &text)).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_said_is_taken() {
        let config = with(
            "endpoints = [\"https://10.0.0.1:2379/\", \"https://10.0.0.2:2379\"]\nca_file = \"/ca\"\ncert_file = \"/c\"\n\
             key_file = \"/k\"",
        );
        let etcd = config.expect("valid").etcd.expect("one");
        assert_eq!(etcd.endpoints, ["https://10.0.0.1:2379", "https://10.0.0.2:2379"]);
        assert_eq!(etcd.prefix, "/holdfast/");
        assert_eq!(etcd.identity, Some(("/c".into(), "/k".into())));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_a_remedy() {
        let one = "endpoints = [\"http://10.0.0.1:2379\"]\n";
        for (etcd, said) in [
            ("endpoints = []".to_owned(), "1 to 16 members"),
            ("endpoints = [\"10.0.0.1:2379\"]".to_owned(), "such as https://"),
            ("endpoints = [\"http://10.0.0.1\"]".to_owned(), "such as https://"),
            ("endpoints = [\"http://10.0.0.1:2379/v3\"]".to_owned(), "without a path"),
            ("endpoints = [\"http://a:1\", \"http://a:1/\"]".to_owned(), "named twice"),
            (format!("{one}prefix = \"holdfast\""), "begin and end with /"),
            (format!("{one}ca_file = \"/ca\""), "begin with https://"),
            ("endpoints = [\"https://a:1\"]\nca_file = \"ca\"".to_owned(), "begins with /"),
            ("endpoints = [\"https://a:1\"]\ncert_file = \"/c\"".to_owned(), "`key_file`"),
            ("endpoints = [\"https://a:1\"]\nkey_file = \"/k\"".to_owned(), "`cert_file`"),
            (format!("{one}cafile = \"/ca\""), "ca_file"),
        ] {
            let error = with(&etcd).expect_err(&etcd);
            assert!(error.contains(said), "{etcd}: {error}");
        }
    }
}

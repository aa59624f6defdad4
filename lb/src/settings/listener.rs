//! The `[[listener]]` parts of the settings: where clients' requests are taken, and what comes ahead of them.

use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use kit::config::{ConfigError, Source, Spanned, read_pem};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Deserialize;

/// The most listeners. Each is opened once by every worker.
const MAX_LISTENERS: usize = 64;

/// The most networks that may send headers of the PROXY protocol to a listener.
const MAX_TRUSTED: usize = 1_000;

/// The most CAs of clients' certificates.
const MAX_CLIENT_CAS: usize = 1_000;

/// Where clients' requests are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The address and port.
    pub address: SocketAddr,
    /// Whether each connection begins with a header of the PROXY protocol, which says who the client is.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// TLS; none: plain HTTP.
    pub tls: Option<ListenerTls>,
}

/// Who may say who a client is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyProtocol {
    /// The networks of the proxies; none: everybody.
    pub trusted: Vec<IpNet>,
}

/// The TLS of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerTls {
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
    /// What is spoken over it, the best first (ALPN, RFC 7301).
    pub alpn: Vec<Protocol>,
    /// What clients have to show.
    pub client_certificates: ClientCertificates,
    /// Whether clients that ask for a name that no certificate is for, or for none, are refused; else they are shown
    /// the first certificate.
    pub refuse_unknown_names: bool,
}

/// A version of TLS. Older ones are not spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, serde::Serialize))]
pub enum TlsVersion {
    /// RFC 5246.
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// RFC 8446.
    #[serde(rename = "1.3")]
    Tls13,
}

/// What can be spoken over TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Protocol {
    /// HTTP/2.
    #[serde(rename = "h2")]
    Http2,
    /// HTTP/1.1.
    #[serde(rename = "http/1.1")]
    Http1,
}

impl Protocol {
    /// As it is called in a handshake.
    pub const fn id(self) -> &'static [u8] {
        match self {
            Protocol::Http2 => b"h2",
            Protocol::Http1 => b"http/1.1",
        }
    }
}

/// What clients have to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientCertificates {
    /// Nothing; they are not asked.
    Off,
    /// A certificate of one of these CAs, or none.
    Optional(Vec<CertificateDer<'static>>),
    /// A certificate of one of these CAs.
    Required(Vec<CertificateDer<'static>>),
}

/// Where clients' requests are taken. At most 64.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct ListenerFile {
    /// The address and port; each listener has another.
    address: Spanned<SocketAddr>,
    /// Whether each connection begins with a header of the PROXY protocol, which says who the client is.
    #[serde(default)]
    proxy_protocol: bool,
    /// The networks of the proxies that may send one, at most 1000; none: everybody. With `proxy_protocol` only.
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "Vec<String>"))]
    trusted: Vec<Spanned<IpNet>>,
    /// TLS; without this table plain HTTP.
    #[serde(default)]
    tls: Option<TlsFile>,
}

/// The TLS of a listener. Certificates are in `[[config.certificates]]`, or come from the manager.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct TlsFile {
    /// The oldest version that is spoken.
    #[serde(default)]
    min_version: TlsVersion,
    /// What is spoken over it, the best first (ALPN, RFC 7301).
    #[serde(default)]
    #[cfg_attr(test, schemars(extend("default" = ["h2", "http/1.1"])))]
    alpn: Option<Spanned<Vec<Protocol>>>,
    /// What clients have to show.
    #[serde(default)]
    #[cfg_attr(test, schemars(extend("default" = "off")))]
    client_certificates: Option<Spanned<Asked>>,
    /// The file with the CAs of clients' certificates, as PEM; at most 1000 of them.
    #[serde(default)]
    client_ca_file: Option<Spanned<PathBuf>>,
    /// The same as a text: a manager has no files in its balancer's machine.
    #[serde(default)]
    client_ca: Option<Spanned<String>>,
    /// Whether clients that ask for a name that no certificate is for, or for none, are refused; else they are shown the
    /// first certificate.
    #[serde(default)]
    refuse_unknown_names: bool,
}

#[derive(Clone, Copy, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
enum Asked {
    /// Nothing; they are not asked.
    Off,
    /// A certificate of one of the CAs, or none.
    Optional,
    /// A certificate of one of the CAs.
    Required,
}

/// All of them: the plain one of `listen`, and those that say more. With neither there is the one of the default.
pub(super) fn check(
    source: &Source,
    listen: Option<SocketAddr>,
    default: SocketAddr,
    files: Vec<Spanned<ListenerFile>>,
) -> Result<Vec<Listener>, ConfigError> {
    let listen = listen.or(files.is_empty().then_some(default));
    let plain = |address| Listener { address, proxy_protocol: None, tls: None };
    let mut listeners: Vec<Listener> = listen.into_iter().map(plain).collect();
    for file in files {
        let span = file.get_ref().address.span();
        let listener = file.into_inner().check(source)?;
        if listeners.iter().any(|other| other.address == listener.address) {
            return Err(source.error_at(Some(span), "another listener has this address"));
        }
        if listeners.len() == MAX_LISTENERS {
            return Err(source.error_at(Some(span), &format!("expected at most {MAX_LISTENERS} listeners")));
        }
        listeners.push(listener);
    }
    Ok(listeners)
}

impl ListenerFile {
    fn check(self, source: &Source) -> Result<Listener, ConfigError> {
        let ListenerFile { address, proxy_protocol, trusted, tls } = self;
        if let Some(first) = trusted.first().filter(|_| !proxy_protocol) {
            let message = "trusted says nothing without `proxy_protocol = true`";
            return Err(source.error_at(Some(first.span()), message));
        }
        if let Some(beyond) = trusted.get(MAX_TRUSTED) {
            return Err(
                source.error_at(Some(beyond.span()), &format!("expected at most {MAX_TRUSTED} networks"))
            );
        }
        let trusted = trusted.into_iter().map(Spanned::into_inner).collect();
        Ok(Listener {
            address: address.into_inner(),
            proxy_protocol: proxy_protocol.then_some(ProxyProtocol { trusted }),
            tls: tls.map(|tls| tls.check(source)).transpose()?,
        })
    }
}

impl TlsFile {
    fn check(self, source: &Source) -> Result<ListenerTls, ConfigError> {
        let TlsFile {
            min_version,
            alpn,
            client_certificates,
            client_ca_file,
            client_ca,
            refuse_unknown_names,
        } = self;
        if let Some(alpn) = alpn.as_ref().filter(|alpn| alpn.get_ref().is_empty()) {
            return Err(source.error_at(Some(alpn.span()), "expected a protocol, such as \"http/1.1\""));
        }
        let asked = client_certificates.as_ref().map_or(Asked::Off, |asked| *asked.get_ref());
        let written = match (client_ca_file, client_ca) {
            (Some(_), Some(text)) => {
                let message = "expected one of client_ca and client_ca_file, found both";
                return Err(source.error_at(Some(text.span()), message));
            }
            (Some(file), None) => Some((file.span(), Written::File(file.into_inner()))),
            (None, Some(text)) => Some((text.span(), Written::Text(text.into_inner()))),
            (None, None) => None,
        };
        let client_certificates = match (asked, written) {
            (Asked::Off, None) => ClientCertificates::Off,
            (Asked::Off, Some((span, written))) => {
                let name = written.name();
                let message =
                    format!("{name} says nothing without client_certificates = \"optional\" or \"required\"");
                return Err(source.error_at(Some(span), &message));
            }
            (Asked::Optional | Asked::Required, None) => {
                let span = client_certificates.map(|asked| asked.span());
                return Err(source.error_at(span, "client_ca_file is missing: whose certificates are good?"));
            }
            (Asked::Optional, Some((span, written))) => {
                ClientCertificates::Optional(source.checked(span, cas(&written))?)
            }
            (Asked::Required, Some((span, written))) => {
                ClientCertificates::Required(source.checked(span, cas(&written))?)
            }
        };
        let alpn = alpn.map_or_else(|| vec![Protocol::Http2, Protocol::Http1], Spanned::into_inner);
        Ok(ListenerTls { min_version, alpn, client_certificates, refuse_unknown_names })
    }
}

/// Where CAs are written.
enum Written {
    File(PathBuf),
    Text(String),
}

impl Written {
    fn name(&self) -> &'static str {
        match self {
            Written::File(_) => "client_ca_file",
            Written::Text(_) => "client_ca",
        }
    }
}

/// The CAs in `written`, each looked at.
fn cas(written: &Written) -> Result<Vec<CertificateDer<'static>>, String> {
    let wrong = |what: &dyn std::fmt::Display| match written {
        Written::File(path) => format!("{}: {what}", path.display()),
        Written::Text(_) => format!("client_ca: {what}"),
    };
    let text = match written {
        Written::File(path) => read_pem(path).map_err(|error| wrong(&error))?,
        Written::Text(text) => text.clone(),
    };
    let cas: Vec<_> = CertificateDer::pem_slice_iter(text.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|_| wrong(&"expected certificates as PEM"))?;
    if !(1..=MAX_CLIENT_CAS).contains(&cas.len()) {
        return Err(wrong(&format!(
            "expected 1 to {MAX_CLIENT_CAS} certificates as PEM, found {}",
            cas.len()
        )));
    }
    let mut roots = RootCertStore::empty();
    for ca in &cas {
        roots.add(ca.clone()).map_err(|error| wrong(&format!("a certificate cannot be used: {error}")))?;
    }
    Ok(cas)
}

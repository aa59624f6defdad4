//! The `[[listener]]` parts of the configuration: where the balancer takes clients' requests. They go to it as they
//! are, but for the file with clients' CAs, whose content goes: a virtual machine has no files of this host.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use kit::config::{ConfigError, Source, Spanned};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};

use super::{LB_ADMIN_PORT, LB_CHANGES_PORT};

/// The most listeners, as for the balancer.
const MAX_LISTENERS: usize = 64;

/// The most networks that may send headers of the PROXY protocol to a listener, as for the balancer.
const MAX_TRUSTED: usize = 1_000;

/// The largest file with CAs, in bytes: it is sent to the balancer with its settings.
const MAX_CA_FILE: usize = 1 << 20;

/// One listener, in the words of the balancer's settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listener {
    /// The address and port.
    pub address: SocketAddr,
    /// Whether each connection begins with a header of the PROXY protocol.
    pub proxy_protocol: bool,
    /// The networks that may send one; none: everybody.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trusted: Vec<IpNet>,
    /// TLS; none: plain HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<ListenerTls>,
}

/// The TLS of a listener. What is not said is as the balancer has it by default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListenerTls {
    /// The oldest version of TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_version: Option<TlsVersion>,
    /// What is spoken over it, the best first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpn: Option<Vec<Protocol>>,
    /// Whether clients show a certificate.
    pub client_certificates: Asked,
    /// The CAs of clients' certificates, as PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_ca: Option<String>,
    /// Whether clients that ask for a name that no certificate is for are refused.
    pub refuse_unknown_names: bool,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum TlsVersion {
    /// RFC 5246.
    #[serde(rename = "1.2")]
    Tls12,
    /// RFC 8446.
    #[serde(rename = "1.3")]
    Tls13,
}

/// What can be spoken over TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Protocol {
    /// HTTP/2.
    #[serde(rename = "h2")]
    Http2,
    /// HTTP/1.1.
    #[serde(rename = "http/1.1")]
    Http1,
}

/// What clients have to show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Asked {
    /// Nothing.
    #[default]
    Off,
    /// A certificate, or none.
    Optional,
    /// A certificate.
    Required,
}

/// Where the balancer takes clients' requests. At most 64; without any, port 80 without TLS.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct ListenerFile {
    /// The address and port; each listener has another, and 8080 and 8443 are the balancer's own.
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

/// The TLS of a listener.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct TlsFile {
    /// The oldest version that is spoken.
    #[serde(default)]
    #[cfg_attr(test, schemars(extend("default" = TlsVersion::Tls12)))]
    min_version: Option<TlsVersion>,
    /// What is spoken over it, the best first (ALPN, RFC 7301).
    #[serde(default)]
    #[cfg_attr(test, schemars(extend("default" = [Protocol::Http2, Protocol::Http1])))]
    alpn: Option<Spanned<Vec<Protocol>>>,
    /// What clients have to show.
    #[serde(default)]
    #[cfg_attr(test, schemars(extend("default" = Asked::default())))]
    client_certificates: Option<Spanned<Asked>>,
    /// The file with the CAs of clients' certificates, as PEM, of 1 MiB at most.
    #[serde(default)]
    client_ca_file: Option<Spanned<PathBuf>>,
    /// Whether clients that ask for a name that no certificate is for, or for none, are refused; else they are shown the
    /// first certificate.
    #[serde(default)]
    refuse_unknown_names: bool,
}

pub(super) fn check(
    source: &Source,
    files: Vec<Spanned<ListenerFile>>,
) -> Result<Vec<Listener>, ConfigError> {
    let mut listeners: Vec<Listener> = Vec::new();
    for file in files {
        let place = file.span();
        let ListenerFile { address, proxy_protocol, trusted, tls } = file.into_inner();
        let span = address.span();
        let wrong = |message: &str| Err(source.error_at(Some(span.clone()), message));
        let address = address.into_inner();
        match address.port() {
            0 => return wrong("expected an address with a port, such as 0.0.0.0:443"),
            LB_ADMIN_PORT | LB_CHANGES_PORT => {
                return wrong("the balancer needs ports 8080 and 8443 for itself: choose another");
            }
            _ => {}
        }
        if listeners.iter().any(|other| other.address == address) {
            return wrong("another listener has this address");
        }
        if listeners.len() == MAX_LISTENERS {
            return Err(source.error_at(Some(place), &format!("expected at most {MAX_LISTENERS} listeners")));
        }
        if let Some(first) = trusted.first().filter(|_| !proxy_protocol) {
            let message = "trusted says nothing without `proxy_protocol = true`";
            return Err(source.error_at(Some(first.span()), message));
        }
        if let Some(beyond) = trusted.get(MAX_TRUSTED) {
            let message = format!("expected at most {MAX_TRUSTED} networks");
            return Err(source.error_at(Some(beyond.span()), &message));
        }
        listeners.push(Listener {
            address,
            proxy_protocol,
            trusted: trusted.into_iter().map(Spanned::into_inner).collect(),
            tls: tls.map(|tls| tls.check(source)).transpose()?,
        });
    }
    Ok(listeners)
}

impl TlsFile {
    fn check(self, source: &Source) -> Result<ListenerTls, ConfigError> {
        let TlsFile { min_version, alpn, client_certificates, client_ca_file, refuse_unknown_names } = self;
        if let Some(alpn) = alpn.as_ref().filter(|alpn| alpn.get_ref().is_empty()) {
            return Err(source.error_at(Some(alpn.span()), "expected a protocol, such as \"http/1.1\""));
        }
        let asked = client_certificates.as_ref().map_or(Asked::Off, |asked| *asked.get_ref());
        let client_ca = match (asked, client_ca_file) {
            (Asked::Off, None) => None,
            (Asked::Off, Some(file)) => {
                let message =
                    "client_ca_file says nothing without client_certificates = \"optional\" or \"required\"";
                return Err(source.error_at(Some(file.span()), message));
            }
            (Asked::Optional | Asked::Required, None) => {
                let span = client_certificates.map(|asked| asked.span());
                return Err(source.error_at(span, "client_ca_file is missing: whose certificates are good?"));
            }
            (Asked::Optional | Asked::Required, Some(file)) => {
                Some(source.checked(file.span(), cas(file.get_ref()))?)
            }
        };
        let alpn = alpn.map(Spanned::into_inner);
        Ok(ListenerTls { min_version, alpn, client_certificates: asked, client_ca, refuse_unknown_names })
    }
}

/// The CAs in the file at `path`; whether each can be used is looked at by the balancer.
fn cas(path: &Path) -> Result<String, String> {
    let at = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| format!("{at}: {error}"))?;
    if text.len() > MAX_CA_FILE {
        return Err(format!("{at}: expected at most {MAX_CA_FILE} bytes"));
    }
    let mut found = CertificateDer::pem_slice_iter(text.as_bytes()).peekable();
    if found.peek().is_none() || found.any(|one| one.is_err()) {
        return Err(format!("{at}: expected certificates as PEM"));
    }
    Ok(text)
}

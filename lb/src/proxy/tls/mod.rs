//! TLS on the clients' side: rustls with the cryptography of *ring*.
//!
//! ```text
//!   lb.toml, PUT /config ──▶ certificate (looked at) ──▶ resolver (by name)  ┐
//!                       └──▶ tickets (keys)                                  ├─▶ server (one per listener)
//!   [listener.tls] ──────────────────────────────────────────────────────────┘
//!   a connection: arrival (handshake) ─▶ transport ─▶ requests, with client_certificate
//! ```
//!
//! Certificates and keys for tickets are swapped while connections go on: what a handshake has begun with stays.

pub(crate) mod certificate;
pub(crate) mod client_certificate;
pub(crate) mod failure;
mod ocsp;
pub(crate) mod resolver;
mod server;
pub(crate) mod stats;
pub(crate) mod tickets;

use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use wire::Problem;
use wire::balancing::Secret;
use wire::certificates::Certificate;
use wire::proxy_config::ProxyConfig;

use self::certificate::Usable;
use self::resolver::Certificates;
use self::stats::Stats;
use self::tickets::Tickets;
use super::lock;
use crate::settings::ListenerTls;

/// What ACME servers offer in the handshake that asks whether a name is ours (RFC 8737, section 6.2). There is nothing
/// to say over such a connection.
pub(crate) const ACME: &[u8] = b"acme-tls/1";

/// The most certificates of a configuration.
pub(crate) const MAX_CERTIFICATES: usize = 1_000;

/// The most keys for tickets: one to come, one in use and some from before.
pub(crate) const MAX_TICKET_KEYS: usize = 16;

/// The lengths a key for tickets may have, in bytes, as for those of cookies.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 32..=256;

/// What all listeners with TLS share.
#[derive(Debug)]
pub(crate) struct Tls {
    provider: Arc<CryptoProvider>,
    certificates: Arc<ArcSwap<Certificates>>,
    /// What is shown to ACME servers only.
    challenges: Arc<ArcSwap<Certificates>>,
    tickets: Arc<Tickets>,
    pub(crate) stats: Stats,
    sources: Mutex<Sources>,
}

/// Where certificates and keys come from; what is pushed outranks the file.
#[derive(Debug, Default)]
struct Sources {
    file: Source,
    pushed: Source,
    challenges: Vec<Certificate>,
}

#[derive(Debug, Default)]
struct Source {
    config: Arc<ProxyConfig>,
    certificates: Vec<Arc<Usable>>,
}

impl Source {
    /// Takes `config` in place of the one there was; whether anything changes. What cannot be used does not.
    fn take(&mut self, config: Option<&Arc<ProxyConfig>>, provider: &CryptoProvider) -> bool {
        // Upstreams are swapped far more often than configurations.
        if config.is_some_and(|config| Arc::ptr_eq(config, &self.config)) {
            return false;
        }
        let next = config.cloned().unwrap_or_default();
        if next.certificates == self.config.certificates && next.ticket_keys == self.config.ticket_keys {
            self.config = next;
            return false;
        }
        let certificates = match read(&next.certificates, "certificates", provider) {
            Ok(certificates) => certificates,
            Err(problem) => {
                // They were looked at before they came here.
                tracing::error!(
                    problem = problem.detail,
                    "the certificates of a configuration are not in use"
                );
                return false;
            }
        };
        let now = SystemTime::now();
        for certificate in &certificates {
            for warning in certificate.warnings(now) {
                tracing::warn!(names = ?certificate.names, "a certificate: {warning}");
            }
        }
        let certificates = certificates.into_iter().map(Arc::new).collect();
        *self = Source { config: next, certificates };
        true
    }
}

impl Default for Tls {
    fn default() -> Self {
        Tls {
            provider: kit::tls::provider(),
            certificates: Arc::default(),
            challenges: Arc::default(),
            tickets: Arc::new(Tickets::new(SystemTime::now())),
            stats: Stats::default(),
            sources: Mutex::default(),
        }
    }
}

impl Tls {
    /// Takes into use what of the settings file's configuration and of the one that was pushed is another than before.
    /// What is pushed outranks the file.
    pub(crate) fn take(&self, file: Option<&Arc<ProxyConfig>>, pushed: Option<&Arc<ProxyConfig>>) {
        let mut sources = lock(&self.sources);
        self.take_challenges(&mut sources.challenges, pushed.or(file).map(Arc::as_ref));
        let changed = [sources.file.take(file, &self.provider), sources.pushed.take(pushed, &self.provider)];
        if !changed.contains(&true) {
            return;
        }
        let all = sources.pushed.certificates.iter().chain(&sources.file.certificates).cloned();
        let next = Certificates::new(all);
        if next.count() > 0 || self.certificates.load().count() > 0 {
            tracing::info!(certificates = next.count(), "certificates taken into use");
        }
        self.certificates.store(Arc::new(next));
        let keys = [&sources.pushed, &sources.file].map(|source| &source.config.ticket_keys[..]);
        let given = keys.into_iter().find(|keys| !keys.is_empty()).unwrap_or_default();
        self.tickets.take(given, SystemTime::now());
    }

    /// Takes into use what ACME servers are to be shown, where that is another than what is `held`.
    fn take_challenges(&self, held: &mut Vec<Certificate>, config: Option<&ProxyConfig>) {
        let given = config.map_or(&[][..], |config| &config.challenge_certificates);
        if held == given {
            return;
        }
        // They were looked at before they came here.
        if let Ok(read) = read(given, "challenge_certificates", &self.provider) {
            self.challenges.store(Arc::new(Certificates::new(read.into_iter().map(Arc::new))));
            given.clone_into(held);
        }
    }

    /// Whether there is no certificate to show.
    pub(crate) fn is_bare(&self) -> bool {
        self.certificates.load().count() == 0
    }

    /// The TLS of a listener with these settings.
    ///
    /// # Errors
    ///
    /// When its list of CAs cannot be used.
    pub(crate) fn listener(&self, settings: &ListenerTls) -> anyhow::Result<Arc<ServerConfig>> {
        server::config(settings, self)
    }
}

/// Whether the certificates and keys of `config` can be used.
///
/// # Errors
///
/// A problem of 400 that names the first field that cannot.
pub(crate) fn check(config: &ProxyConfig) -> Result<(), Problem> {
    let ProxyConfig { certificates, challenge_certificates, ticket_keys, .. } = config;
    let too_many = |field: &str, count: usize, most: usize| {
        let detail = format!("{count} are more than the {most} allowed");
        (count > most).then(|| Problem::bad_parameter(field, detail)).map_or(Ok(()), Err)
    };
    too_many("certificates", certificates.len(), MAX_CERTIFICATES)?;
    too_many("challenge_certificates", challenge_certificates.len(), MAX_CERTIFICATES)?;
    too_many("ticket_keys", ticket_keys.len(), MAX_TICKET_KEYS)?;
    for (index, key) in ticket_keys.iter().enumerate() {
        if let Err(expected) = check_ticket_key(key) {
            return Err(Problem::bad_parameter(&format!("ticket_keys[{index}]"), expected));
        }
    }
    let provider = kit::tls::provider();
    read(certificates, "certificates", &provider)?;
    read(challenge_certificates, "challenge_certificates", &provider).map(drop)
}

/// Whether `key` can be one for tickets.
///
/// # Errors
///
/// Says what is expected instead, without the key in it.
pub(crate) fn check_ticket_key(key: &Secret) -> Result<(), String> {
    let length = key.0.len();
    if KEY_BYTES.contains(&length) {
        return Ok(());
    }
    Err(format!(
        "expected {} to {} bytes, found {length}: `openssl rand -hex 32` makes one",
        KEY_BYTES.start(),
        KEY_BYTES.end()
    ))
}

fn read(certificates: &[Certificate], list: &str, provider: &CryptoProvider) -> Result<Vec<Usable>, Problem> {
    let read = certificates.iter().enumerate().map(|(index, certificate)| {
        Usable::read(certificate, provider).map_err(|unusable| {
            let field = format!("{list}[{index}].{}", unusable.part.name());
            Problem::bad_parameter(&field, unusable.message)
        })
    });
    read.collect()
}

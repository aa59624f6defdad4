//! Gets one certificate.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::BoxFuture;
use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, ChallengeType, Error, ExternalAccountKey, Identifier,
    NewAccount, NewOrder, Order, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use wire::balancing::Secret;
use wire::certificates::Certificate;
use wire::shared_secrets::{AcmeAccount, AcmeChallenge};

use super::super::keeper::Keeper;
use super::http::client;
use super::id;
use crate::access::unix_ms;
use crate::config::{Acme, Challenge, ExternalAccount};

/// All of it takes at most so long.
const PATIENCE: Duration = Duration::from_secs(300);

/// A challenge may be asked for so long, in milliseconds.
const CHALLENGE: u64 = 300_000;

/// How a server is asked whether it is ready.
const POLL: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(500))
    .backoff(1.5)
    .timeout(Duration::from_secs(120));

/// What a server says that does not know the account (RFC 8555, section 6.7).
const NO_ACCOUNT: &str = "urn:ietf:params:acme:error:accountDoesNotExist";

/// The largest file with a key, in bytes.
const MAX_KEY_FILE: usize = 4_096;

/// Sees to it that all balancers show what is held.
pub(in super::super) type Shown = Box<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// Where a certificate is got.
pub(in super::super) struct Ordering {
    /// The server.
    pub(in super::super) acme: Acme,
    /// What is held and shared.
    pub(in super::super) keeper: Arc<Keeper>,
    /// Returns when all balancers show what is held, or it took too long.
    pub(in super::super) shown: Shown,
}

impl Ordering {
    /// Gets the certificate for `names`, and keeps it.
    ///
    /// # Errors
    ///
    /// Why there is none, in words.
    pub(in super::super) async fn get(&self, names: &[String]) -> Result<(), String> {
        let got = match tokio::time::timeout(PATIENCE, self.certificate(names)).await {
            Ok(got) => got,
            Err(_) => Err(format!("it took longer than {} seconds", PATIENCE.as_secs())),
        };
        // Nobody has to be shown anything any more.
        self.keeper.end_challenges(unix_ms());
        self.keeper.issued(&id(&self.acme, names), got?)
    }

    async fn certificate(&self, names: &[String]) -> Result<Certificate, String> {
        let identifiers: Vec<Identifier> = names.iter().cloned().map(Identifier::Dns).collect();
        let wanted = NewOrder::new(&identifiers);
        let mut order = match self.account(true).await?.new_order(&wanted).await {
            // It was there long ago, or the server has lost its memory.
            Err(Error::Api(problem)) if problem.r#type.as_deref() == Some(NO_ACCOUNT) => {
                self.account(false).await?.new_order(&wanted).await
            }
            ordered => ordered,
        }
        .map_err(words)?;
        self.prove(&mut order).await?;
        let (request, key) = request(names).map_err(|error| error.to_string())?;
        order.finalize_csr(&request).await.map_err(words)?;
        let chain = order.poll_certificate(&POLL).await.map_err(words)?;
        Ok(Certificate { chain, key: Secret(key), ocsp: None })
    }

    /// The account that the cluster has at this server, or a new one: where there is none, or `held` is no good.
    async fn account(&self, held: bool) -> Result<Account, String> {
        let acme = self.acme.clone();
        let made = tokio::task::spawn_blocking(move || {
            let external = acme.external_account.as_ref().map(external).transpose()?;
            Ok::<_, String>((client(&acme)?, external))
        });
        let (http, external) = made.await.map_err(|error| error.to_string())??;
        let builder = Account::builder_with_http(http);
        let (shared, _) = self.keeper.shared();
        if let Some(held) = shared.accounts.get(&self.acme.directory).filter(|_| held) {
            let credentials: AccountCredentials = serde_json::from_str(&held.credentials.0)
                .map_err(|_| "the stored account cannot be understood".to_owned())?;
            return builder.from_credentials(credentials).await.map_err(words);
        }
        let contact: Vec<&str> = self.acme.contact.iter().map(String::as_str).collect();
        let new =
            NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
        let directory = self.acme.directory.clone();
        let (account, credentials) =
            builder.create(&new, directory.clone(), external.as_ref()).await.map_err(words)?;
        let credentials = serde_json::to_string(&credentials).map_err(|error| error.to_string())?;
        let account_made = AcmeAccount { made_unix_ms: unix_ms(), credentials: Secret(credentials) };
        self.keeper.has_account(directory.clone(), account_made);
        tracing::info!(%directory, "an account at the ACME server is made");
        Ok(account)
    }

    /// Proves that all names of `order` are ours.
    async fn prove(&self, order: &mut Order) -> Result<(), String> {
        let mut is_open = false;
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(words)?;
            if authorization.status == AuthorizationStatus::Valid {
                continue;
            }
            let name = authorization.identifier().to_string();
            let challenge = authorization
                .challenge(self.challenge_type())
                .ok_or_else(|| format!("the server does not prove {name} by {}", self.challenge_name()))?;
            let proof = challenge.key_authorization();
            let certificate = match self.acme.challenge {
                Challenge::Http01 => None,
                Challenge::TlsAlpn01 => {
                    Some(shown(&name, proof.digest().as_ref()).map_err(|error| error.to_string())?)
                }
            };
            let shown = AcmeChallenge {
                until_unix_ms: unix_ms().saturating_add(CHALLENGE),
                key_authorization: proof.as_str().to_owned(),
                certificate,
            };
            self.keeper.challenged(challenge.token.clone(), shown)?;
            is_open = true;
        }
        if is_open {
            (self.shown)().await;
            self.have_it_looked_at(order).await?;
        }
        match order.poll_ready(&POLL).await.map_err(words)? {
            OrderStatus::Ready | OrderStatus::Valid => Ok(()),
            _ => Err(self.refusal(order).await),
        }
    }

    async fn have_it_looked_at(&self, order: &mut Order) -> Result<(), String> {
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(words)?;
            if authorization.status == AuthorizationStatus::Valid {
                continue;
            }
            if let Some(mut challenge) = authorization.challenge(self.challenge_type()) {
                challenge.set_ready().await.map_err(words)?;
            }
        }
        Ok(())
    }

    /// Which names the server could not see proved, and why.
    async fn refusal(&self, order: &mut Order) -> String {
        let mut reasons = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(Ok(mut authorization)) = authorizations.next().await {
            let name = authorization.identifier().to_string();
            if authorization.refresh().await.is_err() {
                continue;
            }
            let errors = authorization.challenges.iter().filter_map(|challenge| challenge.error.as_ref());
            reasons.extend(errors.map(|error| format!("{name}: {error}")));
        }
        if reasons.is_empty() {
            return "the server does not believe that the names are ours".to_owned();
        }
        reasons.join("; ")
    }

    fn challenge_type(&self) -> ChallengeType {
        match self.acme.challenge {
            Challenge::Http01 => ChallengeType::Http01,
            Challenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
        }
    }

    fn challenge_name(&self) -> &'static str {
        match self.acme.challenge {
            Challenge::Http01 => "http-01",
            Challenge::TlsAlpn01 => "tls-alpn-01",
        }
    }
}

/// What the server is shown in a handshake for `name` (RFC 8737, section 3).
fn shown(name: &str, digest: &[u8]) -> Result<Certificate, rcgen::Error> {
    let mut params = CertificateParams::new(vec![name.to_owned()])?;
    params.custom_extensions.push(CustomExtension::new_acme_identifier(digest));
    let key = KeyPair::generate()?;
    let chain = params.self_signed(&key)?.pem();
    Ok(Certificate { chain, key: Secret(key.serialize_pem()), ocsp: None })
}

/// The request for a certificate (PKCS #10), and its key.
fn request(names: &[String]) -> Result<(Vec<u8>, String), rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    // The names are the subject; a common name of the library's own would be none of them.
    params.distinguished_name = DistinguishedName::new();
    let key = KeyPair::generate()?;
    let request = params.serialize_request(&key)?;
    Ok((request.der().to_vec(), key.serialize_pem()))
}

fn external(account: &ExternalAccount) -> Result<ExternalAccountKey, String> {
    let wrong = |what: &dyn std::fmt::Display| format!("key_file {}: {what}", account.key_file.display());
    let text = std::fs::read_to_string(&account.key_file).map_err(|error| wrong(&error))?;
    if text.len() > MAX_KEY_FILE {
        return Err(wrong(&format!("expected at most {MAX_KEY_FILE} bytes")));
    }
    let key = URL_SAFE_NO_PAD.decode(text.trim().trim_end_matches('='));
    let key = key.map_err(|_| wrong(&"expected a key in base64url"))?;
    Ok(ExternalAccountKey::new(account.id.clone(), &key))
}

/// What the server or the way to it has to say.
#[allow(clippy::needless_pass_by_value)]
fn words(error: Error) -> String {
    let mut words = error.to_string();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(source) = cause.source() {
        cause = source;
        let said = cause.to_string();
        if !words.contains(&said) {
            words = format!("{words}: {said}");
        }
    }
    words
}

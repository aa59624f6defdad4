//! The ways to the managers: plain, by TLS with a token, or by the socket of a manager on this host.
//!
//! Once a cluster has a CA, managers take orders only from who can prove that he may give them: from root on their
//! own host by their socket, or from a token by TLS. As with `manager`, tokens are no arguments, because every user
//! of a host can read those.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Args;
use http::uri::{Authority, Scheme, Uri};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Certificate, Client};

/// Connecting to a manager takes so long at most: one that is gone must not delay the next question.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(250);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// Where a manager listens whose address alone is known.
const PLAIN_PORT: u16 = 8080;
const TLS_PORT: u16 = 8443;

/// The variable that a token for all managers is in.
const TOKEN: &str = "HOLDFAST_TOKEN";

/// How to prove to managers that faults may be ordered.
#[derive(Args, Debug, Default)]
pub struct Proof {
    /// A file with what `manager access create NAME --scope chaos` printed, for managers at https://. A token is
    /// good on the manager that made it: with several managers, one line "ADDRESS TOKEN" for each. Without the
    /// file, the token in HOLDFAST_TOKEN is for all of them.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// The file with the cluster's CA (PEM), `pki/ca.pem` in a manager's state_dir.
    #[arg(long, value_name = "FILE", env = "HOLDFAST_CA")]
    pub ca: Option<PathBuf>,
}

/// One manager that can be asked.
#[derive(Clone, Debug)]
pub struct Way {
    /// What the paths of its API are appended to.
    pub url: String,
    /// How it was named, for people.
    pub named: String,
    /// Reaches it.
    pub client: Client,
}

/// Tokens by the manager's host; the one under nothing is for all others.
type Tokens = BTreeMap<Option<String>, String>;

/// The ways there are.
#[derive(Clone, Debug)]
pub struct Ways {
    tokens: Tokens,
    ca: Vec<Certificate>,
}

impl Ways {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// When one cannot be read, or is something else.
    pub fn new(proof: &Proof) -> anyhow::Result<Self> {
        let tokens = match (&proof.token_file, std::env::var(TOKEN)) {
            (Some(path), _) => read_tokens(path)?,
            (None, Ok(token)) => Tokens::from([(None, token.trim().to_owned())]),
            (None, Err(_)) => Tokens::new(),
        };
        let ca = match &proof.ca {
            None => Vec::new(),
            Some(path) => {
                let pem = fs::read(path).with_context(|| format!("--ca {}", path.display()))?;
                let found = Certificate::from_pem_bundle(&pem).unwrap_or_default();
                ensure!(!found.is_empty(), "--ca {} has no certificates in PEM", path.display());
                found
            }
        };
        Ok(Ways { tokens, ca })
    }

    /// The way to the manager that was named so, as [`manager`] takes it.
    ///
    /// # Errors
    ///
    /// When it would have a token sent where everybody can read it, and when no client can be made.
    pub fn to(&self, named: &str) -> anyhow::Result<Way> {
        let client = Client::builder().connect_timeout(CONNECT_TIMEOUT).timeout(ANSWER_TIMEOUT).no_proxy();
        if let Some(socket) = named.strip_prefix("unix:") {
            let client = client.unix_socket(Path::new(socket)).build()?;
            // The name is for the eye only: connections go to the socket.
            return Ok(Way { url: "http://localhost".to_owned(), named: named.to_owned(), client });
        }
        let uri: Uri = named.parse()?;
        let host = uri.host().unwrap_or_default();
        let token = self.tokens.get(&Some(host.to_owned())).or_else(|| self.tokens.get(&None));
        let client = if uri.scheme() == Some(&Scheme::HTTPS) {
            let mut client = client.https_only(true);
            if !self.ca.is_empty() {
                // Only these: no other authority speaks for a manager.
                client = client.tls_certs_only(self.ca.clone());
            }
            if let Some(token) = token {
                let bearer = HeaderValue::from_str(&format!("Bearer {token}"));
                let mut bearer = bearer.with_context(|| format!("the token for {named} is no token"))?;
                bearer.set_sensitive(true);
                client = client.default_headers(HeaderMap::from_iter([(AUTHORIZATION, bearer)]));
            }
            client
        } else {
            if token.is_some() {
                bail!(
                    "--manager {named}: there is a token, and a token is not sent where everybody can read it: use \
                     https://{host}:{TLS_PORT} and --ca, or leave the token out"
                );
            }
            client
        };
        Ok(Way { url: named.to_owned(), named: named.to_owned(), client: client.build()? })
    }

    /// The way to a manager whose address alone is known.
    ///
    /// # Errors
    ///
    /// As [`Ways::to`].
    pub fn to_address(&self, address: IpAddr) -> anyhow::Result<Way> {
        let (scheme, port) = if self.tokens.is_empty() { ("http", PLAIN_PORT) } else { ("https", TLS_PORT) };
        self.to(&format!("{scheme}://{}", std::net::SocketAddr::new(address, port)))
    }
}

/// One token, or one for each manager.
fn read_tokens(path: &Path) -> anyhow::Result<Tokens> {
    let text = fs::read_to_string(path).with_context(|| format!("--token-file {}", path.display()))?;
    let mut tokens = Tokens::new();
    // `manager access create` prints more than the token.
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [token] if is_token(token) => tokens.insert(None, token.to_owned()),
            [host, token] if is_token(token) => tokens.insert(Some(host.to_owned()), token.to_owned()),
            _ => continue,
        };
    }
    ensure!(
        !tokens.is_empty(),
        "--token-file {} has no token: expected what `manager access create` printed, or lines \"ADDRESS TOKEN\"",
        path.display()
    );
    Ok(tokens)
}

fn is_token(word: &str) -> bool {
    word.starts_with("holdfast_")
}

/// The value of `--manager`.
///
/// # Errors
///
/// Says what was expected.
pub fn manager(text: &str) -> Result<String, String> {
    const EXPECTED: &str = "expected a URL such as http://192.168.10.1:8080 or https://192.168.10.1:8443, or \
         unix:/var/lib/holdfast/manager.sock";
    if let Some(path) = text.strip_prefix("unix:") {
        return Path::new(path).is_absolute().then(|| text.to_owned()).ok_or_else(|| EXPECTED.to_owned());
    }
    let (scheme, rest) = text.split_once("://").ok_or(EXPECTED)?;
    match rest.trim_end_matches('/').parse::<Authority>() {
        Ok(authority) if ["http", "https"].contains(&scheme) => Ok(format!("{scheme}://{authority}")),
        _ => Err(EXPECTED.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_a_manager_is_read_and_nothing_else() {
        for (text, expected) in [
            ("http://192.168.10.1:8080/", "http://192.168.10.1:8080"),
            ("https://[fd00::1]:8443", "https://[fd00::1]:8443"),
            ("unix:/run/m.sock", "unix:/run/m.sock"),
        ] {
            assert_eq!(manager(text).as_deref(), Ok(expected));
        }
        for wrong in ["192.168.10.1:8080", "ftp://a", "unix:m.sock", "http://a/b c", ""] {
            assert!(manager(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn each_manager_gets_its_own_token_and_none_of_them_in_plain_sight() {
        let file = std::env::temp_dir().join(format!("holdfast-tokens-{}", std::process::id()));
        let read = |text: &str| {
            fs::write(&file, text).expect("written");
            let tokens = read_tokens(&file);
            fs::remove_file(&file).expect("removed");
            tokens
        };
        let printed = "holdfast_aa\n\nThis is shown once. It never expires.\n";
        assert_eq!(read(printed).expect("a token"), Tokens::from([(None, "holdfast_aa".to_owned())]));
        let tokens = read("192.168.10.1 holdfast_aa\n192.168.10.2 holdfast_bb\n").expect("two");
        assert_eq!(tokens[&Some("192.168.10.2".to_owned())], "holdfast_bb");
        assert!(read("secret\n").expect_err("none").to_string().contains("manager access create"));

        let ways = Ways { tokens, ca: Vec::new() };
        let error = ways.to("http://192.168.10.1:8080").expect_err("refused").to_string();
        assert!(error.contains("https://192.168.10.1:8443"), "{error}");
        assert!(ways.to("http://192.168.10.3:8080").is_ok(), "there is none for this one");
        let way = ways.to_address([192, 168, 10, 2].into()).expect("a way");
        assert_eq!(way.url, "https://192.168.10.2:8443");
    }
}

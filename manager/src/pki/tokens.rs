//! Join tokens: each lets one host in, once, for a while.
//!
//! ```text
//!   HF1.<SHA-256 of the CA's certificate>.<secret>
//!    │            │                          └ proves to the cluster that the host was invited
//!    │            └ proves to the host that it is this cluster that it talks to
//!    └ the version of this format
//! ```
//!
//! The secret is kept as its SHA-256 only: it is 256 random bits, which nobody finds by trying. A token is one
//! file, and taking it is one rename, which succeeds once.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::files::{Directory, write_private};
use super::{PkiError, hex, now, random};

const VERSION: &str = "HF1";

/// How long a token is good unless told otherwise.
pub const DEFAULT_TTL: Duration = Duration::from_secs(15 * 60);

/// The longest that one may be good for.
pub const MAX_TTL: Duration = Duration::from_secs(7 * 24 * 3600);

/// A token that was used or has expired is remembered for so long, in seconds, so that it can be told which.
const REMEMBERED_S: i64 = 7 * 24 * 3600;

/// A token as it is printed and typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The fingerprint of the CA.
    pub ca: String,
    /// What is shown to the cluster.
    pub secret: String,
}

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{VERSION}.{}.{}", self.ca, self.secret)
    }
}

impl std::str::FromStr for Token {
    type Err = PkiError;

    fn from_str(text: &str) -> Result<Self, PkiError> {
        let wrong = |why: &str| {
            PkiError::Token(format!(
                "this is no join token ({why}): `manager token`, on the host that keeps the CA, prints one"
            ))
        };
        let mut parts = text.trim().split('.');
        let (version, ca, secret) = (parts.next(), parts.next(), parts.next());
        if version != Some(VERSION) {
            return Err(wrong("it does not begin with HF1."));
        }
        let part = |part: Option<&str>| {
            part.filter(|part| part.len() == 64 && part.bytes().all(|byte| byte.is_ascii_hexdigit()))
                .map(str::to_ascii_lowercase)
        };
        match (part(ca), part(secret), parts.next()) {
            (Some(ca), Some(secret), None) => Ok(Token { ca, secret }),
            _ => Err(wrong("it is not complete")),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Record {
    /// In seconds since 1970.
    expires_s: i64,
}

/// The tokens that this host gave out.
pub struct Tokens<'a>(&'a Directory);

impl<'a> Tokens<'a> {
    /// Those in `directory`.
    pub fn of(directory: &'a Directory) -> Self {
        Tokens(directory)
    }

    fn open(&self, secret: &str) -> PathBuf {
        self.0.path("tokens").join(hex(&Sha256::digest(secret)))
    }

    fn used(&self, secret: &str) -> PathBuf {
        self.open(secret).with_extension("used")
    }

    /// A new token, good for `ttl`.
    ///
    /// # Errors
    ///
    /// When it cannot be stored.
    pub fn create(&self, ca: String, ttl: Duration) -> Result<Token, PkiError> {
        self.forget_old()?;
        let token = Token { ca, secret: hex(&random::<32>()?) };
        let expires_s = now().unix_timestamp() + i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX / 2);
        let record = serde_json::to_vec(&Record { expires_s }).unwrap_or_default();
        write_private(&self.open(&token.secret), &record)?;
        Ok(token)
    }

    /// Whether `secret` lets a host in now.
    ///
    /// # Errors
    ///
    /// Says why not.
    pub fn check(&self, secret: &str) -> Result<(), PkiError> {
        let again = "`manager token` prints another";
        let text = match fs::read(self.open(secret)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let used = self.used(secret).exists();
                let why =
                    if used { "this token has been used already" } else { "this token is not known here" };
                return Err(PkiError::Token(format!("{why}: {again}")));
            }
            Err(error) => return Err(PkiError::Io { what: "the token".to_owned(), error }),
        };
        let record: Record = serde_json::from_slice(&text)
            .map_err(|error| PkiError::Damaged(format!("the token: {error}")))?;
        if now().unix_timestamp() >= record.expires_s {
            return Err(PkiError::Token(format!("this token has expired: {again}")));
        }
        Ok(())
    }

    /// Uses the token up. Of several who try, one succeeds.
    ///
    /// # Errors
    ///
    /// As [`Tokens::check`].
    pub fn take(&self, secret: &str) -> Result<(), PkiError> {
        self.check(secret)?;
        fs::rename(self.open(secret), self.used(secret)).map_err(|error| match self.check(secret) {
            // Somebody else was faster.
            Err(refused) => refused,
            Ok(()) => PkiError::Io { what: "the token cannot be used up".to_owned(), error },
        })
    }

    /// A token that was taken for nothing is good again. Where the disk does not let us, it stays used.
    pub fn give_back(&self, secret: &str) {
        let _ = fs::rename(self.used(secret), self.open(secret));
    }

    /// So that the directory does not grow for ever.
    fn forget_old(&self) -> Result<(), PkiError> {
        let directory = self.0.path("tokens");
        let io = |error| PkiError::Io { what: directory.display().to_string(), error };
        for entry in fs::read_dir(&directory).map_err(io)? {
            let path = entry.map_err(io)?.path();
            let record: Option<Record> =
                fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok());
            if record.is_none_or(|record| now().unix_timestamp() > record.expires_s + REMEMBERED_S) {
                fs::remove_file(&path).map_err(io)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read_and_nothing_else() {
        let token = Token { ca: "0a".repeat(32), secret: "f1".repeat(32) };
        assert_eq!(format!(" {token}\n").parse::<Token>().expect("a token"), token);
        for wrong in ["", "HF1", "HF2.00.00", &format!("{token}.x"), &token.to_string()[..100]] {
            let error = wrong.parse::<Token>().expect_err(wrong).to_string();
            assert!(error.starts_with("this is no join token"), "{error}");
        }
    }
}

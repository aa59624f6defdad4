//! Tokens: secrets that people and programs show to do things from elsewhere.
//!
//! A secret has 256 random bits, so that nobody can try them all. It is stored as its SHA-256: a slow hash such
//! as Argon2 makes guessing *passwords* dear, and there is nothing to guess here, while it would make every
//! request dear, and so the manager easy to keep busy. Hashes are compared in constant time.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use wire::Problem;
use wire::access::{CreateToken, NewToken, Scope, TokenView};

use super::rules::Bearer;
use crate::store::{Store, StoreError, Table};

/// What secrets begin with, so that they are recognised where they should not be.
const PREFIX: &str = "holdfast_";

/// So many tokens there may be: each request is compared with all of them.
const MOST_TOKENS: usize = 256;

/// The longest name, in characters.
const LONGEST_NAME: usize = 64;

/// The longest time a token may be good for, in seconds: ten years.
const LONGEST_LIFE_S: u64 = 10 * 365 * 86_400;

/// When a token was last used is stored at most this often, in seconds.
const USE_EVERY_S: u64 = 60;

/// The tokens, by their names.
const TOKENS: Table<StoredToken> = Table::new("tokens");

/// A token as it is stored. Times in seconds since 1970-01-01 UTC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct StoredToken {
    /// SHA-256 of the secret, in hexadecimal.
    hash: String,
    scopes: BTreeSet<Scope>,
    created_unix_s: u64,
    expires_unix_s: Option<u64>,
    last_used_unix_s: Option<u64>,
}

impl StoredToken {
    fn has_expired(&self, now_s: u64) -> bool {
        self.expires_unix_s.is_some_and(|end| end <= now_s)
    }

    fn view(&self, name: &str, now_s: u64) -> TokenView {
        TokenView {
            name: name.to_owned(),
            scopes: self.scopes.clone(),
            created_unix_s: self.created_unix_s,
            expires_unix_s: self.expires_unix_s,
            last_used_unix_s: self.last_used_unix_s,
            expired: self.has_expired(now_s),
        }
    }
}

/// The tokens of one manager.
#[derive(Clone)]
pub struct Tokens {
    store: Store,
    /// As stored; none until the store could be read.
    held: Arc<Mutex<Option<BTreeMap<String, StoredToken>>>>,
}

/// Whose token was shown, and whether that is to be noted.
pub struct Shown {
    /// What it is good for.
    pub bearer: Bearer,
    /// Whether its last use should be stored: see [`Tokens::note_use`].
    pub note: bool,
}

impl Tokens {
    /// The tokens in `store`.
    pub fn new(store: Store) -> Self {
        Tokens { store, held: Arc::default() }
    }

    /// What a secret that was sent is good for at `now_s`. Asks the store only the first time.
    pub fn show(&self, secret: &str, now_s: u64) -> Shown {
        let hash = hash(secret);
        let mut held = self.lock();
        let tokens = match self.loaded(&mut held) {
            Ok(tokens) => tokens,
            Err(error) => {
                let why = format!("tokens cannot be read now ({error}); on the host itself the socket works");
                return Shown { bearer: Bearer::Worthless(why), note: false };
            }
        };
        // All of them are compared, so that it does not show where one is.
        let mut found = None;
        for (name, token) in tokens.iter_mut() {
            if bool::from(token.hash.as_bytes().ct_eq(hash.as_bytes())) {
                found = Some((name, token));
            }
        }
        let Some((name, token)) = found else {
            let why = "this token is unknown or was revoked: `manager access list` on the host shows which there are";
            return Shown { bearer: Bearer::Worthless(why.to_owned()), note: false };
        };
        if token.has_expired(now_s) {
            let why = format!("the token `{name}` has expired: make a new one with `manager access create`");
            return Shown { bearer: Bearer::Worthless(why), note: false };
        }
        let note = token.last_used_unix_s.is_none_or(|last| now_s >= last.saturating_add(USE_EVERY_S));
        if note {
            token.last_used_unix_s = Some(now_s);
        }
        Shown { bearer: Bearer::Known { name: name.clone(), scopes: token.scopes.clone() }, note }
    }

    /// Stores when `name` was last used. Blocks while the disk does.
    pub fn note_use(&self, name: &str) {
        let held = self.lock();
        let Some(token) = held.as_ref().and_then(|tokens| tokens.get(name)) else { return };
        // A full disk is told of elsewhere; until there is room again the use is remembered here.
        let _ = self.store.put(&TOKENS, name, token);
    }

    /// Makes a token. Blocks while the disk does.
    ///
    /// # Errors
    ///
    /// 400 for what cannot be meant, 409 for a name that is taken and when there are too many, 503 when it
    /// cannot be stored.
    pub fn create(&self, order: CreateToken, now_s: u64) -> Result<NewToken, Problem> {
        let CreateToken { name, scopes, expires_in_s } = order;
        check_name(&name).map_err(|detail| Problem::bad_parameter("name", detail))?;
        if scopes.is_empty() {
            return Err(Problem::bad_parameter("scopes", "expected at least one of read, operate, chaos"));
        }
        if expires_in_s.is_some_and(|seconds| !(1..=LONGEST_LIFE_S).contains(&seconds)) {
            let detail = "expected from one second to ten years; without it, the token never expires";
            return Err(Problem::bad_parameter("expires_in_s", detail));
        }
        let secret = new_secret().map_err(|error| Problem::unavailable(format!("no randomness: {error}")))?;
        let mut held = self.lock();
        let tokens = self.loaded(&mut held).map_err(|error| not_stored(&error))?;
        if tokens.contains_key(&name) {
            return Err(Problem::conflict(format!(
                "there is a token `{name}` already: `manager access revoke {name}`, or take another name"
            )));
        }
        if tokens.len() >= MOST_TOKENS {
            let detail = format!("there are {MOST_TOKENS} tokens already: revoke those that are not used");
            return Err(Problem::conflict(detail));
        }
        let token = StoredToken {
            hash: hash(&secret),
            scopes,
            created_unix_s: now_s,
            expires_unix_s: expires_in_s.map(|seconds| now_s.saturating_add(seconds)),
            last_used_unix_s: None,
        };
        self.store.put(&TOKENS, &name, &token).map_err(|error| not_stored(&error))?;
        let view = token.view(&name, now_s);
        tokens.insert(name, token);
        Ok(NewToken { secret, token: view })
    }

    /// All tokens. Blocks while the disk does.
    ///
    /// # Errors
    ///
    /// 503 when they cannot be read.
    pub fn list(&self, now_s: u64) -> Result<Vec<TokenView>, Problem> {
        let mut held = self.lock();
        let tokens = self.loaded(&mut held).map_err(|error| not_stored(&error))?;
        Ok(tokens.iter().map(|(name, token)| token.view(name, now_s)).collect())
    }

    /// Makes the token `name` worthless, at once and for good. Blocks while the disk does.
    ///
    /// # Errors
    ///
    /// 404 when there is none, 503 when that cannot be stored: it is worthless all the same, until the
    /// manager starts again.
    pub fn revoke(&self, name: &str, now_s: u64) -> Result<TokenView, Problem> {
        let mut held = self.lock();
        let tokens = self.loaded(&mut held).map_err(|error| not_stored(&error))?;
        let Some(token) = tokens.get_mut(name) else {
            return Err(Problem {
                parameter: Some("name".to_owned()),
                ..Problem::not_found(format!(
                    "there is no token `{name}`; `manager access list` shows those that there are"
                ))
            });
        };
        // It stays known until it is gone from the disk too, so that it can be revoked again.
        token.expires_unix_s = Some(now_s);
        let view = token.view(name, now_s);
        self.store.remove(&TOKENS, name).map_err(|error| {
            Problem::unavailable(format!(
                "the token `{name}` is worthless now, but that cannot be stored ({error}): make room, then revoke it \
                 again, or it is good again when the manager restarts"
            ))
        })?;
        tokens.remove(name);
        Ok(view)
    }

    fn loaded<'a>(
        &self,
        held: &'a mut Option<BTreeMap<String, StoredToken>>,
    ) -> Result<&'a mut BTreeMap<String, StoredToken>, StoreError> {
        if held.is_none() {
            *held = Some(self.store.all(&TOKENS)?);
        }
        Ok(held.get_or_insert_default())
    }

    fn lock(&self) -> MutexGuard<'_, Option<BTreeMap<String, StoredToken>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn not_stored(error: &StoreError) -> Problem {
    Problem::unavailable(format!("tokens cannot be stored: {error}"))
}

fn check_name(name: &str) -> Result<(), String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._@-".contains(&byte);
    if !name.is_empty() && name.len() <= LONGEST_NAME && name.bytes().all(fits) {
        return Ok(());
    }
    Err(format!("expected 1 to {LONGEST_NAME} letters, digits, `.`, `_`, `@` and `-`"))
}

fn new_secret() -> Result<String, getrandom::Error> {
    let mut random = [0; 32];
    getrandom::fill(&mut random)?;
    Ok(format!("{PREFIX}{}", hex(&random)))
}

fn hash(secret: &str) -> String {
    hex(&Sha256::digest(secret.as_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(name: &str, expires_in_s: Option<u64>) -> CreateToken {
        CreateToken { name: name.to_owned(), scopes: [Scope::Operate].into(), expires_in_s }
    }

    fn is_good(tokens: &Tokens, secret: &str, now_s: u64) -> bool {
        matches!(tokens.show(secret, now_s).bearer, Bearer::Known { .. })
    }

    #[test]
    fn a_token_is_good_until_it_expires_or_is_revoked_also_after_a_restart() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open(directory.path()).expect("a store");
        let tokens = Tokens::new(store.clone());
        let made = tokens.create(order("ci", Some(100)), 1_000).expect("made");
        let forever = tokens.create(order("forever", None), 1_000).expect("made");
        assert_ne!(made.secret, forever.secret);
        assert_eq!(made.secret.len(), PREFIX.len() + 64);
        for good in [&made.secret, &forever.secret] {
            assert!(is_good(&tokens, good, 1_099));
            assert!(!is_good(&tokens, &good[..good.len() - 1], 1_099));
        }
        assert!(!is_good(&tokens, "", 1_099));
        assert!(!is_good(&tokens, &made.secret, 1_100), "it has expired");
        assert!(is_good(&tokens, &forever.secret, u64::MAX));

        let again = Tokens::new(store.clone());
        assert!(is_good(&again, &forever.secret, 2_000) && !is_good(&again, &made.secret, 2_000));
        again.revoke("forever", 2_000).expect("revoked");
        assert!(!is_good(&again, &forever.secret, 2_000));
        assert_eq!(again.revoke("forever", 2_000).expect_err("gone").status, 404);
        assert!(!is_good(&Tokens::new(store), &forever.secret, 2_000), "for good");
    }

    #[test]
    fn the_secret_is_stored_nowhere() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open(directory.path()).expect("a store");
        let tokens = Tokens::new(store.clone());
        let secret = tokens.create(order("ci", None), 1).expect("made").secret;
        tokens.show(&secret, 2);
        tokens.note_use("ci");
        drop((tokens, store));
        let secret = secret.trim_start_matches(PREFIX).as_bytes();
        for file in std::fs::read_dir(directory.path()).expect("readable") {
            let bytes = std::fs::read(file.expect("a file").path()).expect("readable");
            assert!(!bytes.windows(secret.len()).any(|window| window == secret));
        }
    }

    #[test]
    fn the_last_use_is_noted_once_a_minute() {
        let directory = tempfile::tempdir().expect("a directory");
        let tokens = Tokens::new(Store::open(directory.path()).expect("a store"));
        let secret = tokens.create(order("ci", None), 1_000).expect("made").secret;
        let noted: Vec<bool> =
            [1_000, 1_001, 1_059, 1_060, 1_061].map(|now_s| tokens.show(&secret, now_s).note).to_vec();
        assert_eq!(noted, [true, false, false, true, false]);
        assert_eq!(tokens.list(1_061).expect("readable")[0].last_used_unix_s, Some(1_060));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let tokens = Tokens::new(Store::open(directory.path()).expect("a store"));
        for name in ["", "a b", "a/b", "ä", &"x".repeat(65)] {
            let problem = tokens.create(order(name, None), 1).expect_err("refused");
            assert_eq!((problem.status, problem.parameter.as_deref()), (400, Some("name")));
        }
        for seconds in [0, u64::MAX] {
            assert_eq!(tokens.create(order("a", Some(seconds)), 1).expect_err("refused").status, 400);
        }
        let nothing = CreateToken { scopes: BTreeSet::new(), ..order("a", None) };
        assert_eq!(tokens.create(nothing, 1).expect_err("refused").parameter.as_deref(), Some("scopes"));
        tokens.create(order("a", None), 1).expect("made");
        assert_eq!(tokens.create(order("a", None), 1).expect_err("taken").status, 409);
        for n in 1..MOST_TOKENS {
            tokens.create(order(&format!("t{n}"), None), 1).expect("made");
        }
        assert_eq!(tokens.create(order("one-more", None), 1).expect_err("too many").status, 409);
    }
}

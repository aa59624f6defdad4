//! Holds what clients are shown, in memory and in the store, so that a manager that starts while a file is missing or
//! the others are away takes nothing from its balancer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use wire::balancing::Secret;
use wire::certificates::Certificate;
use wire::shared_secrets::{AcmeAccount, AcmeChallenge, Attempt, Issued, SharedSecrets, TicketKey};

use super::files::{self, Read};
use super::merge::{digest, hexadecimal, is_as_it_says, is_challenge, kept, merged};
use super::{acme, pem, ticket_keys};
use crate::access::unix_ms;
use crate::config::{Acme, CertificateFiles, Config};
use crate::engine::Front;
use crate::store::{Store, StoreError, Table};

/// What the files contained, by their names.
const FILES: Table<Certificate> = Table::new("certificate-files");

/// What managers share, in the one row.
const SHARED: Table<SharedSecrets> = Table::new("shared-secrets");
const CLUSTER: &str = "cluster";

/// The longest message of a failure, in characters.
const MESSAGE: usize = 500;

/// A key for tickets, in random bytes.
const KEY: usize = 32;

/// What clients are shown, as this manager knows it.
pub struct Keeper {
    files: Vec<CertificateFiles>,
    pub(super) acme: Option<Acme>,
    store: Store,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    read: Read,
    shared: SharedSecrets,
    /// What of it is stored; what could not be is tried again.
    stored: SharedSecrets,
    stored_files: Read,
    /// What is wrong with the files.
    file_troubles: Vec<String>,
    /// What is wrong with the store.
    store_trouble: Option<String>,
}

impl Keeper {
    /// With what an earlier life of this manager stored and what the files contain. Blocks while the disk does.
    pub fn open(config: &Config, store: Store) -> Self {
        let stored = |error: StoreError| tracing::error!("what clients are shown cannot be read: {error}");
        let read = store.all(&FILES).map_err(stored).unwrap_or_default();
        let shared = store.get(&SHARED, CLUSTER).map_err(stored).ok().flatten().unwrap_or_default();
        let state =
            State { stored_files: read.clone(), read, stored: shared.clone(), shared, ..State::default() };
        let (files, acme) = (config.certificates.clone(), config.acme.clone());
        let keeper = Keeper { files, acme, store, state: Mutex::new(state) };
        keeper.read_files();
        keeper
    }

    /// Reads the files anew. Blocks while the disk does. Says what is wrong.
    pub(super) fn read_files(&self) -> Vec<String> {
        let held = self.state().read.clone();
        let (read, troubles) = files::read(&self.files, &held);
        let mut state = self.state();
        if state.read != read {
            tracing::info!(certificates = read.len(), "certificates read from their files");
            state.read = read;
        }
        state.file_troubles.clone_from(&troubles);
        troubles
    }

    /// Stores what is not yet. Blocks while the disk does. Says what is wrong.
    pub(super) fn save(&self) -> Option<String> {
        let (read, shared, stored_files, stored) = {
            let state = self.state();
            if state.read == state.stored_files && state.shared == state.stored {
                return None;
            }
            (state.read.clone(), state.shared.clone(), state.stored_files.clone(), state.stored.clone())
        };
        let saved = self.write(&read, &shared, &stored_files, &stored);
        let mut state = self.state();
        state.store_trouble = match saved {
            Ok(()) => {
                (state.stored_files, state.stored) = (read, shared);
                None
            }
            Err(error) => Some(format!("what clients are shown cannot be stored: {error}")),
        };
        state.store_trouble.clone()
    }

    fn write(
        &self,
        read: &Read,
        shared: &SharedSecrets,
        stored_files: &Read,
        stored: &SharedSecrets,
    ) -> Result<(), StoreError> {
        if shared != stored {
            self.store.put(&SHARED, CLUSTER, shared)?;
        }
        for (name, certificate) in read.iter().filter(|(name, one)| stored_files.get(*name) != Some(one)) {
            self.store.put(&FILES, name, certificate)?;
        }
        for name in stored_files.keys().filter(|name| !read.contains_key(*name)) {
            self.store.remove(&FILES, name)?;
        }
        Ok(())
    }

    /// What the balancer is to show at `now`, in milliseconds since 1970-01-01 UTC. With `shares`, all balancers of the
    /// cluster have the same keys for tickets; without, each makes its own.
    pub fn front(&self, now: u64, shares: bool) -> Front {
        let state = self.state();
        let in_their_order = self.files.iter().filter_map(|files| state.read.get(&files::name(files)));
        let issued = self.ids().into_iter().filter_map(|id| Some(&state.shared.issued.get(&id)?.certificate));
        let asked = state.shared.challenges.iter().filter(|(_, challenge)| challenge.until_unix_ms > now);
        let mut answers = BTreeMap::new();
        let mut challenge_certificates = Vec::new();
        for (token, challenge) in asked {
            match &challenge.certificate {
                Some(certificate) => challenge_certificates.push(certificate.clone()),
                None => _ = answers.insert(token.clone(), challenge.key_authorization.clone()),
            }
        }
        Front {
            certificates: in_their_order.chain(issued).cloned().collect(),
            answers,
            challenge_certificates,
            ticket_keys: if shares { ticket_keys::given(&state.shared.ticket_keys, now) } else { Vec::new() },
            warnings: state
                .file_troubles
                .iter()
                .cloned()
                .chain(state.store_trouble.clone())
                .chain(self.ids().iter().filter_map(|id| failure(&state.shared, id, now)))
                .collect(),
        }
    }

    /// Does what an owner does at `now`: makes the next key for tickets when it is time.
    ///
    /// # Errors
    ///
    /// When the system has no random numbers.
    pub(super) fn tend(&self, now: u64) -> Result<(), getrandom::Error> {
        let mut state = self.state();
        state.shared = kept(std::mem::take(&mut state.shared), now);
        let mut keys = state.shared.ticket_keys.clone();
        if ticket_keys::due(&keys, now) {
            let mut random = [0; KEY];
            getrandom::fill(&mut random)?;
            keys.insert(TicketKey { made_unix_ms: now, key: Secret(hexadecimal(&random)) });
            tracing::info!("a new key for session tickets is made");
        }
        state.shared.ticket_keys = keys;
        Ok(())
    }

    /// All that is shared, and its digest.
    pub(super) fn shared(&self) -> (SharedSecrets, String) {
        let shared = self.state().shared.clone();
        let digest = digest(&shared);
        (shared, digest)
    }

    /// Takes what another manager told at `now`; whether anything is new.
    pub(super) fn take(&self, told: &SharedSecrets, now: u64) -> bool {
        let mut state = self.state();
        let merged = merged(&state.shared, told, now);
        let is_new = merged != state.shared;
        state.shared = merged;
        is_new
    }

    /// Whether any certificate for TLS to clients is configured: without, nobody needs keys for tickets.
    pub(super) fn is_wanted(&self) -> bool {
        !self.files.is_empty() || self.acme.is_some()
    }

    /// Which certificates this manager can get, as they are called in what is shared.
    pub(super) fn ids(&self) -> Vec<String> {
        let names = |acme: &Acme| acme.certificates.iter().map(|names| acme::id(acme, names)).collect();
        self.acme.as_ref().map(names).unwrap_or_default()
    }

    /// There is an account at the server of `directory`.
    pub(super) fn has_account(&self, directory: String, account: AcmeAccount) {
        self.state().shared.accounts.insert(directory, account);
    }

    /// A server may ask for `token` from now on.
    ///
    /// # Errors
    ///
    /// When what it wants to see is none of what servers want to see.
    pub(super) fn challenged(&self, token: String, challenge: AcmeChallenge) -> Result<(), String> {
        if !is_challenge(&token, &challenge, unix_ms()) {
            return Err("the server's challenge is not as it should be (RFC 8555, section 8.1)".to_owned());
        }
        self.state().shared.challenges.insert(token, challenge);
        Ok(())
    }

    /// At `now` no server has anything to ask any more.
    pub(super) fn end_challenges(&self, now: u64) {
        for challenge in self.state().shared.challenges.values_mut() {
            challenge.until_unix_ms = challenge.until_unix_ms.min(now);
        }
    }

    /// The server issued `certificate` for what is called `id`.
    ///
    /// # Errors
    ///
    /// When it is not for that.
    pub(super) fn issued(&self, id: &str, certificate: Certificate) -> Result<(), String> {
        let facts = pem::look(&certificate).map_err(|error| format!("what the server issued: {error}"))?;
        let seconds = |time: i64| u64::try_from(time).unwrap_or_default();
        let issued = Issued {
            certificate,
            not_before_unix_s: seconds(facts.not_before),
            not_after_unix_s: seconds(facts.not_after),
        };
        if !is_as_it_says(id, &issued) {
            return Err(format!("the server issued a certificate for {}", facts.names.join(", ")));
        }
        self.state().shared.issued.insert(id.to_owned(), issued);
        Ok(())
    }

    /// An attempt to get what is called `id` ended at `now`; how many in a row have failed.
    pub(super) fn attempted(&self, id: &str, outcome: Result<(), String>, now: u64) -> u32 {
        let mut state = self.state();
        let before = state.shared.attempts.get(id).map_or(0, |last| last.failures);
        let (failures, message) = match outcome {
            Ok(()) => (0, String::new()),
            Err(message) => (before.saturating_add(1), shortened(message)),
        };
        let attempt = Attempt { ended_unix_ms: now, failures, message };
        state.shared.attempts.insert(id.to_owned(), attempt);
        failures
    }

    /// Until when what clients are shown is good, in seconds since 1970-01-01 UTC, by name.
    pub fn ends(&self) -> BTreeMap<String, i64> {
        let front = self.front(unix_ms(), false);
        let mut ends = BTreeMap::new();
        for facts in front.certificates.iter().filter_map(|certificate| pem::look(certificate).ok()) {
            for name in facts.names {
                // The first for a name is the one that is shown.
                ends.entry(name).or_insert(facts.not_after);
            }
        }
        ends
    }

    /// How many attempts in a row to get each certificate have failed, by its names.
    pub fn failures(&self) -> BTreeMap<String, u32> {
        let state = self.state();
        let failures = |id: &String| state.shared.attempts.get(id).map_or(0, |last| last.failures);
        self.ids().iter().map(|id| (acme::names(id).join(" "), failures(id))).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a person should know of the certificate called `id`.
fn failure(shared: &SharedSecrets, id: &str, now: u64) -> Option<String> {
    let last = shared.attempts.get(id).filter(|last| last.failures > 0)?;
    let held = match shared.issued.get(id) {
        Some(held) => {
            let left = held.not_after_unix_s.saturating_sub(now / 1_000);
            format!("the present one is good for {} more days", left / 86_400)
        }
        None => "there is none".to_owned(),
    };
    let (names, times) = (acme::names(id).join(", "), last.failures);
    Some(format!("no certificate for {names} after {times} attempts: {}; {held}", last.message))
}

/// What servers say may be long.
fn shortened(message: String) -> String {
    match message.char_indices().nth(MESSAGE) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message,
    }
}

/// The lowest of `addresses` with `own` among them is the owner's.
pub(super) fn is_owner<A: Ord>(own: &A, heard: &BTreeSet<A>) -> bool {
    heard.first().is_none_or(|lowest| own < lowest)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use kit::config::Source;

    use super::super::pem::tests::made;
    use super::*;

    fn config(directory: &Path) -> Config {
        let text = format!(
            "name = \"a\"\naddress = \"192.168.10.1\"\ngateway = \"192.168.10.1\"\nhypervisor = \"namespaces\"\n\
             address_pool = [\"192.168.10.10-192.168.10.16\"]\n[[certificate]]\nchain_file = {:?}\nkey_file = {:?}\n",
            directory.join("chain.pem"),
            directory.join("key.pem")
        );
        Config::check(&Source::from_text("a.toml", &text)).expect("valid")
    }

    #[test]
    fn a_manager_that_starts_without_the_files_shows_what_it_showed_before() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open(directory.path()).expect("a store");
        let config = config(directory.path());
        let certificate = made(&["a.example"]);
        fs::write(directory.path().join("chain.pem"), &certificate.chain).expect("written");
        fs::write(directory.path().join("key.pem"), &certificate.key.0).expect("written");
        let now = 1_800_000_000_000;
        let first = Keeper::open(&config, store.clone());
        first.tend(now).expect("random numbers");
        assert_eq!(first.save(), None);
        let shown = first.front(now, true);
        assert_eq!((&shown.certificates[..], shown.ticket_keys.len()), (&[certificate][..], 1));
        fs::remove_file(directory.path().join("chain.pem")).expect("removed");
        let second = Keeper::open(&config, store.clone());
        let again = second.front(now, true);
        assert_eq!((again.certificates, again.ticket_keys), (shown.certificates, shown.ticket_keys));
        assert!(again.warnings[0].contains("the one before it stays in use"), "{:?}", again.warnings);
        assert!(second.front(now, false).ticket_keys.is_empty(), "each balancer its own");
        // What is not configured any more is not kept either.
        let bare = Config { certificates: Vec::new(), ..config };
        let third = Keeper::open(&bare, store.clone());
        assert!(third.front(now, true).certificates.is_empty());
        assert_eq!(third.save(), None);
        assert!(store.all(&FILES).expect("readable").is_empty());
    }

    #[test]
    fn the_lowest_that_is_heard_owns() {
        assert!(is_owner(&1, &BTreeSet::new()) && is_owner(&1, &BTreeSet::from([2, 3])));
        assert!(!is_owner(&2, &BTreeSet::from([1, 3])));
    }
}

//! Session tickets (RFC 5077; RFC 8446, section 4.6.1): with one, a client's next connection needs no certificate and
//! no signature. All that is known of the session is in the ticket, so any balancer with the same keys resumes it.
//!
//! ```text
//!   name (16) │ salt (16) │ AES-256-GCM( issued at (8) │ session ) │ tag (16)
//!                            key: HMAC-SHA256(secret, "ticket" │ salt), for this ticket alone
//!                            bound to: name, and what the listener asks of clients' certificates
//! ```
//!
//! Because each ticket has a key of its own, no number of tickets wears a secret out (a random nonce would after
//! 2^32), and balancers that share it need not know of each other. Because a ticket is bound to what its listener
//! asked of the client, one of a listener without client certificates opens none that wants them.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use ring::aead::{self, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use rustls::server::ProducesTickets;
use wire::balancing::Secret;

/// A ticket is taken for so long.
const LIFETIME: Duration = Duration::from_secs(12 * 3600);

/// Clocks of two balancers may differ by so much.
const SKEW: Duration = Duration::from_secs(300);

/// Where no keys are given, a new one is made so often; that before it counts as long again.
const ROTATE: Duration = Duration::from_secs(6 * 3600);

/// What comes ahead of the encrypted part.
const NAME: usize = 16;
const SALT: usize = 16;
const TIME: usize = 8;

/// A larger one is none of ours: a session has a client's certificates at most.
const MOST: usize = 32 << 10;

/// The keys, the same for all listeners.
#[derive(Debug)]
pub(crate) struct Tickets(ArcSwap<KeyRing>);

/// Those in use at one time.
#[derive(Debug)]
struct KeyRing {
    /// The first one encrypts.
    keys: Vec<Key>,
    /// When they were made here; none: they are given, and replaced by who gave them.
    made: Option<SystemTime>,
}

#[derive(Clone)]
struct Key {
    name: [u8; NAME],
    secret: hmac::Key,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Secret::HIDDEN)
    }
}

impl Key {
    fn of(secret: &[u8]) -> Self {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let mut name = [0; NAME];
        name.copy_from_slice(&hmac::sign(&secret, b"name").as_ref()[..NAME]);
        Key { name, secret }
    }

    /// The key of the ticket with this salt.
    fn of_ticket(&self, salt: &[u8]) -> Option<LessSafeKey> {
        let mut context = hmac::Context::with_key(&self.secret);
        context.update(b"ticket");
        context.update(salt);
        UnboundKey::new(&AES_256_GCM, context.sign().as_ref()).ok().map(LessSafeKey::new)
    }
}

impl Tickets {
    /// With a key of our own, until some are given.
    pub(crate) fn new(now: SystemTime) -> Self {
        Tickets(ArcSwap::from_pointee(KeyRing { keys: own_key().into_iter().collect(), made: Some(now) }))
    }

    /// Takes `secrets` into use; where there are none, keys of our own.
    pub(crate) fn take(&self, secrets: &[Secret], now: SystemTime) {
        if secrets.is_empty() {
            if self.0.load().made.is_none() {
                let keys = own_key().into_iter().collect();
                self.0.store(Arc::new(KeyRing { keys, made: Some(now) }));
            }
            return;
        }
        let keys = secrets.iter().map(|secret| Key::of(secret.0.as_bytes())).collect();
        self.0.store(Arc::new(KeyRing { keys, made: None }));
    }

    /// Those in use at `now`; keys of our own that are too old are replaced.
    fn at(&self, now: SystemTime) -> Arc<KeyRing> {
        let present = self.0.load_full();
        let old = present.made.is_some_and(|made| now.duration_since(made).is_ok_and(|age| age >= ROTATE));
        let Some(key) = old.then(own_key).flatten() else { return present };
        let previous = present.keys.first().cloned();
        let next = Arc::new(KeyRing {
            keys: [Some(key), previous].into_iter().flatten().collect(),
            made: Some(now),
        });
        // Of several that come here at the same moment, one wins.
        self.0.compare_and_swap(&present, next);
        self.0.load_full()
    }
}

/// A new one; none where the system has no random numbers, and then there are no tickets.
fn own_key() -> Option<Key> {
    let mut secret = [0; 32];
    SystemRandom::new().fill(&mut secret).ok()?;
    Some(Key::of(&secret))
}

/// Makes and opens the tickets of listeners that ask the same of their clients.
#[derive(Debug)]
pub(super) struct Ticketer {
    tickets: Arc<Tickets>,
    /// What is asked of clients, as a digest.
    policy: [u8; 32],
}

impl Ticketer {
    pub(super) fn new(tickets: Arc<Tickets>, policy: [u8; 32]) -> Self {
        Ticketer { tickets, policy }
    }

    fn bound_to(&self, key: &Key) -> Aad<[u8; NAME + 32]> {
        let mut bound = [0; NAME + 32];
        bound[..NAME].copy_from_slice(&key.name);
        bound[NAME..].copy_from_slice(&self.policy);
        Aad::from(bound)
    }

    fn seal(&self, session: &[u8], now: SystemTime) -> Option<Vec<u8>> {
        let keys = self.tickets.at(now);
        let key = keys.keys.first()?;
        let mut salt = [0; SALT];
        SystemRandom::new().fill(&mut salt).ok()?;
        let issued = now.duration_since(UNIX_EPOCH).ok()?.as_secs();
        let mut ticket = Vec::with_capacity(NAME + SALT + TIME + session.len() + AES_256_GCM.tag_len());
        ticket.extend_from_slice(&key.name);
        ticket.extend_from_slice(&salt);
        ticket.extend_from_slice(&issued.to_be_bytes());
        ticket.extend_from_slice(session);
        let own = key.of_ticket(&salt)?;
        let tag = own
            .seal_in_place_separate_tag(only_nonce(), self.bound_to(key), &mut ticket[NAME + SALT..])
            .ok()?;
        ticket.extend_from_slice(tag.as_ref());
        (ticket.len() <= MOST).then_some(ticket)
    }

    fn open(&self, ticket: &[u8], now: SystemTime) -> Option<Vec<u8>> {
        if ticket.len() > MOST {
            return None;
        }
        let (name, rest) = ticket.split_at_checked(NAME)?;
        let (salt, sealed) = rest.split_at_checked(SALT)?;
        let keys = self.tickets.at(now);
        // The name is no secret: it is on the wire.
        let key = keys.keys.iter().find(|key| key.name == name)?;
        let mut sealed = sealed.to_vec();
        let opened =
            key.of_ticket(salt)?.open_in_place(only_nonce(), self.bound_to(key), &mut sealed).ok()?;
        let (issued, session) = opened.split_at_checked(TIME)?;
        let issued = UNIX_EPOCH + Duration::from_secs(u64::from_be_bytes(issued.try_into().ok()?));
        let fresh = match now.duration_since(issued) {
            Ok(age) => age < LIFETIME,
            Err(ahead) => ahead.duration() <= SKEW,
        };
        fresh.then(|| session.to_vec())
    }
}

/// A key encrypts one ticket only, so its nonce need not differ from any other.
fn only_nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; aead::NONCE_LEN])
}

impl ProducesTickets for Ticketer {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(LIFETIME.as_secs()).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.seal(plain, SystemTime::now())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.open(cipher, SystemTime::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn later(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
    }

    fn with(keys: &[&str]) -> Ticketer {
        let tickets = Arc::new(Tickets::new(later(0)));
        tickets.take(&secrets(keys), later(0));
        Ticketer::new(tickets, [7; 32])
    }

    fn secrets(keys: &[&str]) -> Vec<Secret> {
        keys.iter().map(|key| Secret(key.repeat(32))).collect()
    }

    #[test]
    fn balancers_with_the_same_keys_open_each_others_tickets_through_a_rotation() {
        let (a, b) = (with(&["1"]), with(&["1"]));
        let first = a.seal(b"session", later(0)).expect("sealed");
        assert_eq!(b.open(&first, later(1)).as_deref(), Some(&b"session"[..]));
        // A new key is first known everywhere, then used everywhere, then the old one is forgotten.
        for (keys_a, keys_b) in [(["1", "2"], ["1", "1"]), (["2", "1"], ["1", "2"]), (["2", "1"], ["2", "1"])]
        {
            a.tickets.take(&secrets(&keys_a), later(2));
            b.tickets.take(&secrets(&keys_b), later(2));
            for (from, to) in [(&a, &b), (&b, &a)] {
                let ticket = from.seal(b"more", later(3)).expect("sealed");
                assert!(to.open(&ticket, later(4)).is_some(), "{keys_a:?} {keys_b:?}");
                assert!(
                    to.open(&first, later(4)).is_some(),
                    "{keys_a:?} {keys_b:?}: the first key is still known"
                );
            }
        }
        b.tickets.take(&secrets(&["2"]), later(5));
        assert_eq!(b.open(&first, later(6)), None, "its key is gone");
    }

    #[test]
    fn a_ticket_that_was_changed_or_is_old_or_of_another_policy_is_none() {
        let ticketer = with(&["1"]);
        let ticket = ticketer.seal(b"session", later(0)).expect("sealed");
        for at in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[at] ^= 1;
            assert_eq!(ticketer.open(&changed, later(1)), None, "byte {at}");
            assert_eq!(ticketer.open(&ticket[..at], later(1)), None, "{at} bytes");
        }
        let (end, skew) = (LIFETIME.as_secs(), SKEW.as_secs());
        assert!(ticketer.open(&ticket, later(end - 1)).is_some());
        assert_eq!(ticketer.open(&ticket, later(end)), None);
        let ahead = ticketer.seal(b"session", later(skew + 1)).expect("sealed");
        assert!(ticketer.open(&ahead, later(1)).is_some());
        assert_eq!(ticketer.open(&ahead, later(0)), None);
        let other = Ticketer::new(ticketer.tickets.clone(), [8; 32]);
        assert_eq!(other.open(&ticket, later(1)), None, "it asks something else of clients");
        let again = ticketer.seal(b"session", later(0)).expect("sealed");
        assert_ne!(ticket[NAME..], again[NAME..], "no two are alike");
    }

    #[test]
    fn own_keys_are_replaced_in_time_and_given_ones_are_not() {
        let ticketer = Ticketer::new(Arc::new(Tickets::new(later(0))), [7; 32]);
        let step = ROTATE.as_secs();
        let ticket = ticketer.seal(b"session", later(step - 1)).expect("sealed");
        assert!(ticketer.open(&ticket, later(step)).is_some(), "of the key before");
        assert_eq!(ticketer.open(&ticket, later(2 * step)), None, "of the one before that");
        ticketer.tickets.take(&[], later(2 * step));
        let own = ticketer.seal(b"session", later(2 * step)).expect("sealed");
        ticketer.tickets.take(&[], later(2 * step));
        assert!(ticketer.open(&own, later(2 * step)).is_some(), "none given again changes nothing");
        let given = with(&["1"]);
        let ticket = given.seal(b"session", later(2 * step)).expect("sealed");
        assert!(given.open(&ticket, later(3 * step)).is_some());
        given.tickets.take(&[], later(3 * step));
        assert_eq!(given.open(&ticket, later(3 * step)), None, "what was given is taken back");
    }
}

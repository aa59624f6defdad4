//! The cookie that keeps a client at an upstream.
//!
//! Its value is `TAG.SIGNATURE`: the tag is a hash of the machine's name, the signature HMAC-SHA256 (RFC 2104) of
//! the pool's name and the tag. A client can so neither choose a machine nor learn its name, and a machine
//! that is rebuilt keeps its clients. All cookies of a pool are made with its tables: a request costs a
//! search and a comparison, which takes the same time wherever two values differ.

use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use http::HeaderValue;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use wire::PoolName;
use wire::balancing::{self, Secret};

use super::hash;

/// The bytes of a tag in a cookie.
const TAG: usize = 16;

/// The bytes of a signature in a cookie.
const SIGNATURE: usize = 64;

/// The cookies of a pool.
#[derive(Debug)]
pub(crate) struct Cookies {
    policy: balancing::Sticky,
    /// By tag. Shared with those of the set before: a signature costs more than a search.
    cookies: Box<[Arc<Cookie>]>,
}

#[derive(Debug)]
struct Cookie {
    tag: [u8; TAG],
    machine: String,
    /// With the present key and the one before it.
    signatures: Vec<[u8; SIGNATURE]>,
    header: HeaderValue,
}

impl Cookies {
    /// The cookies for `machines` of `pool`; `before` are those that it had until now.
    pub(crate) fn new<'a>(
        policy: &balancing::Sticky,
        pool: &PoolName,
        machines: impl Iterator<Item = &'a str>,
        before: Option<&Cookies>,
    ) -> Self {
        let before = before.filter(|before| before.policy == *policy);
        let attributes = match (policy.max_age_seconds, policy.secure) {
            (0, false) => String::new(),
            (0, true) => "; Secure".to_owned(),
            (age, false) => format!("; Max-Age={age}"),
            (age, true) => format!("; Max-Age={age}; Secure"),
        };
        let keys = || std::iter::once(&policy.key).chain(&policy.previous_key);
        let mut cookies: Vec<_> = machines
            .filter_map(|machine| {
                let known = before.and_then(|before| before.cookies.get(before.index_of(machine)?));
                if let Some(known) = known.filter(|known| known.machine == machine) {
                    return Some(known.clone());
                }
                let tag = hex::<TAG>(&hash::hash(machine.as_bytes()).to_be_bytes());
                let signatures = keys().filter_map(|key| sign(key, pool, &tag)).collect::<Vec<_>>();
                let value = [&tag[..], b".", signatures.first()?].concat();
                let text = format!(
                    "{}={}; Path=/; HttpOnly; SameSite=Lax{attributes}",
                    policy.cookie,
                    String::from_utf8_lossy(&value)
                );
                let header = HeaderValue::from_str(&text).ok()?;
                Some(Arc::new(Cookie { tag, machine: machine.to_owned(), signatures, header }))
            })
            .collect();
        cookies.sort_by_key(|cookie| cookie.tag);
        // An old and a new incarnation of a machine have one cookie.
        cookies.dedup_by_key(|cookie| cookie.tag);
        Cookies { policy: policy.clone(), cookies: cookies.into() }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.cookies.len()
    }

    /// The cookie's name.
    pub(crate) fn cookie(&self) -> &str {
        &self.policy.cookie
    }

    /// Which cookie `value` is; none if we did not make it or its machine is gone.
    pub(crate) fn genuine(&self, value: &[u8]) -> Option<usize> {
        let (tag, signature) = value.split_at_checked(TAG)?;
        let signature = signature.strip_prefix(b".")?;
        let index = self.cookies.binary_search_by(|cookie| cookie.tag.as_slice().cmp(tag)).ok()?;
        let known = &self.cookies[index].signatures;
        known.iter().any(|known| known.ct_eq(signature).into()).then_some(index)
    }

    /// The machine that cookie `index` stands for.
    pub(crate) fn machine(&self, index: usize) -> Option<&str> {
        self.cookies.get(index).map(|cookie| cookie.machine.as_str())
    }

    /// The `Set-Cookie` field that leads to `machine`.
    pub(crate) fn set_cookie(&self, machine: &str) -> Option<&HeaderValue> {
        Some(&self.cookies[self.index_of(machine)?].header)
    }

    /// Which cookie stands for `machine`.
    pub(crate) fn index_of(&self, machine: &str) -> Option<usize> {
        let tag = hex::<TAG>(&hash::hash(machine.as_bytes()).to_be_bytes());
        self.cookies.binary_search_by(|cookie| cookie.tag.cmp(&tag)).ok()
    }
}

fn sign(key: &Secret, pool: &PoolName, tag: &[u8; TAG]) -> Option<[u8; SIGNATURE]> {
    // HMAC takes keys of every length.
    let mut mac = Hmac::<Sha256>::new_from_slice(key.0.as_bytes()).ok()?;
    // The length first: no pool's name and tag can be taken for those of another.
    mac.update(&(pool.as_str().len() as u64).to_be_bytes());
    mac.update(pool.as_str().as_bytes());
    mac.update(tag);
    Some(hex(&mac.finalize().into_bytes()))
}

fn hex<const N: usize>(bytes: &[u8]) -> [u8; N] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    std::array::from_fn(|index| {
        let byte = bytes.get(index / 2).copied().unwrap_or_default();
        DIGITS[usize::from(if index % 2 == 0 { byte >> 4 } else { byte & 15 })]
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn policy(key: &str, previous: Option<&str>) -> balancing::Sticky {
        balancing::Sticky {
            cookie: "at".to_owned(),
            key: Secret(key.to_owned()),
            previous_key: previous.map(|key| Secret(key.to_owned())),
            max_age_seconds: 60,
            secure: true,
        }
    }

    fn cookies(key: &str, previous: Option<&str>, pool: &str) -> Cookies {
        Cookies::new(&policy(key, previous), &pool.into(), ["a-1", "a-2", "b-1"].into_iter(), None)
    }

    fn value(cookies: &Cookies, machine: &str) -> Vec<u8> {
        let header = cookies.set_cookie(machine).expect("a cookie").to_str().expect("text");
        header.strip_prefix("at=").and_then(|rest| rest.split(';').next()).expect("a value").into()
    }

    const OLD: &str = "an old key of thirty-two bytes..";
    const NEW: &str = "a new key of thirty-two bytes...";

    #[test]
    fn a_cookie_leads_to_its_machine_and_to_no_other_pool() {
        let ours = cookies(NEW, None, "p");
        for machine in ["a-1", "a-2", "b-1"] {
            let index = ours.genuine(&value(&ours, machine)).expect("genuine");
            assert_eq!(ours.machine(index), Some(machine));
        }
        assert_eq!(cookies(NEW, None, "q").genuine(&value(&ours, "a-1")), None);
        let header = ours.set_cookie("a-1").expect("a cookie").to_str().expect("text");
        assert!(header.ends_with("; Path=/; HttpOnly; SameSite=Lax; Max-Age=60; Secure"), "{header}");
    }

    #[test]
    fn a_key_can_be_replaced_without_losing_clients() {
        let old = cookies(OLD, None, "p");
        let given = value(&old, "a-2");
        assert!(cookies(NEW, Some(OLD), "p").genuine(&given).is_some());
        assert!(cookies(NEW, None, "p").genuine(&given).is_none());
    }

    #[test]
    fn cookies_are_kept_from_set_to_set_while_keys_stay() {
        let before = cookies(OLD, None, "p");
        let machines = || ["b-1", "c-1"].into_iter();
        let after = Cookies::new(&policy(OLD, None), &"p".into(), machines(), Some(&before));
        let cookie =
            |cookies: &Cookies, machine| cookies.cookies[cookies.index_of(machine).expect("there")].clone();
        assert!(Arc::ptr_eq(&cookie(&before, "b-1"), &cookie(&after, "b-1")));
        assert!(after.genuine(&value(&before, "a-1")).is_none() && after.set_cookie("c-1").is_some());
        let signed_anew = Cookies::new(&policy(NEW, None), &"p".into(), machines(), Some(&after));
        assert_ne!(value(&signed_anew, "b-1"), value(&after, "b-1"));
    }

    /// The values that RFC 4231, section 4.3 (test case 2) gives, to know that it is HMAC-SHA256.
    #[test]
    fn the_signature_is_hmac_sha256() {
        let mut mac = Hmac::<Sha256>::new_from_slice(b"Jefe").expect("key");
        mac.update(b"what do ya want for nothing?");
        let hex = hex::<64>(&mac.finalize().into_bytes());
        assert_eq!(&hex[..16], b"5bdcc146bf60754e");
    }

    proptest! {
        #[test]
        fn forgeries_are_refused(change in 0usize..81, with in any::<u8>(), cut in 0usize..81, more in ".{0,4}") {
            let ours = cookies(NEW, None, "p");
            let genuine = value(&ours, "a-1");
            let mut changed = genuine.clone();
            changed[change] = with;
            prop_assert_eq!(ours.genuine(&changed).is_some(), changed == genuine);
            prop_assert_eq!(ours.genuine(&genuine[..cut]), None);
            let longer = [&genuine[..], more.as_bytes()].concat();
            prop_assert_eq!(ours.genuine(&longer).is_some(), more.is_empty());
            // The signature of one machine under the tag of another.
            let swapped = [&value(&ours, "a-2")[..TAG], &genuine[TAG..]].concat();
            prop_assert_eq!(ours.genuine(&swapped), None);
        }

        #[test]
        fn nothing_made_up_is_genuine(value in prop::collection::vec(any::<u8>(), 0..120)) {
            prop_assert_eq!(cookies(NEW, None, "p").genuine(&value), None);
        }
    }
}

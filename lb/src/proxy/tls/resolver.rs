//! Which certificate a client is shown: the one for the name it asks for, else the one for all names right below the
//! same domain (RFC 6125, section 6.4.3), else the first. Of several for one name the first whose key the client
//! knows how to check, so that a certificate of RSA can stand beside one of ECDSA.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::ACME;
use super::certificate::Usable;

/// All certificates in use at one time, found by name.
#[derive(Debug, Default)]
pub(crate) struct Certificates {
    by_name: HashMap<String, Vec<Arc<Usable>>>,
    /// For those who ask for no name, or for one that nobody has.
    default: Vec<Arc<Usable>>,
    count: usize,
}

impl Certificates {
    /// Those of `all`, of which earlier ones outrank later ones.
    pub(super) fn new(all: impl IntoIterator<Item = Arc<Usable>>) -> Self {
        let mut found = Certificates::default();
        let mut first: Option<Arc<Usable>> = None;
        for certificate in all {
            for name in &certificate.names {
                found.by_name.entry(name.clone()).or_default().push(certificate.clone());
            }
            found.count += 1;
            first.get_or_insert(certificate);
        }
        if let Some(first) = first {
            // With those of its name, for clients that cannot check the first.
            let same = first.names.first().and_then(|name| found.by_name.get(name));
            let others = same.into_iter().flatten().filter(|other| !Arc::ptr_eq(other, &first)).cloned();
            found.default = std::iter::once(first.clone()).chain(others).collect();
        }
        found
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Until when the certificate is good that is shown to those that ask for a name, for each name. Where the first
    /// has none, the name is empty.
    pub(crate) fn ends(&self) -> BTreeMap<&str, SystemTime> {
        let first = |certificates: &Vec<Arc<Usable>>| certificates.first().map(|first| first.not_after);
        let named = self.by_name.iter().filter_map(|(name, of)| Some((name.as_str(), first(of)?)));
        let nameless = self.default.first().filter(|first| first.names.is_empty());
        named.chain(nameless.map(|certificate| ("", certificate.not_after))).collect()
    }

    /// Those for `name`; with `or_default` those that stand in where there are none.
    fn find(&self, name: Option<&str>, or_default: bool) -> &[Arc<Usable>] {
        let known = name.and_then(|name| {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            let wildcard =
                || name.split_once('.').and_then(|(_, parent)| self.by_name.get(&format!("*.{parent}")));
            self.by_name.get(&name).or_else(wildcard)
        });
        match known {
            Some(known) => known,
            None if or_default => &self.default,
            None => &[],
        }
    }
}

/// Chooses for one listener, from what is in use at the moment.
#[derive(Debug)]
pub(super) struct Resolver {
    pub(super) certificates: Arc<ArcSwap<Certificates>>,
    /// What ACME servers are shown.
    pub(super) challenges: Arc<ArcSwap<Certificates>>,
    /// Whoever asks for a name that nobody has, or for none, is shown nothing and gets no connection.
    pub(super) refuse_unknown_names: bool,
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let now = SystemTime::now();
        // That protocol and no other is what they offer (RFC 8737, section 3).
        if hello.alpn().is_some_and(|offered| offered.eq([ACME])) {
            let challenges = self.challenges.load();
            return challenges.find(hello.server_name(), false).first().map(|one| one.shown(now));
        }
        let certificates = self.certificates.load();
        let found = certificates.find(hello.server_name(), !self.refuse_unknown_names);
        let mut shown = found.iter().map(|certificate| certificate.shown(now));
        let first = shown.next()?;
        let fits = |key: &Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        if fits(&first) {
            return Some(first);
        }
        // Where none fits, the handshake fails by itself, and says why.
        Some(shown.find(fits).unwrap_or(first))
    }
}

#[cfg(test)]
mod tests {
    use super::super::certificate::tests::{made, read};
    use super::*;

    #[test]
    fn the_exact_name_then_the_wildcard_then_the_first() {
        let all = [&["first.example"][..], &["*.a.example"], &["b.a.example", "other.example"]]
            .map(|names| Arc::new(read(&made(names)).expect("usable")));
        let certificates = Certificates::new(all.iter().cloned());
        let found = |name, or_default| {
            let found = certificates.find(name, or_default).first()?;
            all.iter().position(|one| Arc::ptr_eq(one, found))
        };
        for (name, expected) in [
            ("first.example", Some(0)),
            ("B.A.Example.", Some(2)),
            ("c.a.example", Some(1)),
            ("other.example", Some(2)),
            // A wildcard is for one label, and not for the domain itself.
            ("d.c.a.example", None),
            ("a.example", None),
            ("example", None),
        ] {
            assert_eq!(found(Some(name), false), expected, "{name}");
            assert_eq!(found(Some(name), true), expected.or(Some(0)), "{name}");
        }
        assert_eq!((found(None, true), found(None, false)), (Some(0), None));
        assert_eq!(certificates.ends().len(), 4);
        assert!(Certificates::default().find(Some("a"), true).is_empty());
        let nameless = Certificates::new([Arc::new(read(&made(&[])).expect("usable"))]);
        assert!(nameless.find(Some("a"), true).len() == 1 && nameless.ends().contains_key(""));
    }

    #[test]
    fn of_the_same_name_the_earlier_one_outranks() {
        let all = [(); 2].map(|()| Arc::new(read(&made(&["a.example"])).expect("usable")));
        let certificates = Certificates::new(all.iter().cloned());
        for name in [Some("a.example"), None] {
            let found = certificates.find(name, true);
            assert!(found.len() == 2 && Arc::ptr_eq(&found[0], &all[0]) && Arc::ptr_eq(&found[1], &all[1]));
        }
    }
}

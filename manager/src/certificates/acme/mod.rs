//! Certificates from an ACME server (RFC 8555).
//!
//! ```text
//!   due? ─▶ account (made once, shared) ─▶ order ─▶ challenges, shared ─▶ every balancer shows them? ─▶ the server looks
//!                                                                                                        │
//!                            shown by every balancer ◀── shared ◀── issued ◀── request with a new key ◀──┘
//! ```
//!
//! Of the managers that hear each other the one with the lowest address does it, of those that are configured to.
//! What it makes is shared before it is used, so that another one can go on where it ends.

mod due;
mod http;
mod order;

use std::collections::BTreeSet;

use wire::shared_secrets::SharedSecrets;

use crate::config::Acme;

pub(super) use order::Ordering;

/// How the certificate for `names` is called in what managers share.
pub(super) fn id(acme: &Acme, names: &[String]) -> String {
    let names: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    std::iter::once(acme.directory.as_str()).chain(names).collect::<Vec<_>>().join(" ")
}

/// The names of the certificate called `id`.
pub(super) fn names(id: &str) -> Vec<&str> {
    id.split(' ').skip(1).collect()
}

/// The first certificate that is to be got at `now`, of those that `owns` says yes to; its names.
pub(super) fn next<'a>(
    acme: &'a Acme,
    shared: &SharedSecrets,
    now: u64,
    owns: impl Fn(&str) -> bool,
) -> Option<&'a [String]> {
    let is_due = |names: &&Vec<String>| {
        let id = id(acme, names);
        owns(&id) && due::due(&id, shared.issued.get(&id), shared.attempts.get(&id)) <= now
    };
    acme.certificates.iter().find(is_due).map(Vec::as_slice)
}

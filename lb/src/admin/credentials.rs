//! How this balancer proves who it is, and who may change it.
//!
//! ```text
//!   credentials.json: none ──▶ changes by plain HTTP, from the managers' addresses
//!                     there ─▶ changes by TLS, from the manager of its own host
//!                     unusable ─▶ no changes at all: damage must not open what it closes
//! ```
//!
//! They come with the seed; the next ones over the interface that the present ones guard.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use kit::tls::{Clients, Live};
use wire::Problem;
use wire::tls::{Credentials, FILE};

use crate::proxy::state::store::Store;

/// The credentials of this balancer.
pub(super) enum Guard {
    /// It has none: its cluster had no CA when it was built.
    Address,
    /// It has these.
    Certificate(Box<Held>),
}

/// Credentials in use, and where they are kept.
pub(super) struct Held {
    live: Arc<Live>,
    present: Mutex<Credentials>,
    store: Store,
}

impl Guard {
    /// What is in the state directory.
    ///
    /// # Errors
    ///
    /// When there is something that cannot be used.
    pub(super) fn load(state_dir: &Path) -> io::Result<Self> {
        let text = match fs::read(state_dir.join(FILE)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Guard::Address),
            Err(error) => return Err(error),
        };
        let credentials: Credentials = serde_json::from_slice(&text)?;
        let live = Live::new(&credentials, Clients::Certified).map_err(io::Error::other)?;
        Ok(Guard::Certificate(Box::new(Held {
            live: Arc::new(live),
            present: Mutex::new(credentials),
            store: Store::open(state_dir)?,
        })))
    }

    /// For the listener.
    pub(super) fn live(&self) -> Option<Arc<Live>> {
        match self {
            Guard::Address => None,
            Guard::Certificate(held) => Some(Arc::clone(&held.live)),
        }
    }

    /// Uses `credentials` from now on, and after a restart. Blocks while the disk does.
    ///
    /// # Errors
    ///
    /// When they are of another host or cluster than the present ones, or cannot be used or stored; then the
    /// present ones are kept.
    pub(super) fn replace(&self, credentials: Credentials) -> Result<(), Problem> {
        let Guard::Certificate(held) = self else {
            return Err(Problem::conflict(
                "this balancer was built before its cluster had a CA: a certificate is not taken from somebody who \
                 cannot prove who he is. `manager vm replace` builds it anew, with one",
            ));
        };
        let mut present = held.present.lock().unwrap_or_else(PoisonError::into_inner);
        if credentials.host != present.host || credentials.ca != present.ca {
            let detail = "a balancer stays with its host and its cluster: build it anew";
            return Err(Problem::conflict(detail));
        }
        Live::new(&credentials, Clients::Certified).map_err(|error| Problem::bad_body(error.to_string()))?;
        held.store
            .save(FILE, &credentials)
            .map_err(|error| Problem::new(500, "Not stored", error.to_string()))?;
        held.live.replace(&credentials).map_err(|error| Problem::bad_body(error.to_string()))?;
        *present = credentials;
        Ok(())
    }
}

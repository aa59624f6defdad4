//! The connection to the host's libvirt daemon. It is opened when it is needed and opened anew when it
//! broke: a daemon that restarts is met again with the next call.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Mutex as AsyncMutex;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::timeout;
use virt::connect::Connect;
use virt::error::{Error, ErrorNumber};
use wire::cluster::Condition;

use super::events::{DomainEnded, Subscription, start_loop};
use crate::ports::hypervisor::HypervisorError;

/// A daemon that is asked for a sign of life this often, in seconds …
const KEEP_ALIVE_SECONDS: i32 = 1;

/// … and gives none so many times in a row is hung: whatever waits for it fails.
const KEEP_ALIVE_COUNT: u32 = 3;

/// The connection.
#[derive(Clone)]
pub(super) struct Connection {
    uri: Arc<str>,
    ends: UnboundedSender<DomainEnded>,
    open: Arc<Mutex<Option<Open>>>,
    /// Held while the connection is being opened, which a hung daemon can make last for ever: the others
    /// must not wait in threads.
    opening: Arc<AsyncMutex<()>>,
    /// Whether there was a connection that broke.
    lost: Arc<AtomicBool>,
}

#[derive(Clone)]
struct Open {
    /// Given up before the connection is closed.
    _events: Arc<Subscription>,
    connect: Connect,
}

impl Connection {
    /// A connection to the daemon at `uri`; tells on `ends` of domains that end while it is open.
    pub(super) fn new(uri: &str, ends: UnboundedSender<DomainEnded>) -> Self {
        Connection {
            uri: uri.into(),
            ends,
            open: Arc::default(),
            opening: Arc::default(),
            lost: Arc::default(),
        }
    }

    /// Does `work` with the connection, on a thread of its own, for at most `limit`.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        limit: Duration,
        work: impl FnOnce(&Connect) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, HypervisorError> {
        let late = || {
            let message = format!("libvirt does not answer within {} s at {}", limit.as_secs(), self.uri);
            HypervisorError::Prevented(Condition::HypervisorDown, message)
        };
        timeout(limit, async {
            let connect = self.get().await?;
            let (this, used) = (self.clone(), connect.clone());
            let done = tokio::task::spawn_blocking(move || {
                work(&used).map_err(|error| {
                    if used.is_alive().unwrap_or(false) {
                        return said(&error);
                    }
                    this.forget(&used);
                    let message = format!("libvirt: {}", error.message());
                    HypervisorError::Prevented(Condition::HypervisorDown, message)
                })
            });
            done.await.map_err(|error| HypervisorError::Failed(error.to_string()))?
        })
        .await
        .unwrap_or_else(|_| Err(late()))
    }

    async fn get(&self) -> Result<Connect, HypervisorError> {
        let opening = Arc::clone(&self.opening).lock_owned().await;
        if let Some(open) = self.lock().as_ref() {
            return Ok(open.connect.clone());
        }
        let this = self.clone();
        let opened = tokio::task::spawn_blocking(move || {
            let _opening = opening;
            let open = this.open_now()?;
            let connect = open.connect.clone();
            *this.lock() = Some(open);
            Ok::<_, Error>(connect)
        });
        let opened = opened.await.map_err(|error| HypervisorError::Failed(error.to_string()))?;
        opened.map_err(|error| {
            let denied = error.code() == ErrorNumber::AuthFailed || is_denial(error.message());
            let (condition, remedy) = if denied {
                (Condition::Denied, "run the manager as root or as a member of the group `libvirt`")
            } else {
                (Condition::HypervisorDown, "is the daemon running? systemctl start libvirtd")
            };
            let uri = &self.uri;
            HypervisorError::Prevented(
                condition,
                format!("libvirt cannot be reached at {uri} ({}): {remedy}", error.message()),
            )
        })
    }

    fn open_now(&self) -> Result<Open, Error> {
        start_loop()?;
        let connect = Connect::open(Some(&self.uri))?;
        connect.set_keep_alive(KEEP_ALIVE_SECONDS, KEEP_ALIVE_COUNT)?;
        let events = Subscription::new(&connect, self.ends.clone())?;
        if self.lost.swap(false, Ordering::Relaxed) {
            tracing::info!(uri = %self.uri, "connected to libvirt again");
        }
        Ok(Open { _events: Arc::new(events), connect })
    }

    /// The next call opens a new connection, unless another has already.
    fn forget(&self, broken: &Connect) {
        let mut open = self.lock();
        if open.as_ref().is_some_and(|open| open.connect.as_ptr() == broken.as_ptr()) {
            tracing::warn!(uri = %self.uri, "the connection to libvirt broke");
            self.lost.store(true, Ordering::Relaxed);
            *open = None;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What libvirt said, with the condition it means where its text tells.
fn said(error: &Error) -> HypervisorError {
    let message = error.message().trim().to_owned();
    if is_denial(&message) {
        HypervisorError::Prevented(Condition::Denied, message)
    } else if message.contains("No space left on device") {
        HypervisorError::Prevented(Condition::NoSpace, message)
    } else {
        HypervisorError::Failed(message)
    }
}

fn is_denial(message: &str) -> bool {
    message.contains("ermission denied") || message.contains("peration not permitted")
}

//! The sign of life of a cloud's guest: its qemu-guest-agent answers a ping, where it has one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::sleep;
use uuid::Uuid;
use virt::domain::Domain;

use super::connection::Connection;

/// The pause between two pings while no agent has answered yet.
const PING_EVERY: Duration = Duration::from_secs(2);

/// libvirt gives an agent so many seconds.
const PING_SECONDS: i32 = 1;

/// libvirt itself answers within this.
const CALL_TIME: Duration = Duration::from_secs(5);

/// Pings one machine's agent until it has answered once.
pub(super) struct Agent {
    answered: Arc<AtomicBool>,
    task: AbortHandle,
}

impl Agent {
    pub(super) fn listen(connection: Connection, machine: Uuid) -> Self {
        let answered = Arc::new(AtomicBool::new(false));
        let tell = Arc::clone(&answered);
        let task = tokio::spawn(async move {
            loop {
                let pinged = connection.run(CALL_TIME, move |connect| {
                    let domain = Domain::lookup_by_uuid(connect, machine)?;
                    domain.qemu_agent_command(r#"{"execute":"guest-ping"}"#, PING_SECONDS, 0)
                });
                // An image without an agent, or one that has not started yet: it stays unknown.
                if pinged.await.is_ok() {
                    return tell.store(true, Ordering::Relaxed);
                }
                sleep(PING_EVERY).await;
            }
        });
        Agent { answered, task: task.abort_handle() }
    }

    pub(super) fn has_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.task.abort();
    }
}

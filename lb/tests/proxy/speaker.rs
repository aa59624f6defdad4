//! In the place of `lb vip`: it says that its balancer holds the address until it is asked to release it, and
//! does then what its test wants. The real one, on a network, is in `../vip.rs`, and hands over under load in the
//! manager's tests.

use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use crate::balancer::VRID;
use crate::network::take_away;

/// What becomes of an address that is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Others {
    /// Somebody takes it.
    Take,
    /// Somebody takes it, and it is no longer here: nothing can be sent from it.
    TakeAway,
    /// Nobody does.
    Leave,
    /// From then on the speaker says nothing any more.
    Silence,
}

/// A speaker; its socket is closed when it is dropped.
pub(crate) struct Speaker {
    state: Arc<Mutex<State>>,
    task: tokio::task::JoinHandle<()>,
}

struct State {
    address: IpAddr,
    holds: bool,
    others: Others,
    ordered: Vec<String>,
    /// How long it has been so.
    for_ms: u64,
}

impl Speaker {
    /// Speaks for the balancer whose state directory this is.
    pub(crate) fn start(state_dir: &Path, address: IpAddr, others: Others) -> Self {
        let state =
            Arc::new(Mutex::new(State { address, holds: true, others, ordered: Vec::new(), for_ms: 60_000 }));
        let listener = UnixListener::bind(state_dir.join(lb::link::SOCKET)).expect("socket");
        let shared = state.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, shared.clone()));
            }
        });
        Speaker { state, task }
    }

    /// From now on its balancer holds the address, or does not.
    pub(crate) fn hold(&self, holds: bool) {
        self.state.lock().expect("lock").holds = holds;
    }

    /// The address has come only now.
    pub(crate) fn just_took(&self) {
        self.state.lock().expect("lock").for_ms = 0;
    }

    /// What it was ordered to do.
    pub(crate) fn ordered(&self) -> Vec<String> {
        self.state.lock().expect("lock").ordered.clone()
    }
}

impl Drop for Speaker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(stream: UnixStream, state: Arc<Mutex<State>>) {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while matches!(stream.read_line(&mut line).await, Ok(1..)) {
        let message: Value = serde_json::from_str(&line).expect("JSON");
        line.clear();
        let Some(answer) = hear(&message, &mut state.lock().expect("lock")) else { continue };
        let _ = stream.write_all(format!("{answer}\n").as_bytes()).await;
    }
}

/// What it answers: nothing to ticks.
fn hear(message: &Value, state: &mut State) -> Option<Value> {
    if !message["tick"].is_null() {
        return None;
    }
    if let Some(action) = message["order"]["action"].as_str() {
        state.ordered.push(action.to_owned());
        state.holds = action == "take_over" || !matches!(state.others, Others::Take | Others::TakeAway);
        if !state.holds && state.others == Others::TakeAway {
            take_away(state.address);
        }
    }
    if state.others == Others::Silence && !state.ordered.is_empty() {
        return None;
    }
    let (role, holder) = if state.holds { ("master", "127.0.0.1") } else { ("backup", "127.0.0.9") };
    Some(json!({"done": {"routers": [{
        "address": state.address, "vrid": VRID, "state": role, "priority": 240, "holder": holder,
        "reason": "as the test wants", "for_ms": state.for_ms,
    }]}}))
}

//! The speaker's end of the [`link`](crate::link): takes connections and turns what they say into
//! inputs of the speaker.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tracing::{debug, warn};
use wire::vip::{VipOrder, VipStatus};

use crate::link::{FromVip, SOCKET, ToVip, Wish, line, read_line};

/// The most connections at a time: the workers, of which there are at most 256, and some that ask.
const MAX_CONNECTIONS: usize = 320;

/// Inputs the speaker has not looked at yet; beyond these the connections wait.
const MAX_INPUTS: usize = 64;

/// After a failed accept, typically for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What arrives over the link.
#[derive(Debug)]
pub(super) enum Input {
    Tick { stream: u64, worker: usize, workers: usize, wish: Wish, thread: Option<i32> },
    Closed { stream: u64 },
    Status { answer: oneshot::Sender<VipStatus> },
    Order { order: VipOrder, answer: oneshot::Sender<Result<VipStatus, String>> },
}

/// Listens in `state_dir`, in the place of any earlier speaker.
///
/// # Errors
///
/// When the socket cannot be made.
pub(super) fn listen(state_dir: &Path) -> anyhow::Result<mpsc::Receiver<Input>> {
    let path = state_dir.join(SOCKET);
    fs::create_dir_all(state_dir).with_context(|| format!("{} cannot be made", state_dir.display()))?;
    // One left by a speaker that died; a missing one is as good.
    let _ = fs::remove_file(&path);
    let listener =
        UnixListener::bind(&path).with_context(|| format!("{} cannot be listened on", path.display()))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    let (inputs, receiver) = mpsc::channel(MAX_INPUTS);
    tokio::spawn(accept(listener, inputs));
    Ok(receiver)
}

async fn accept(listener: UnixListener, inputs: mpsc::Sender<Input>) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    for id in 0.. {
        let Ok(place) = room.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let inputs = inputs.clone();
                tokio::spawn(async move {
                    if let Err(error) = converse(id, stream, &inputs).await {
                        debug!(%error, "a connection to the speaker ended");
                    }
                    // A speaker that ended needs to know nothing more.
                    let _ = inputs.send(Input::Closed { stream: id }).await;
                    drop(place);
                });
            }
            Err(error) => {
                warn!(%error, "no connection to the speaker can be taken");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn converse(id: u64, stream: UnixStream, inputs: &mpsc::Sender<Input>) -> anyhow::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(message) = read_line(&mut stream).await? {
        let reply = match message {
            ToVip::Tick { worker, workers, wish, thread } => {
                inputs.send(Input::Tick { stream: id, worker, workers, wish, thread }).await?;
                continue;
            }
            ToVip::Status => {
                let (answer, reply) = oneshot::channel();
                inputs.send(Input::Status { answer }).await?;
                FromVip::Done(reply.await?)
            }
            ToVip::Order(order) => {
                let (answer, reply) = oneshot::channel();
                inputs.send(Input::Order { order, answer }).await?;
                reply.await?.map_or_else(FromVip::Refused, FromVip::Done)
            }
        };
        stream.write_all(&line(&reply)?).await?;
    }
    Ok(())
}

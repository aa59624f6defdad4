//! The host's side of the control channel of our own guests: a virtio-serial port, which works while a
//! guest has no network yet, or none any more. QEMU lets one at a time connect to it, so each machine has
//! one task here that does.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use guest::channel::{Ask, Told};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::{interval, sleep, timeout};

use crate::ports::hypervisor::HypervisorError;

/// The pause before a connection that broke is made anew.
const AGAIN: Duration = Duration::from_millis(250);

/// The pause between two questions whether a guest has started. The first comes at once.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// A guest that lives answers within this.
const ANSWER_TIME: Duration = Duration::from_secs(3);

type Question = (Ask, oneshot::Sender<Told>);

/// The channel to one guest. Ends when it is dropped.
pub(super) struct Control {
    questions: mpsc::Sender<Question>,
    booted: watch::Receiver<bool>,
    task: AbortHandle,
}

impl Control {
    /// Connects to the guest behind `socket`, now and whenever the connection breaks.
    pub(super) fn open(socket: PathBuf) -> Self {
        let (questions, asked) = mpsc::channel(4);
        let (tell_booted, booted) = watch::channel(false);
        let task = tokio::spawn(keep(socket, asked, tell_booted)).abort_handle();
        Control { questions, booted, task }
    }

    /// Whether the guest has said anything: then it has started.
    pub(super) fn has_booted(&self) -> bool {
        *self.booted.borrow()
    }

    /// Asks the guest, which must answer soon.
    pub(super) fn ask(&self, ask: Ask) -> impl Future<Output = Result<Told, HypervisorError>> + Send + use<> {
        let questions = self.questions.clone();
        async move {
            let (tell, told) = oneshot::channel();
            let silent =
                || HypervisorError::Failed("its guest does not answer on the control channel".to_owned());
            let answer = async {
                questions.send((ask, tell)).await.map_err(|_| silent())?;
                told.await.map_err(|_| silent())
            };
            match timeout(ANSWER_TIME, answer).await.map_err(|_| silent())?? {
                Told::Failed { reason } => Err(HypervisorError::Failed(format!("its guest says: {reason}"))),
                told => Ok(told),
            }
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn keep(socket: PathBuf, mut asked: mpsc::Receiver<Question>, booted: watch::Sender<bool>) {
    loop {
        // A machine that is being made or unmade has no socket; nothing else is wrong with it then.
        if let Err(error) = converse(&socket, &mut asked, &booted).await {
            tracing::trace!("{}: {error}", socket.display());
        }
        sleep(AGAIN).await;
    }
}

async fn converse(
    socket: &Path,
    asked: &mut mpsc::Receiver<Question>,
    booted: &watch::Sender<bool>,
) -> io::Result<()> {
    let (reader, mut writer) = UnixStream::connect(socket).await?.into_split();
    let mut lines = BufReader::new(reader).lines();
    // Ends the half line that a manager may have left behind.
    writer.write_all(b"\n").await?;
    // What a guest said while nobody listened is gone, and so is what it answers before its kernel has
    // learned that somebody is here: it is asked until it has answered once.
    let mut ask_again = interval(ASK_AGAIN);
    let mut waiting: Option<oneshot::Sender<Told>> = None;
    loop {
        tokio::select! {
            line = lines.next_line() => {
                let Some(line) = line? else { return Ok(()) };
                let Ok(told) = serde_json::from_str::<Told>(&line) else { continue };
                booted.send_replace(true);
                // A status that comes late belongs to nobody: the answers to questions are others.
                if !matches!(told, Told::Booted { .. } | Told::Status { .. })
                    && let Some(waiting) = waiting.take()
                {
                    // Who asked may have given up.
                    let _ = waiting.send(told);
                }
            }
            _ = ask_again.tick(), if !*booted.borrow() => send(&mut writer, &Ask::Status).await?,
            Some((ask, tell)) = asked.recv() => {
                waiting = Some(tell);
                send(&mut writer, &ask).await?;
            }
        }
    }
}

async fn send(writer: &mut (impl AsyncWriteExt + Unpin), ask: &Ask) -> io::Result<()> {
    let mut line = serde_json::to_vec(ask)?;
    line.push(b'\n');
    writer.write_all(&line).await
}

//! The user's terminal as a machine's console.

use std::io::{IsTerminal, Read, Write, stdin, stdout};
use std::os::fd::AsFd;
use std::thread;

use anyhow::Result;
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::sync::mpsc;

/// Control and `]`, as telnet and virsh have it.
const LEAVE: u8 = 0x1d;

/// Connects the terminal with `machine` until the machine ends or the user leaves.
pub(super) async fn converse(machine: impl AsyncRead + AsyncWrite) -> Result<()> {
    let raw = RawTerminal::enter()?;
    let (mut from_machine, mut to_machine) = split(machine);
    let mut typed = keyboard();
    let mut output = vec![0; 4096];
    loop {
        tokio::select! {
            read = from_machine.read(&mut output) => {
                let length = read?;
                if length == 0 {
                    drop(raw);
                    println!("The machine's console was closed.");
                    return Ok(());
                }
                let mut screen = stdout().lock();
                screen.write_all(&output[..length])?;
                screen.flush()?;
            }
            Some(keys) = typed.recv() => {
                let (keys, leave) = match keys.iter().position(|key| *key == LEAVE) {
                    Some(end) => (&keys[..end], true),
                    None => (&keys[..], false),
                };
                to_machine.write_all(keys).await?;
                if leave {
                    return Ok(());
                }
            }
        }
    }
}

/// What is typed. From a thread of its own, which nobody waits for: a read of a terminal cannot be given up.
fn keyboard() -> mpsc::UnboundedReceiver<Vec<u8>> {
    let (tell, typed) = mpsc::unbounded_channel();
    thread::spawn(move || {
        let mut keys = vec![0; 1024];
        while let Ok(length) = stdin().lock().read(&mut keys) {
            if length == 0 || tell.send(keys[..length].to_vec()).is_err() {
                return;
            }
        }
    });
    typed
}

/// A terminal that passes every key on, until this is dropped.
struct RawTerminal(Option<Termios>);

impl RawTerminal {
    fn enter() -> Result<Self> {
        if !stdin().is_terminal() {
            return Ok(RawTerminal(None));
        }
        println!("Connected; Ctrl and ] to leave.");
        let before = tcgetattr(stdin().as_fd())?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(stdin().as_fd(), SetArg::TCSANOW, &raw)?;
        Ok(RawTerminal(Some(before)))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // The terminal may be gone.
            let _ = tcsetattr(stdin().as_fd(), SetArg::TCSANOW, before);
        }
    }
}

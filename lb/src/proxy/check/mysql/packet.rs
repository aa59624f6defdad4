//! Packets of MySQL's protocol, as far as a check reads and writes them.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::super::{Complaint, Fault, MAX_ANSWER};

/// What a packet of a complaint begins with.
const ERROR: u8 = 0xff;

/// What the packet after the columns, and that after the rows, begins with …
const END: u8 = 0xfe;

/// … if it is shorter than this: a row may begin with it too.
const END_BELOW: usize = 9;

/// Stands for no value in a row.
const NULL: u8 = 0xfb;

const COM_QUIT: u8 = 1;
const COM_QUERY: u8 = 3;

/// The bytes that a login is mixed with.
pub(super) const SALT: usize = 20;

/// A connection whose packets are counted.
#[derive(Debug)]
pub(super) struct Channel<S> {
    stream: S,
    next: u8,
    /// So much more of what comes is read, in bytes.
    left: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Channel<S> {
    pub(super) fn new(stream: S) -> Self {
        Channel { stream, next: 0, left: MAX_ANSWER }
    }

    /// The next packet.
    ///
    /// # Errors
    ///
    /// The server's complaint, if it is one; [`Fault::Broken`] if it is none of MySQL's.
    pub(super) async fn receive(&mut self) -> Result<Vec<u8>, Fault> {
        let mut head = [0; 4];
        self.stream.read_exact(&mut head).await.map_err(|_error| Fault::Broken)?;
        let [low, middle, high, number] = head;
        let length = usize::from(low) | usize::from(middle) << 8 | usize::from(high) << 16;
        self.left = self.left.checked_sub(length).filter(|_| length > 0).ok_or(Fault::Broken)?;
        let mut packet = vec![0; length];
        self.stream.read_exact(&mut packet).await.map_err(|_error| Fault::Broken)?;
        self.next = number.wrapping_add(1);
        match packet[..] {
            [ERROR, low, high, ..] => {
                Err(Fault::Complaint(Complaint::Mysql(u16::from_le_bytes([low, high]))))
            }
            [ERROR, ..] => Err(Fault::Broken),
            _ => Ok(packet),
        }
    }

    /// Says `packet`.
    pub(super) async fn send(&mut self, packet: &[u8]) -> Result<(), Fault> {
        let length = u32::try_from(packet.len()).map_err(|_too_long| Fault::Void)?.to_le_bytes();
        let mut bytes = vec![length[0], length[1], length[2], self.next];
        bytes.extend_from_slice(packet);
        self.next = self.next.wrapping_add(1);
        self.stream.write_all(&bytes).await.map_err(|_error| Fault::Broken)
    }

    /// Asks `sql`, and has `take` look at the first two values of each row.
    pub(super) async fn query(&mut self, sql: &str, mut take: impl FnMut(&[u8], &[u8])) -> Result<(), Fault> {
        self.next = 0;
        self.send(&[&[COM_QUERY], sql.as_bytes()].concat()).await?;
        self.receive().await?;
        // Once after the columns, and once after the rows.
        while !is_end(&self.receive().await?) {}
        loop {
            let row = self.receive().await?;
            if is_end(&row) {
                return Ok(());
            }
            let mut rest = &row[..];
            let (name, value) = (text(&mut rest)?, text(&mut rest)?);
            take(name, value);
        }
    }

    /// Takes leave: else the server notes a client that vanished.
    pub(super) async fn quit(&mut self) {
        self.next = 0;
        let _ = self.send(&[COM_QUIT]).await;
    }
}

fn is_end(packet: &[u8]) -> bool {
    packet.first() == Some(&END) && packet.len() < END_BELOW
}

/// The next value of a row.
fn text<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], Fault> {
    let (&length, after) = rest.split_first().ok_or(Fault::Broken)?;
    *rest = after;
    if length == NULL {
        return Ok(&[]);
    }
    // Longer ones are written in another way; nothing that is asked for is.
    if length > NULL {
        return Err(Fault::Broken);
    }
    take(rest, length.into())
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], Fault> {
    let (taken, after) = rest.split_at_checked(length).ok_or(Fault::Broken)?;
    *rest = after;
    Ok(taken)
}

fn until_zero<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], Fault> {
    let end = memchr::memchr(0, rest).ok_or(Fault::Broken)?;
    let text = take(rest, end)?;
    take(rest, 1)?;
    Ok(text)
}

/// What a server says first (version 10 of the protocol; there has been no other since 1998).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Greeting {
    /// How it wants logins to be proved.
    pub(super) plugin: String,
    /// What they are mixed with.
    pub(super) salt: [u8; SALT],
}

impl Greeting {
    /// Reads it.
    pub(super) fn read(packet: &[u8]) -> Result<Self, Fault> {
        let mut rest = packet;
        if take(&mut rest, 1)? != [10] {
            return Err(Fault::Broken);
        }
        until_zero(&mut rest)?;
        // The thread, and then in two parts what logins are mixed with.
        take(&mut rest, 4)?;
        let first = take(&mut rest, 8)?;
        // A zero, two and two bytes of what it can do and between them the character set and the state, how long what
        // logins are mixed with is, and what is reserved.
        take(&mut rest, 1 + 2 + 1 + 2 + 2 + 1 + 10)?;
        let second = take(&mut rest, SALT - first.len())?;
        take(&mut rest, 1)?;
        let plugin = until_zero(&mut rest).unwrap_or_default();
        let salt = [first, second].concat().try_into().map_err(|_length| Fault::Broken)?;
        Ok(Greeting { plugin: String::from_utf8_lossy(plugin).into_owned(), salt })
    }

    /// Reads another one, in answer to a login: `AuthSwitchRequest`, without its first byte.
    pub(super) fn read_switch(packet: &[u8]) -> Result<Self, Fault> {
        let mut rest = packet;
        let plugin = String::from_utf8_lossy(until_zero(&mut rest)?).into_owned();
        // Others may have less.
        let mut salt = [0; SALT];
        let given = &rest[..rest.len().min(SALT)];
        salt[..given.len()].copy_from_slice(given);
        Ok(Greeting { plugin, salt })
    }
}

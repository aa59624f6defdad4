//! Reads the name that a client of TLS asks for out of its first message, and nothing else: the connection is passed on
//! as it came, so what the message offers is for the upstream to judge.
//!
//! ```text
//!   record (22, version, length) ─┐ fragments of the handshake (RFC 8446, section 5.1): a message may lie in several
//!   record (22, version, length) ─┴─▶ ClientHello (section 4.1.2) ─▶ extensions ─▶ server_name (RFC 6066, section 3)
//! ```
//!
//! rustls has an `Acceptor` for servers, which refuses what it would not speak itself, such as the hello of an old
//! client; here that is none of our business.

/// A record with a part of a handshake.
const HANDSHAKE: u8 = 22;

/// The message of it that a client begins with.
const CLIENT_HELLO: u8 = 1;

/// The extension with the name, and the kind of name that there is.
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;

/// What comes ahead of a record's part, and of a message.
const RECORD_HEAD: usize = 5;
const MESSAGE_HEAD: usize = 4;

/// The longest part of a message in a record (RFC 8446, section 5.1).
const MAX_FRAGMENT: usize = 1 << 14;

/// So much of what a client sends is read for a name, in bytes, records and all. Hellos with keys that withstand quantum
/// computers and a session to resume have two to five thousand.
pub(super) const MAX_HELLO: usize = 16 << 10;

/// What the bytes so far are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Hello {
    /// The beginning of a hello, as far as can be seen.
    Incomplete,
    /// A hello that asks for this name, in small letters; none: for no name.
    Complete(Option<String>),
    /// No TLS, or a hello that is too long or not as it should be.
    Other,
}

/// Looks at all that a client has sent so far.
pub(super) fn look(bytes: &[u8]) -> Hello {
    match read(bytes) {
        Ok(name) => Hello::Complete(name),
        Err(Fault::Short) if bytes.len() < MAX_HELLO => Hello::Incomplete,
        Err(Fault::Short | Fault::Other) => Hello::Other,
    }
}

/// Why no name can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// There is more to come.
    Short,
    /// It is something else.
    Other,
}

fn read(mut bytes: &[u8]) -> Result<Option<String>, Fault> {
    let mut message = Vec::new();
    loop {
        let length = declared(&message)?;
        if length.is_some_and(|length| message.len() >= length) {
            let end = length.unwrap_or_default();
            return name(&message[MESSAGE_HEAD..end]).ok_or(Fault::Other);
        }
        let Some(&kind) = bytes.first() else { return Err(Fault::Short) };
        // SSL 3.0 and all versions of TLS are 3.something here (RFC 8446, section 5.1).
        if kind != HANDSHAKE || bytes.get(1).is_some_and(|&major| major != 3) {
            return Err(Fault::Other);
        }
        let Some(&[high, low]) = bytes.get(3..RECORD_HEAD) else { return Err(Fault::Short) };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if !(1..=MAX_FRAGMENT).contains(&length) {
            return Err(Fault::Other);
        }
        let part = &bytes[RECORD_HEAD..bytes.len().min(RECORD_HEAD + length)];
        message.extend_from_slice(part);
        bytes = bytes.get(RECORD_HEAD + length..).unwrap_or_default();
    }
}

/// How long the message says that it is, with its head, as soon as it says so.
fn declared(message: &[u8]) -> Result<Option<usize>, Fault> {
    if message.first().is_some_and(|&kind| kind != CLIENT_HELLO) {
        return Err(Fault::Other);
    }
    let Some(&[high, middle, low]) = message.get(1..MESSAGE_HEAD) else { return Ok(None) };
    let length = MESSAGE_HEAD + (usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low));
    if length > MAX_HELLO { Err(Fault::Other) } else { Ok(Some(length)) }
}

/// The name that a hello asks for; the outer none: it is not as it should be.
fn name(hello: &[u8]) -> Option<Option<String>> {
    let mut hello = Bytes(hello);
    // The oldest version, and something random.
    hello.take(2 + 32)?;
    // The session, the ciphers, the ways to compress.
    hello.short()?;
    hello.long()?;
    hello.short()?;
    if hello.0.is_empty() {
        // Of a time before extensions.
        return Some(None);
    }
    let mut extensions = Bytes(hello.long()?);
    while !extensions.0.is_empty() {
        let (kind, content) = (extensions.number()?, extensions.long()?);
        if kind == SERVER_NAME {
            return server_name(content).map(Some);
        }
    }
    Some(None)
}

fn server_name(content: &[u8]) -> Option<String> {
    let mut names = Bytes(Bytes(content).long()?);
    let kind = *names.take(1)?.first()?;
    let name = std::str::from_utf8(names.long()?).ok()?;
    let fits = kind == HOST_NAME && !name.is_empty() && name.is_ascii();
    // A dot at the end is not meant to be there (RFC 6066, section 3), but is.
    fits.then(|| name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase())
}

/// What is left to read of a message.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    /// Something with its length, of one byte, ahead.
    fn short(&mut self) -> Option<&'a [u8]> {
        let length = *self.take(1)?.first()?;
        self.take(length.into())
    }

    /// The same with two bytes.
    fn long(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?;
        self.take(length.into())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, ClientConnection, RootCertStore};

    use super::*;

    /// What a real client sends first.
    fn hello(name: &str) -> Vec<u8> {
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let mut client = ClientConnection::new(Arc::new(config), name).expect("a client");
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).expect("written");
        }
        bytes
    }

    /// The same message in records of so many bytes.
    fn in_records_of(bytes: &[u8], size: usize) -> Vec<u8> {
        let length = u16::from_be_bytes([bytes[3], bytes[4]]);
        let message = &bytes[RECORD_HEAD..RECORD_HEAD + usize::from(length)];
        let record = |part: &[u8]| {
            let length = u16::try_from(part.len()).expect("short").to_be_bytes();
            [&[HANDSHAKE, 3, 1], &length[..], part].concat()
        };
        message.chunks(size).flat_map(record).collect()
    }

    #[test]
    fn the_name_is_found_as_soon_as_it_is_all_there_and_not_before() {
        let whole = hello("DB.example.org");
        let found = Hello::Complete(Some("db.example.org".to_owned()));
        for size in [whole.len(), 100, 7, 1] {
            let bytes = in_records_of(&whole, size);
            for end in 0..bytes.len() {
                assert_eq!(look(&bytes[..end]), Hello::Incomplete, "{end} of {} in {size}", bytes.len());
            }
            assert_eq!(look(&bytes), found, "in records of {size}");
            assert_eq!(look(&[&bytes[..], b"and more"].concat()), found);
        }
    }

    #[test]
    fn a_hello_without_a_name_is_one_all_the_same() {
        assert_eq!(look(&hello("192.0.2.7")), Hello::Complete(None));
        // As TLS 1.0 had it: no extensions at all.
        let body = [&[3, 1][..], &[7; 32], &[0], &[0, 2, 0, 47], &[1, 0]].concat();
        let head = [1, 0, 0, u8::try_from(body.len()).expect("short")];
        let length = u16::try_from(head.len() + body.len()).expect("short").to_be_bytes();
        assert_eq!(look(&[&[22, 3, 1][..], &length, &head, &body].concat()), Hello::Complete(None));
    }

    #[test]
    fn what_is_no_hello_is_known_at_the_first_byte_that_tells() {
        for bytes in [
            &b"G"[..],
            b"\x16\x02",
            b"\x16\x03\x01\x00\x00",
            b"\x16\x03\x01\x40\x01",
            b"\x16\x03\x01\x00\x05\x02",
            b"\x16\x03\x01\x00\x05\x01\x00\x40\x00",
            b"\x15\x03\x01\x00\x02\x02\x0a",
            b"\x00\x00\x00\x08\x04\xd2\x16\x2f",
        ] {
            assert_eq!(look(bytes), Hello::Other, "{bytes:?}");
        }
    }

    #[test]
    fn no_more_is_waited_for_than_is_read() {
        let declared = b"\x16\x03\x01\x40\x00\x01\x00\x3f\xfc";
        let waiting = [&declared[..], &vec![0; MAX_HELLO - declared.len()]].concat();
        assert_eq!(look(&waiting[..MAX_HELLO - 1]), Hello::Incomplete);
        assert_eq!(look(&waiting), Hello::Other, "not a byte more");
    }

    proptest! {
        #[test]
        fn anything_may_come(start in 0..3usize, rest in prop::collection::vec(any::<u8>(), 0..2000)) {
            let start = [&b""[..], b"\x16\x03\x01\x02\x00", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"][start];
            look(&[start, &rest].concat());
        }

        #[test]
        fn a_broken_hello_is_no_trouble(at in 0..200usize, byte in any::<u8>(), size in 1..300usize) {
            let mut bytes = in_records_of(&hello("db.example.org"), size);
            let at = at % bytes.len();
            bytes[at] = byte;
            look(&bytes);
        }
    }
}

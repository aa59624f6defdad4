//! Where a chunked body ends (RFC 9112, section 7.1), found byte by byte as it comes.
//!
//! ```text
//!   Size ──digits──▶ Extension ──CR LF──▶ Data ──CR LF──▶ Size …
//!     └── CR LF ───────────▲    └─ size 0 ─▶ Trailer ──field──▶ Trailer … ──empty line──▶ End
//! ```
//!
//! Pingora gets these bytes as they are, but no more of them, and none that could be read in another way: its own
//! reading of extensions and trailers is a lenient one. It passes neither of them on.

use bytes::{Buf as _, Bytes, BytesMut};

use super::Fault;
use super::fields::field;

/// The size line of a chunk, with its extensions, may have so many bytes.
const SIZE_LINE: usize = 256;

/// A size has so many digits at most.
const DIGITS: usize = 16;

/// The extensions of all chunks together may have so many bytes (RFC 9112, section 7.1.1).
const EXTENSIONS: usize = 8 << 10;

/// The trailer section may have so many bytes.
const TRAILERS: usize = 8 << 10;

const BAD_SIZE: Fault = Fault::bad("a chunk does not begin with its size in hexadecimal digits");
const BAD_LINE: Fault = Fault::bad("a line of the chunked body does not end with CR and LF");
const BAD_END: Fault = Fault::bad("a chunk is longer or shorter than its size says");

/// Follows one body.
#[derive(Debug)]
pub(crate) struct Chunked {
    at: At,
    /// Of the present line.
    line: usize,
    extensions: usize,
    trailers: usize,
    trailer: Vec<u8>,
    /// Space may stand after a size, which some servers fill up.
    may_pad: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// In the size, which is this so far; none: at its first digit.
    Size(Option<u64>),
    /// In white space after it, which an extension has to follow.
    Space(u64),
    Extension(u64),
    /// After the CR of a size line.
    SizeEnd(u64),
    Data(u64),
    /// After the data.
    DataEnd,
    /// After its CR.
    DataEndLf,
    Trailer,
    /// After the CR of a trailer's line.
    TrailerEnd,
    End,
}

impl Chunked {
    /// A request's.
    pub(crate) fn new() -> Self {
        let (at, trailer) = (At::Size(None), Vec::new());
        Chunked { at, line: 0, extensions: 0, trailers: 0, trailer, may_pad: false }
    }

    /// An answer's.
    pub(crate) fn of_answer() -> Self {
        Chunked { may_pad: true, ..Self::new() }
    }

    /// Whether the body has ended.
    pub(crate) fn is_done(&self) -> bool {
        self.at == At::End
    }

    /// Follows `bytes` and returns how many of them belong to the body.
    ///
    /// # Errors
    ///
    /// Where they are not those of a chunked body.
    pub(crate) fn follow(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        let mut taken = 0;
        while taken < bytes.len() && !self.is_done() {
            if let At::Data(left) = self.at {
                let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len() - taken);
                let left = left - here as u64;
                taken += here;
                self.at = if left == 0 { At::DataEnd } else { At::Data(left) };
                continue;
            }
            self.at = self.step(bytes[taken])?;
            taken += 1;
        }
        Ok(taken)
    }

    /// Takes the data that comes next out of `bytes`, and what is around it; none: more has to come, or that was all.
    ///
    /// # Errors
    ///
    /// Where they are not those of a chunked body.
    pub(crate) fn decode(&mut self, bytes: &mut BytesMut) -> Result<Option<Bytes>, Fault> {
        while !bytes.is_empty() && !self.is_done() {
            if let At::Data(left) = self.at {
                let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                let left = left - here as u64;
                self.at = if left == 0 { At::DataEnd } else { At::Data(left) };
                return Ok(Some(bytes.split_to(here).freeze()));
            }
            self.at = self.step(bytes[0])?;
            bytes.advance(1);
        }
        Ok(None)
    }

    fn step(&mut self, byte: u8) -> Result<At, Fault> {
        Ok(match (self.at, byte) {
            (At::Size(size), b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                self.line += 1;
                let digit = char::from(byte).to_digit(16).unwrap_or(0);
                let size = size.unwrap_or(0).checked_mul(16).and_then(|size| size.checked_add(digit.into()));
                // Signed numbers of others must hold it too.
                let size = size.filter(|size| self.line <= DIGITS && i64::try_from(*size).is_ok());
                At::Size(Some(size.ok_or(BAD_SIZE)?))
            }
            (At::Size(Some(size)) | At::Extension(size), b'\r') => At::SizeEnd(size),
            (At::Space(size), b'\r') if self.may_pad => At::SizeEnd(size),
            (At::Size(Some(size)) | At::Space(size), b';') => At::Extension(size),
            (At::Size(Some(size)) | At::Space(size), b' ' | b'\t') => {
                self.count_line()?;
                At::Space(size)
            }
            (At::Size(_) | At::Space(_), _) => return Err(BAD_SIZE),
            (At::Extension(size), b'\t' | b' '..=b'~' | 0x80..) => {
                self.count_line()?;
                self.extensions += 1;
                if self.extensions > EXTENSIONS {
                    return Err(Fault::bad("the chunks have more extensions than allowed here"));
                }
                At::Extension(size)
            }
            (At::Extension(_), _) => return Err(Fault::bad("a chunk's extension has a control byte in it")),
            (At::SizeEnd(size), b'\n') => {
                self.line = 0;
                if size == 0 { At::Trailer } else { At::Data(size) }
            }
            (At::DataEnd, b'\r') => At::DataEndLf,
            (At::DataEndLf, b'\n') => At::Size(None),
            (At::DataEnd | At::DataEndLf, _) => return Err(BAD_END),
            (At::Trailer, b'\r') => At::TrailerEnd,
            (At::TrailerEnd, b'\n') => {
                let line = std::mem::take(&mut self.trailer);
                if line.is_empty() {
                    At::End
                } else {
                    field(&line)?;
                    At::Trailer
                }
            }
            (At::SizeEnd(_) | At::TrailerEnd, _) | (At::Trailer, b'\n') => return Err(BAD_LINE),
            (At::Trailer, _) => {
                self.trailers += 1;
                if self.trailers > TRAILERS {
                    return Err(Fault::bad("the trailers are longer than allowed here"));
                }
                self.trailer.push(byte);
                At::Trailer
            }
            (at @ (At::Data(_) | At::End), _) => at,
        })
    }

    fn count_line(&mut self) -> Result<(), Fault> {
        self.line += 1;
        if self.line > SIZE_LINE {
            return Err(Fault::bad("a chunk's size line is longer than allowed here"));
        }
        Ok(())
    }
}

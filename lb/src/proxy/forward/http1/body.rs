//! Where an answer's body ends (RFC 9112, section 6.3), and what of it has come.

use bytes::{Bytes, BytesMut};

use super::super::super::strict::chunked::Chunked;
use super::ReadError;

/// What is still to come of a body.
#[derive(Debug)]
pub(super) enum Body {
    /// There was no head yet that says it, or an interim one.
    Unknown,
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked(Box<Chunked>),
    /// All until the connection ends.
    Rest,
    /// Nothing.
    Done,
}

impl Body {
    pub(super) fn of_length(length: u64) -> Self {
        if length == 0 { Body::Done } else { Body::Length(length) }
    }

    pub(super) fn is_done(&self) -> bool {
        match self {
            Body::Chunked(chunked) => chunked.is_done(),
            Body::Done => true,
            Body::Unknown | Body::Length(_) | Body::Rest => false,
        }
    }

    /// How many more bytes there can be, where that is known.
    pub(super) fn at_most(&self) -> Option<usize> {
        match self {
            Body::Length(left) => usize::try_from(*left).ok(),
            Body::Unknown | Body::Chunked(_) | Body::Rest | Body::Done => None,
        }
    }

    /// The connection has ended: whether that is the end of the body too.
    pub(super) fn ends_with_connection(&mut self) -> bool {
        let ends = matches!(self, Body::Rest);
        if ends {
            *self = Body::Done;
        }
        ends
    }

    /// Takes what has come of it out of `input`; none: nothing.
    pub(super) fn take(&mut self, input: &mut BytesMut) -> Result<Option<Bytes>, ReadError> {
        let count = match self {
            Body::Unknown | Body::Done => 0,
            Body::Rest => input.len(),
            Body::Length(left) => {
                let count = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                *self = Body::of_length(*left - count as u64);
                count
            }
            Body::Chunked(chunked) => {
                return chunked.decode(input).map_err(|fault| ReadError::Unsound(fault.detail));
            }
        };
        Ok((count > 0).then(|| input.split_to(count).freeze()))
    }
}

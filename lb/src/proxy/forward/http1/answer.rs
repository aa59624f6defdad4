//! The head of an answer as it came: where its parts are among the bytes that were read, and what they are for. Most heads
//! are passed on without being anything else.

use bytes::Bytes;
use http::{StatusCode, Version, header};
use pingora_error::Result;
use pingora_http::{ResponseHeader, header_value_from_raw};

/// What a field of an answer, or of a request, is for, as far as a proxy has to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Connection,
    /// Another one that belongs to one connection only.
    Hop,
    Codings,
    Length,
    Type,
    Date,
    Via,
    Other,
}

impl Kind {
    /// That of a field with this name.
    pub(crate) fn of(name: &[u8]) -> Self {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        match name.len() {
            2 if is("te") => Kind::Hop,
            3 if is("via") => Kind::Via,
            4 if is("date") => Kind::Date,
            7 if is("trailer") || is("upgrade") => Kind::Hop,
            10 if is("connection") => Kind::Connection,
            10 if is("keep-alive") => Kind::Hop,
            12 if is("content-type") => Kind::Type,
            14 if is("content-length") => Kind::Length,
            16 if is("proxy-connection") => Kind::Hop,
            17 if is("transfer-encoding") => Kind::Codings,
            18 if is("proxy-authenticate") => Kind::Hop,
            19 if is("proxy-authorization") => Kind::Hop,
            _ => Kind::Other,
        }
    }
}

/// Where a part is; a head is far shorter than this can say.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Part {
    from: u32,
    to: u32,
}

impl Part {
    /// That of `part` among bytes that begin at `begin`.
    pub(super) fn of(part: &[u8], begin: usize) -> Self {
        if part.is_empty() {
            return Part::default();
        }
        let from = part.as_ptr() as usize - begin;
        let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Part { from: place(from), to: place(from + part.len()) }
    }

    fn range(self) -> std::ops::Range<usize> {
        self.from as usize..self.to as usize
    }
}

/// A field: its kind, its name and its value.
pub(super) type Field = (Kind, Part, Part);

/// The head of an answer.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    pub(crate) version: Version,
    /// The length that it says.
    pub(crate) length: Option<u64>,
    pub(super) raw: Bytes,
    pub(super) reason: Part,
    pub(super) fields: Vec<Field>,
}

impl Head {
    /// The length of its text in bytes, about.
    pub(crate) fn size(&self) -> usize {
        self.raw.len()
    }

    /// What its first line says beside the status.
    pub(crate) fn reason(&self) -> &[u8] {
        &self.raw[self.reason.range()]
    }

    /// Its fields: kind, name and value of each.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (Kind, &[u8], &[u8])> {
        let part = |part: Part| &self.raw[part.range()];
        self.fields.iter().map(move |&(kind, name, value)| (kind, part(name), part(value)))
    }

    /// How many fields it has.
    pub(crate) fn count(&self) -> usize {
        self.fields.len()
    }

    /// The same, with values that can be kept.
    pub(crate) fn shared(&self) -> impl Iterator<Item = (Kind, &[u8], Bytes)> {
        self.fields
            .iter()
            .map(|&(kind, name, value)| (kind, &self.raw[name.range()], self.raw.slice(value.range())))
    }

    /// The values of its fields of one kind.
    pub(crate) fn values(&self, wanted: Kind) -> impl Iterator<Item = &[u8]> {
        self.fields().filter(move |&(kind, ..)| kind == wanted).map(|(_, _, value)| value)
    }

    /// Whether its last transfer coding is `chunked`.
    pub(crate) fn is_chunked(&self) -> bool {
        self.values(Kind::Codings).last().is_some_and(ends_with_chunked)
    }

    /// The same as a header that can be changed, with names as they were written or not. It says a length once (RFC 9110,
    /// section 8.6).
    ///
    /// # Errors
    ///
    /// Never for what was read: names and values were found to be ones.
    pub(crate) fn to_header(&self, keeps_case: bool) -> Result<Box<ResponseHeader>> {
        let fields = Some(self.fields.len());
        let mut header = if keeps_case {
            ResponseHeader::build(self.status, fields)?
        } else {
            ResponseHeader::build_no_case(self.status, fields)?
        };
        header.set_version(self.version);
        header.set_reason_phrase(Some(std::str::from_utf8(self.reason()).unwrap_or_default()))?;
        let mut lengths = 0;
        for &(kind, name, value) in &self.fields {
            lengths += u32::from(kind == Kind::Length);
            let (name, value) = (self.raw.slice(name.range()), self.raw.slice(value.range()));
            header.append_header(name, header_value_from_raw(value))?;
        }
        if let Some(length) = self.length
            && (lengths > 1 || header.headers[header::CONTENT_LENGTH].as_bytes().contains(&b','))
        {
            header.insert_header(header::CONTENT_LENGTH, length)?;
        }
        Ok(Box::new(header))
    }
}

/// Whether the last of these transfer codings is `chunked`.
pub(crate) fn ends_with_chunked(codings: &[u8]) -> bool {
    let last = codings.rsplit(|&byte| byte == b',').next();
    last.is_some_and(|last| last.trim_ascii().eq_ignore_ascii_case(b"chunked"))
}

#[cfg(test)]
mod tests {
    use super::super::super::super::headers::HOP_BY_HOP;
    use super::*;

    #[test]
    fn what_belongs_to_one_connection_is_known_by_its_name() {
        for name in HOP_BY_HOP {
            let kind = Kind::of(name.as_str().to_uppercase().as_bytes());
            let expected = if name == header::CONNECTION { Kind::Connection } else { Kind::Hop };
            assert_eq!(kind, expected, "{name}");
        }
        for name in ["x-connection", "sate", "content-typo", "keep-alike", "ti", "", "set-cookie"] {
            assert_eq!(Kind::of(name.as_bytes()), Kind::Other, "{name}");
        }
    }
}

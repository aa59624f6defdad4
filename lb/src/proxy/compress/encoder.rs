//! Compresses a body as it comes.

use std::io::{self, Write as _};
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use wire::compress::Coding;
use zstd::zstd_safe::CParameter;

/// The most answers that are compressed at a time; others are passed on as they are. Each takes up to about 2 MiB
/// (brotli; zstd 1.4, gzip half a MiB).
const MAX_ENCODERS: usize = 500;

/// Of each, what takes about as long as it takes to send what it saves.
const GZIP_LEVEL: u32 = 5;
const BROTLI_QUALITY: u32 = 4;
const ZSTD_LEVEL: i32 = 3;

/// The compressed text refers back so far: 2 to the power of this, in bytes. More costs memory here and at the client.
const BROTLI_WINDOW: u32 = 18;
const ZSTD_WINDOW: u32 = 17;

/// What brotli gathers before it passes it on, in bytes.
const BROTLI_BUFFER: usize = 4 << 10;

/// How many there are now.
static ENCODERS: AtomicUsize = AtomicUsize::new(0);

/// Compresses one body.
pub(crate) struct Encoder {
    kind: Kind,
    /// Something was taken that was not given out.
    pending: bool,
    _place: Place,
}

enum Kind {
    Gzip(GzEncoder<Vec<u8>>),
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
    /// The end was given out.
    Over,
}

/// One of those that may be.
struct Place;

impl Place {
    fn take() -> Option<Self> {
        let before = ENCODERS.fetch_add(1, Ordering::Relaxed);
        let place = Place;
        (before < MAX_ENCODERS).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        ENCODERS.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Encoder {
    /// One for `coding`; none while there are too many, or too little memory.
    pub(crate) fn new(coding: Coding) -> Option<Self> {
        let place = Place::take()?;
        let kind = match coding {
            Coding::Gzip => Kind::Gzip(GzEncoder::new(Vec::new(), Compression::new(GZIP_LEVEL))),
            Coding::Br => {
                let writer =
                    brotli::CompressorWriter::new(Vec::new(), BROTLI_BUFFER, BROTLI_QUALITY, BROTLI_WINDOW);
                Kind::Brotli(Box::new(writer))
            }
            Coding::Zstd => {
                let mut writer = zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL).ok()?;
                writer.set_parameter(CParameter::WindowLog(ZSTD_WINDOW)).ok()?;
                Kind::Zstd(writer)
            }
        };
        Some(Encoder { kind, pending: false, _place: place })
    }

    /// Takes `part` of the body; what there is to send now, perhaps nothing.
    ///
    /// # Errors
    ///
    /// When there is no memory for it.
    pub(crate) fn push(&mut self, part: &[u8]) -> io::Result<Bytes> {
        self.pending |= !part.is_empty();
        match &mut self.kind {
            Kind::Gzip(writer) => writer.write_all(part)?,
            Kind::Brotli(writer) => writer.write_all(part)?,
            Kind::Zstd(writer) => writer.write_all(part)?,
            Kind::Over => {}
        }
        Ok(self.taken())
    }

    /// All that was taken and not given out, so that the client can read it now.
    ///
    /// # Errors
    ///
    /// As [`Self::push`].
    pub(crate) fn flush(&mut self) -> io::Result<Bytes> {
        if !std::mem::take(&mut self.pending) {
            return Ok(Bytes::new());
        }
        match &mut self.kind {
            Kind::Gzip(writer) => writer.flush()?,
            Kind::Brotli(writer) => writer.flush()?,
            Kind::Zstd(writer) => writer.flush()?,
            Kind::Over => {}
        }
        Ok(self.taken())
    }

    /// What there is to send after `part`, such that the client can read it now, or the rest if this is the `end`; what
    /// comes afterwards is nothing.
    ///
    /// # Errors
    ///
    /// As [`Self::push`].
    pub(crate) fn part(&mut self, part: &[u8], end: bool) -> io::Result<Bytes> {
        let begin = self.push(part)?;
        let rest = if end { self.finish()? } else { self.flush()? };
        Ok(if begin.is_empty() { rest } else { [begin, rest].concat().into() })
    }

    fn finish(&mut self) -> io::Result<Bytes> {
        let rest = match std::mem::replace(&mut self.kind, Kind::Over) {
            Kind::Gzip(writer) => writer.finish()?,
            Kind::Brotli(writer) => writer.into_inner(),
            Kind::Zstd(writer) => writer.finish()?,
            Kind::Over => Vec::new(),
        };
        Ok(rest.into())
    }

    fn taken(&mut self) -> Bytes {
        let output = match &mut self.kind {
            Kind::Gzip(writer) => writer.get_mut(),
            Kind::Brotli(writer) => writer.get_mut(),
            Kind::Zstd(writer) => writer.get_mut(),
            Kind::Over => return Bytes::new(),
        };
        std::mem::take(output).into()
    }
}

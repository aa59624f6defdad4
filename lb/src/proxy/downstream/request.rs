//! The head of a request, out of bytes that were found to be one (`strict`): looked through once for what decides its way.
//! Most requests need no more of it, and what upstreams are sent is written straight from it (`forward::as_sent`). A header
//! that can be searched and changed is made when somebody asks for one.

use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::OnceLock;

use bytes::Bytes;
use http::{Method, Version};
use httparse::{Request, Status};
use pingora_http::{RequestHeader, header_value_from_raw};
use smallvec::SmallVec;

use super::super::asked::Asked;
use super::super::headers::keeps_connection;
use super::as_came::names_fields;

/// As many fields as any limit allows are looked at here; requests with more go Pingora's way.
const MAX_FIELDS: usize = 128;

/// So do those with longer names of fields, in bytes …
const MAX_NAME: usize = 1 << 10;

/// … or with a longer target.
const MAX_TARGET: usize = 32 << 10;

/// The head of a request that is answered past Pingora.
#[derive(Debug)]
pub(crate) struct RequestHead {
    raw: Bytes,
    method: Method,
    version: Version,
    /// Where its target is.
    target: Range<usize>,
    /// How long the target is without its query.
    path: usize,
    /// Where the value of its `Host` is, if there is one.
    host: Option<Range<usize>>,
    /// Of its body, as it says.
    length: u64,
    /// Its client waits for a word before it sends the body.
    expects: bool,
    /// The client wants to go on with the connection.
    keeps: bool,
    /// It came through another proxy, or `Connection` says more than what becomes of the connection.
    has_own: bool,
    /// The same as a header, once somebody has asked for it. Boxed: few do, and the head is moved about.
    made: OnceLock<Box<RequestHeader>>,
    /// Which is another one than was sent.
    is_changed: bool,
}

impl RequestHead {
    /// The request that `head` is, if it is one that is answered past Pingora: it says how long its body is, and switches
    /// no protocol.
    pub(crate) fn read(head: &[u8]) -> Option<Self> {
        let first = memchr::memchr(b'\n', head)?;
        let mut words = head[..first].trim_ascii_end().splitn(3, |&byte| byte == b' ');
        let (method, target, version) = (words.next()?, words.next()?, words.next()?);
        let version = if version == b"HTTP/1.1" { Version::HTTP_11 } else { Version::HTTP_10 };
        let at = |part: &[u8]| {
            let from = part.as_ptr() as usize - head.as_ptr() as usize;
            from..from + part.len()
        };
        let path = memchr::memchr(b'?', target).unwrap_or(target.len());
        let (mut host, mut length, mut expects, mut count, mut has_own) = (None, 0, false, 0, false);
        let mut options = SmallVec::<[&[u8]; 2]>::new();
        for (name, value) in fields(&head[first + 1..]) {
            count += 1;
            if name.len() > MAX_NAME {
                return None;
            }
            let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
            match name.len() {
                3 if is("via") => has_own = true,
                4 if is("host") => host = Some(at(value)),
                6 if is("expect") => expects = true,
                7 if is("upgrade") && value.eq_ignore_ascii_case(b"websocket") => return None,
                10 if is("connection") => {
                    has_own |= names_fields(value);
                    options.push(value);
                }
                14 if is("content-length") => length = std::str::from_utf8(value).ok()?.parse().ok()?,
                17 if is("transfer-encoding") => return None,
                _ => {}
            }
        }
        // What a URI cannot have in its path (RFC 3986, section 3.3) and `strict` lets through is for Pingora to refuse.
        if count > MAX_FIELDS || target.len() > MAX_TARGET || target[..path].contains(&b'`') {
            return None;
        }
        // HTTP/1.0 knows no word to wait for (RFC 9110, section 10.1.1), and for nothing nobody waits.
        if expects && (length == 0 || version == Version::HTTP_10) {
            return None;
        }
        Some(RequestHead {
            method: Method::from_bytes(method).ok()?,
            version,
            target: at(target),
            path,
            host,
            length,
            expects,
            keeps: keeps_connection(version, options.into_iter()),
            has_own,
            made: OnceLock::new(),
            is_changed: false,
            raw: Bytes::copy_from_slice(head),
        })
    }

    pub(crate) fn method(&self) -> &Method {
        &self.method
    }

    pub(crate) fn version(&self) -> Version {
        self.version
    }

    /// The target, as it was sent.
    pub(crate) fn target(&self) -> &[u8] {
        &self.raw[self.target.clone()]
    }

    /// The target without its query.
    pub(crate) fn path(&self) -> &str {
        // `strict` lets nothing through that is not ASCII.
        std::str::from_utf8(&self.target()[..self.path]).unwrap_or_default()
    }

    /// The value of `Host`, if there is one.
    pub(crate) fn host(&self) -> Option<&[u8]> {
        self.host.clone().map(|host| &self.raw[host])
    }

    /// Names and values of its fields, as they were written and in their order.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let first = memchr::memchr(b'\n', &self.raw).unwrap_or(0);
        fields(&self.raw[first + 1..])
    }

    /// Whether it says anything that is between its client and us, other than what becomes of the connection: `Via`, or
    /// fields named in `Connection`.
    pub(crate) fn has_own(&self) -> bool {
        self.has_own
    }

    /// How long it is, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.raw.len()
    }

    /// The length of its body, in bytes.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Whether its client waits for a word (100) before it sends the body.
    pub(super) fn expects(&self) -> bool {
        self.expects
    }

    /// Whether its client wants to go on with the connection (RFC 9112, section 9.3).
    pub(super) fn keeps(&self) -> bool {
        self.keeps
    }

    /// What it asks for: as it was sent, unless somebody has changed that.
    pub(crate) fn asked(&self) -> Asked<'_> {
        if self.is_changed { Asked::Header(self.header()) } else { Asked::Head(self) }
    }

    /// The same as a header, to be changed.
    pub(super) fn header_mut(&mut self) -> &mut RequestHeader {
        self.is_changed = true;
        let made = self.made.take().unwrap_or_else(|| Box::new(made(&self.raw)));
        self.made = OnceLock::from(made);
        match self.made.get_mut() {
            Some(made) => made,
            None => unreachable!("it was put there"),
        }
    }

    /// The same as a header.
    pub(crate) fn header(&self) -> &RequestHeader {
        self.made.get_or_init(|| Box::new(made(&self.raw)))
    }
}

/// The header that `head` is.
fn made(head: &Bytes) -> RequestHeader {
    header(head).unwrap_or_else(|| {
        // Not possible: `read` leaves to Pingora what could not be made into one.
        tracing::error!("a request's head cannot be made into a header");
        RequestHeader::from(http::Request::new(()).into_parts().0)
    })
}

/// Names and values of the field lines that `lines` begins with.
pub(crate) fn fields(mut lines: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    std::iter::from_fn(move || {
        let end = memchr::memchr(b'\n', lines)?;
        let line = &lines[..end];
        lines = &lines[end + 1..];
        let name = memchr::memchr(b':', line)?;
        Some((&line[..name], line[name + 1..].trim_ascii()))
    })
}

/// The same, if it can be made.
fn header(raw: &Bytes) -> Option<RequestHeader> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut parsed = Request::new(&mut []);
    let Ok(Status::Complete(_)) = parsed.parse_with_uninit_headers(raw, &mut fields) else { return None };
    let mut request =
        RequestHeader::build(parsed.method?, parsed.path?.as_bytes(), Some(parsed.headers.len())).ok()?;
    request.set_version(if parsed.version? == 1 { Version::HTTP_11 } else { Version::HTTP_10 });
    for field in parsed.headers {
        let (name, value) = (raw.slice_ref(field.name.as_bytes()), raw.slice_ref(field.value));
        request.append_header(name, header_value_from_raw(value)).ok()?;
    }
    Some(request)
}

#[cfg(test)]
mod tests {
    use http::header;
    use proptest::prelude::*;

    use super::super::super::strict::{HeadLimits, check};
    use super::*;

    const LIMITS: HeadLimits = HeadLimits { target: 1_000, field: 1_000, fields: 100 };

    const FIELDS: [&str; 14] = [
        "Host: a.example:80",
        "host:b",
        "Connection: close",
        "CONNECTION: x , Keep-Alive",
        "Content-Length: 5",
        "content-length:\t0 ",
        "Content-Length: 5000",
        "Upgrade: h2c",
        "X-Odd:",
        "X-Odd: \u{e4} a:b",
        "Accept: */*",
        "Accept: text/html",
        "Cookie: a=b; c=d",
        "x-very-long-and-not-known-to-anybody_at-all: 1",
    ];

    const TARGETS: [&str; 9] =
        ["/", "/a/b?c=d", "/?", "/%61?x=`|{}\\^", "/a|b{c}\\^", "/a?b?c", "*", "//a", "/~:@!$&'()*+,;="];

    proptest! {
        #[test]
        fn it_says_what_the_header_says_that_is_made_of_it(
            fields in prop::collection::vec(0..FIELDS.len(), 0..8),
            (target, method, minor) in (0..TARGETS.len(), 0..4_usize, 0..2_usize),
        ) {
            let method = ["GET", "OPTIONS", "DELETE", "X-OWN"][method];
            let fields: String = fields.iter().map(|&field| format!("{}\r\n", FIELDS[field])).collect();
            let text = format!("{method} {} HTTP/1.{minor}\r\n{fields}\r\n", TARGETS[target]);
            let is_sound = check(text.as_bytes(), &LIMITS).is_ok();
            let Some(head) = RequestHead::read(text.as_bytes()) else { return Ok(()) };
            if !is_sound {
                return Ok(());
            }
            let made = super::header(&Bytes::from(text.clone()));
            prop_assert!(made.is_some(), "{text:?}");
            let (asked, header) = (Asked::Head(&head), Asked::Header(head.header()));
            prop_assert_eq!((asked.method(), asked.version()), (header.method(), header.version()));
            prop_assert_eq!((asked.target(), asked.path()), (header.target(), header.path()));
            prop_assert_eq!((asked.authority(), asked.host()), (header.authority(), header.host()));
            let headers = header.headers();
            let length = headers.get(header::CONTENT_LENGTH).map_or("0", |value| value.to_str().expect("text"));
            prop_assert_eq!(head.length().to_string(), length);
            let options = headers.get_all(header::CONNECTION).iter().map(http::HeaderValue::as_bytes);
            prop_assert_eq!(head.keeps(), keeps_connection(header.version(), options));
        }
    }

    #[test]
    fn what_is_not_answered_past_pingora_is_left_alone() {
        for (head, expected) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", true),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n", true),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n", true),
            ("POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n", false),
            ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", false),
            ("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n", false),
            ("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: WebSocket\r\n\r\n", false),
            ("GET /` HTTP/1.1\r\nHost: a\r\n\r\n", false),
        ] {
            assert_eq!(RequestHead::read(head.as_bytes()).is_some(), expected, "{head:?}");
        }
    }
}

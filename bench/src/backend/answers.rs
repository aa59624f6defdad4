//! What the backend answers, made before it is asked for.

use std::rc::Rc;

/// What long bodies are made of.
pub(super) static FILL: [u8; 256 << 10] = [b'x'; 256 << 10];

/// What is answered.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Small,
    /// To HEAD: health checks like it.
    Bare,
    Big,
    Huge,
    Echo,
    /// A body whose length is not said: no proxy here has a reason to make one of a body whose length was.
    LengthRequired,
}

/// The rest of an answer: a text, and after it so many bytes of [`FILL`].
pub(super) struct Unsent {
    pub(super) text: Rc<Vec<u8>>,
    pub(super) at: usize,
    pub(super) fill: u64,
}

/// The answers, made once.
pub(super) struct Answers {
    small: Rc<Vec<u8>>,
    bare: Rc<Vec<u8>>,
    big: Rc<Vec<u8>>,
    huge: Rc<Vec<u8>>,
    length_required: Rc<Vec<u8>>,
}

const HUGE: u64 = 100 << 20;

impl Answers {
    pub(super) fn new() -> Self {
        let head = |status: &str, kind: &str, length: u64| {
            format!(
                "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nDate: Sat, 21 Nov 2026 01:00:00 GMT\r\n\
                 Cache-Control: no-store\r\nX-Request-Id: 0123456789abcdef\r\nContent-Length: {length}\r\n\r\n"
            )
            .into_bytes()
        };
        let json = format!("{{\"pad\":\"{}\"}}", "x".repeat(190));
        let bare = head("200 OK", "application/json", json.len() as u64);
        let mut big = head("200 OK", "application/octet-stream", 1 << 20);
        big.resize(big.len() + (1 << 20), b'x');
        Answers {
            small: Rc::new([&bare[..], json.as_bytes()].concat()),
            bare: Rc::new(bare),
            big: Rc::new(big),
            huge: Rc::new(head("200 OK", "application/octet-stream", HUGE)),
            length_required: Rc::new(head("411 Length Required", "text/plain", 0)),
        }
    }

    pub(super) fn of(&self, kind: Kind, echo: Option<Vec<u8>>) -> Unsent {
        let (text, fill) = match kind {
            Kind::Small => (self.small.clone(), 0),
            Kind::Bare => (self.bare.clone(), 0),
            Kind::Big => (self.big.clone(), 0),
            Kind::Huge => (self.huge.clone(), HUGE),
            Kind::LengthRequired => (self.length_required.clone(), 0),
            Kind::Echo => {
                let body = echo.unwrap_or_default();
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                );
                (Rc::new([head.as_bytes(), &body].concat()), 0)
            }
        };
        Unsent { text, at: 0, fill }
    }
}

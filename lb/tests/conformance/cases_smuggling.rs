//! Requests with two ends: a part of the body for one is the next request for another.

use crate::case::{Case, case};

/// A POST with these field lines and this body.
fn post(fields: &str, body: &str) -> String {
    format!("POST /x HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n{body}")
}

const NEXT: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = both();
    cases.extend(codings());
    cases.extend(lengths());
    cases
}

const BOTH: &str =
    "Who sends both attacks or is broken; the RFC allows to refuse it, and nothing else is safe for all.";

fn both() -> Vec<Case> {
    let length = format!("0\r\n\r\n{NEXT}").len();
    vec![
        case("CL.TE", "RFC 9112 §6.3", post(&format!("Content-Length: {length}\r\nTransfer-Encoding: chunked"), &format!("0\r\n\r\n{NEXT}")))
            .refused(400)
            .why(BOTH),
        case("TE.CL", "RFC 9112 §6.3", post("Transfer-Encoding: chunked\r\nContent-Length: 4", &format!("{:x}\r\n{NEXT}\r\n0\r\n\r\n", NEXT.len())))
            .refused(400)
            .why(BOTH),
        case("both, and they agree", "RFC 9112 §6.3", post("Transfer-Encoding: chunked\r\nContent-Length: 5", "0\r\n\r\n"))
            .refused(400)
            .why(BOTH),
        case("TE.TE in HTTP/1.0", "RFC 9112 §6.1", format!("POST /x HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{NEXT}"))
            .refused(400),
    ]
}

fn codings() -> Vec<Case> {
    let coded = |name, coding: &str, status| {
        case(name, "TE.TE", post(coding, &format!("0\r\n\r\n{NEXT}"))).refused(status)
    };
    vec![
        coded("Transfer-Encoding : chunked", "Transfer-Encoding : chunked", 400),
        coded("Transfer-Encoding, folded", "Transfer-Encoding:\r\n chunked", 400),
        coded("Transfer-Encoding: xchunked", "Transfer-Encoding: xchunked", 501),
        coded("Transfer-Encoding: identity", "Transfer-Encoding: identity", 501),
        coded("Transfer-Encoding: identity, chunked", "Transfer-Encoding: identity, chunked", 501),
        coded("Transfer-Encoding: gzip, chunked", "Transfer-Encoding: gzip, chunked", 501),
        coded("Transfer-Encoding: chunked, gzip", "Transfer-Encoding: chunked, gzip", 400),
        coded("Transfer-Encoding: chunked, chunked", "Transfer-Encoding: chunked, chunked", 400),
        coded("Transfer-Encoding twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", 400),
        coded(
            "Transfer-Encoding: chunked, then identity",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
            400,
        ),
        coded("Transfer-Encoding with a vertical tab", "Transfer-Encoding: \u{b}chunked", 400),
        coded("Transfer-Encoding with a NUL", "Transfer-Encoding: chunked\0", 400),
        coded("Transfer-Encoding after a bare LF", "X: y\nTransfer-Encoding: chunked", 400)
            .why("A bare LF is no line end."),
        coded("Transfer-Encoding after a bare CR", "X: y\rTransfer-Encoding: chunked", 400),
        coded("an empty Transfer-Encoding", "Transfer-Encoding:", 400),
        coded("Transfer-Encoding: \"chunked\"", "Transfer-Encoding: \"chunked\"", 400),
        coded("Transfer-Encoding: chunked;a=b", "Transfer-Encoding: chunked;a=b", 400),
        case(
            "Transfer-Encoding: ChUnKeD",
            "RFC 9112 §7",
            post("Transfer-Encoding: ChUnKeD", "2\r\nhi\r\n0\r\n\r\n"),
        )
        .reaches(&["POST /x hi"]),
        case(
            "Transfer_Encoding: chunked",
            "TE.TE",
            post("Transfer_Encoding: chunked\r\nContent-Length: 5", "0\r\n\r\n"),
        )
        .reaches(&["POST /x 0\r\n\r\n"]),
    ]
}

const TWICE: &str = "One length is enough; the RFC allows to refuse a list of the same.";

fn lengths() -> Vec<Case> {
    let long = |name, length: &str| case(name, "RFC 9110 §8.6", post(length, "hello")).refused(400);
    vec![
        long("two lengths that differ", "Content-Length: 5\r\nContent-Length: 0"),
        long("the same length twice", "Content-Length: 5\r\nContent-Length: 5").why(TWICE),
        long("a list of the same length", "Content-Length: 5, 5").why(TWICE),
        long("a negative length", "Content-Length: -5"),
        long("a length with a sign", "Content-Length: +5"),
        long("a length in hexadecimal", "Content-Length: 0x5"),
        long("a length with a space in it", "Content-Length: 5 5"),
        long("a length with a fraction", "Content-Length: 5.0"),
        long("an empty length", "Content-Length:"),
        long("a length of 2^64+5", "Content-Length: 18446744073709551621"),
        long("Content-Length : 5", "Content-Length : 5"),
        case("a length with zeros ahead", "RFC 9110 §8.6", post("Content-Length: 0005", "hello")).reaches(&["POST /x hello"]),
        case("a GET with a body", "CL.0", format!("GET /x HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{NEXT}", NEXT.len()))
            .reaches(&["GET /x GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"]),
        case("a GET with a chunked body", "CL.0", format!("GET /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{NEXT}\r\n0\r\n\r\n", NEXT.len()))
            .reaches(&["GET /x GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"]),
        case("a POST without a length and what follows it", "0.CL", format!("POST /x HTTP/1.1\r\nHost: a\r\n\r\n{}", NEXT.replace("smuggled", "second")))
            .statuses(&[&[200, 200]])
            .reaches(&["POST /x", "GET /second"]),
        case("a WebSocket handshake with a body", "RFC 6455 §4.1", format!("GET /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: {}\r\n\r\n{NEXT}", NEXT.len()))
            .refused(400)
            .why("The bytes of a body would be the first of the tunnel for one of the two."),
        case("an upgrade to HTTP/2 in clear", "h2c smuggling", "GET /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n")
            .lacks("h2c")
            .lacks("http2-settings"),
    ]
}

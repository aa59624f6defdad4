//! Bodies: chunks, trailers, and what is expected before they come.

use crate::case::{Case, case};

fn chunked(body: &str) -> String {
    format!("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}")
}

/// A body that is refused. Its head may have reached the backend, but as a request it never does.
fn bad(name: &'static str, source: &'static str, body: &str) -> Case {
    case(name, source, chunked(body)).refused(400)
}

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
const BARE: &str = "Bare LF is what chunks are smuggled with.";
const HALF: &str = "The client may be there to read what it did wrong.";
const LENIENT: &str = "It is no chunked body by the grammar, so nobody can know where it ends.";

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = chunks();
    cases.extend(expectations());
    cases
}

fn chunks() -> Vec<Case> {
    vec![
        case("two chunks", "RFC 9112 §7.1", chunked("2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"))
            .reaches(&["POST /x hello"]),
        case("zeros ahead of a size", "RFC 9112 §7.1", chunked("0005\r\nhello\r\n000\r\n\r\n"))
            .reaches(&["POST /x hello"]),
        case("a chunk's extension", "RFC 9112 §7.1.1", chunked("5;a=\"b;c\"\r\nhello\r\n0;d\r\n\r\n"))
            .reaches(&["POST /x hello"]),
        case("a space before an extension", "RFC 9112 §7.1.1", chunked("5 ;a\r\nhello\r\n0\r\n\r\n"))
            .reaches(&["POST /x hello"]),
        bad(
            "extensions of 20,000 bytes",
            "RFC 9112 §7.1.1",
            &format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(20_000)),
        ),
        bad(
            "extensions of 10,000 bytes in small parts",
            "CVE-2023-39326",
            &format!("{}0\r\n\r\n", format!("1;{}\r\nx\r\n", "a".repeat(200)).repeat(50)),
        )
        .why("Extensions are limited for the whole body: else a byte of it may cost hundreds."),
        bad(
            "an extension that ends with a bare LF",
            "TERM.EXT",
            &format!("2;\nxx\r\n10\r\n\r\n0\r\n\r\n{SMUGGLED}"),
        )
        .why(BARE),
        bad("a bare CR in an extension", "EXT.TERM", &format!("2;a\rb\r\nxx\r\n0\r\n\r\n{SMUGGLED}"))
            .why(BARE),
        bad("a size line that ends with a bare LF", "RFC 9112 §7.1", "5\nhello\r\n0\r\n\r\n").why(BARE),
        bad("chunk data that ends with a bare LF", "RFC 9112 §7.1", "5\r\nhello\n0\r\n\r\n").why(BARE),
        bad("a last line that is a bare LF", "RFC 9112 §7.1", "5\r\nhello\r\n0\r\n\n").why(BARE),
        bad("chunk data longer than its size", "RFC 9112 §7.1", "4\r\nhello\r\n0\r\n\r\n"),
        bad("chunk data followed by anything", "SPILL.TERM", &format!("5\r\nhelloXX0\r\n\r\n{SMUGGLED}")),
        bad("no size", "RFC 9112 §7.1", "\r\nhello\r\n0\r\n\r\n"),
        bad("a size with 0x", "RFC 9112 §7.1", "0x5\r\nhello\r\n0\r\n\r\n"),
        bad("a size with a sign", "RFC 9112 §7.1", "+5\r\nhello\r\n0\r\n\r\n"),
        bad("a negative size", "RFC 9112 §7.1", "-5\r\nhello\r\n0\r\n\r\n"),
        bad("a size with a space ahead", "RFC 9112 §7.1", " 5\r\nhello\r\n0\r\n\r\n"),
        bad("a size with a space after it", "RFC 9112 §7.1", "5 \r\nhello\r\n0\r\n\r\n").why(LENIENT),
        bad("a size with an underscore", "RFC 9112 §7.1", "1_0\r\nhello\r\n0\r\n\r\n"),
        bad("a size of 2^64+5", "CVE-2013-2028", "10000000000000005\r\nhello\r\n0\r\n\r\n"),
        bad("a size of 2^63", "CVE-2013-2028", "8000000000000000\r\nhello\r\n0\r\n\r\n"),
        case("trailers", "RFC 9112 §7.1.2", chunked("5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"))
            .reaches(&["POST /x hello"])
            .lacks("x-sum"),
        case(
            "a trailer that frames",
            "RFC 9110 §6.5.1",
            chunked("5\r\nhello\r\n0\r\nContent-Length: 50\r\nHost: b\r\n\r\n"),
        )
        .reaches(&["POST /x hello"])
        .lacks("content-length"),
        bad("a trailer without a colon", "RFC 9112 §7.1.2", "0\r\nX\r\n\r\n").why(LENIENT),
        bad("a trailer that ends with a bare LF", "RFC 9112 §7.1.2", &format!("0\r\nX: y\n\r\n{SMUGGLED}"))
            .why(BARE),
        bad(
            "trailers of 20,000 bytes",
            "RFC 9112 §7.1.2",
            &format!("0\r\nX: {}\r\n\r\n", "y".repeat(20_000)),
        ),
        case(
            "a chunked body and what follows it",
            "RFC 9112 §9.3.2",
            chunked("2\r\nhi\r\n0\r\n\r\n") + "GET /second HTTP/1.1\r\nHost: a\r\n\r\n",
        )
        .statuses(&[&[200, 200]])
        .reaches(&["POST /x hi", "GET /second"]),
        case(
            "a body that ends too early",
            "RFC 9112 §8",
            "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello",
        )
        .refused(400)
        .half_closed()
        .why(HALF),
        case("chunks that end too early", "RFC 9112 §8", chunked("5\r\nhello\r\n"))
            .refused(400)
            .half_closed()
            .why(HALF),
    ]
}

fn expectations() -> Vec<Case> {
    let expecting = |version, body: &str| {
        format!(
            "POST /x HTTP/{version}\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n{body}"
        )
    };
    vec![
        case("100-continue with the body at once", "RFC 9110 §10.1.1", expecting("1.1", "hi"))
            .statuses(&[&[100, 200], &[200]])
            .reaches(&["POST /x hi"]),
        case("100-continue in HTTP/1.0", "RFC 9110 §10.1.1", expecting("1.0", "hi"))
            .closed()
            .reaches(&["POST /x hi"])
            .lacks("expect"),
        case("100-continue, and the backend says so", "RFC 9110 §10.1.1", expecting("1.1", "hi"))
            .bytes("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .statuses(&[&[100, 200], &[200]])
            .reaches(&["POST /x hi"]),
    ]
}

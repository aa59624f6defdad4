//! What a bad backend can do to the clients of a good one.

use crate::case::{Case, case};

/// A GET that the backend answers with these bytes.
fn answered(name: &'static str, source: &'static str, answer: &str) -> Case {
    case(name, source, "GET /x HTTP/1.1\r\nHost: a\r\n\r\n").bytes(answer)
}

/// An answer that lb takes for none.
fn none(name: &'static str, source: &'static str, answer: &str) -> Case {
    answered(name, source, answer).statuses(&[&[502]])
}

const EVIL: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
const TWO_ENDS: &str = "An answer with two ends is none: 502, and the backend's connection ends.";
const OLD: &str = "HTTP/1.0 has no interim answers: they are left out.";
const WHOLE: &str = "Small answers are passed on when they are whole; of this one nothing was sent yet.";

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = ends();
    cases.extend(leftovers());
    cases.extend(interim());
    cases
}

fn ends() -> Vec<Case> {
    let both =
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let short = case("a body that is too short", "RFC 9112 §8", "GET /x HTTP/1.1\r\nHost: a\r\n\r\n");
    let bare =
        case("a body that ends with the connection", "RFC 9112 §6.3", "GET /x HTTP/1.1\r\nHost: a\r\n\r\n");
    vec![
        answered(
            "a chunked answer",
            "RFC 9112 §7.1",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        ),
        answered(
            "a chunked answer with trailers",
            "RFC 9112 §7.1.2",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n",
        ),
        none("both Content-Length and Transfer-Encoding", "RFC 9112 §6.3", both).why(TWO_ENDS),
        none(
            "two lengths that differ",
            "RFC 9112 §6.3",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 4\r\n\r\nhello",
        ),
        none("a negative length", "RFC 9112 §6.3", "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello"),
        none(
            "Transfer-Encoding in HTTP/1.0",
            "RFC 9112 §6.1",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        )
        .why(TWO_ENDS),
        none(
            "Transfer-Encoding twice",
            "RFC 9112 §6.1",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        )
        .why(TWO_ENDS),
        none(
            "a bad chunk size",
            "RFC 9112 §7.1",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
        )
        .why(WHOLE),
        short.last("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello").statuses(&[&[502]]).why(WHOLE),
        bare.last("HTTP/1.1 200 OK\r\n\r\nhello").afresh(),
        answered(
            "a folded field in an answer",
            "RFC 9112 §5.2",
            "HTTP/1.1 200 OK\r\nX: y\r\n z\r\nContent-Length: 5\r\n\r\nhello",
        ),
        none(
            "a NUL in a field",
            "RFC 9110 §5.5",
            "HTTP/1.1 200 OK\r\nX: y\0z\r\nContent-Length: 5\r\n\r\nhello",
        ),
        none(
            "a bare CR in a field",
            "RFC 9110 §5.5",
            "HTTP/1.1 200 OK\r\nX: y\rz\r\nContent-Length: 5\r\n\r\nhello",
        ),
        none("no HTTP at all", "RFC 9112 §4", "hello, this is no HTTP\r\n\r\n"),
        none(
            "101 that nobody asked for",
            "RFC 9110 §15.2.2",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        ),
    ]
}

fn leftovers() -> Vec<Case> {
    let head = case("HEAD with a body", "RFC 9110 §9.3.2", "HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n")
        .reaches(&["HEAD /x"]);
    let hello = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    vec![
        answered("another answer after the body", "response splitting", &format!("{hello}{EVIL}")).afresh(),
        answered(
            "another answer after the last chunk",
            "response splitting",
            &format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{EVIL}"),
        )
        .afresh(),
        answered("204 with a body", "RFC 9110 §15.3.5", &format!("HTTP/1.1 204 No Content\r\n\r\n{EVIL}"))
            .statuses(&[&[204]])
            .afresh(),
        answered(
            "204 with a length",
            "RFC 9110 §8.6",
            "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello",
        )
        .statuses(&[&[204]])
        .afresh(),
        answered(
            "304 with a length and a body",
            "RFC 9110 §15.4.5",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello",
        )
        .statuses(&[&[304]])
        .afresh(),
        head.bytes(hello).afresh(),
        answered(
            "an empty answer and more",
            "response splitting",
            &format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n{EVIL}"),
        )
        .afresh(),
    ]
}

fn interim() -> Vec<Case> {
    let hint = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n";
    let hello = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    let old =
        case("103 to a client of HTTP/1.0", "RFC 9110 §15.2", "GET /x HTTP/1.0\r\nHost: a\r\n\r\n").closed();
    let old_post = case(
        "103 to an upload of HTTP/1.0",
        "RFC 9110 §15.2",
        format!("POST /x HTTP/1.0\r\nHost: a\r\nContent-Length: 70000\r\n\r\n{}", "x".repeat(70_000)),
    )
    .closed();
    vec![
        answered("103 before the answer", "RFC 8297 §2", &format!("{hint}{hello}")).statuses(&[&[103, 200]]),
        answered(
            "100 that nobody asked for",
            "RFC 9110 §15.2.1",
            &format!("HTTP/1.1 100 Continue\r\n\r\n{hello}"),
        )
        .statuses(&[&[100, 200], &[200]]),
        answered("a thousand interim answers", "RFC 9110 §15.2", &format!("{}{hello}", hint.repeat(1000)))
            .statuses(&[&[&[103; 100][..], &[502]].concat()])
            .varies_in("nginx")
            .why("A flood of them ends after 100: each costs the client as much as an answer."),
        old.bytes(format!("{hint}{hello}")).why(OLD),
        old_post.bytes(format!("{hint}{hello}")).why(OLD).reaches(&["POST /x (70000 bytes)"]),
    ]
}

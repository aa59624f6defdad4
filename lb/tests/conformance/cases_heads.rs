//! Request lines and fields.

use crate::case::{Case, case};

/// A head with this first line.
fn line(line: &str) -> String {
    format!("{line}\r\nHost: a\r\n\r\n")
}

/// A GET with this field line besides `Host`.
fn field(field: &str) -> String {
    format!("GET /x HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n")
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = lines();
    cases.extend(hosts());
    cases.extend(fields());
    cases
}

const VERSIONS: &str = "A later minor version is answered as 1.1, as RFC 9110 asks for.";
const ONE_SPACE: &str = "One space is what the grammar has; leniency here is optional.";

fn lines() -> Vec<Case> {
    vec![
        case("an ordinary GET", "RFC 9112 §3", line("GET /x HTTP/1.1")),
        case("an unknown method", "RFC 9110 §9.1", line("BREW /x HTTP/1.1")).reaches(&["BREW /x"]),
        case("a method in lower case", "RFC 9110 §9.1", line("get /x HTTP/1.1")).reaches(&["get /x"]),
        case("a method that is no token", "RFC 9112 §3.1", line("G@T /x HTTP/1.1")).refused(400),
        case("no method", "RFC 9112 §3.1", line(" /x HTTP/1.1")).refused(400),
        case("TRACE", "RFC 9110 §9.3.8", line("TRACE /x HTTP/1.1")).refused(501).why(
            "It is served for no resource, which 501 says; it would show cookies that scripts must not see.",
        ),
        case("CONNECT", "RFC 9110 §9.3.6", "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n")
            .refused(501)
            .why("No forward proxy: 501 for every target."),
        case("two spaces before the target", "RFC 9112 §3", line("GET  /x HTTP/1.1"))
            .refused(400)
            .why(ONE_SPACE),
        case("two spaces before the version", "RFC 9112 §3", line("GET /x  HTTP/1.1"))
            .refused(400)
            .why(ONE_SPACE),
        case("a space after the version", "RFC 9112 §3", line("GET /x HTTP/1.1 ")).refused(400),
        case("a tab for a space", "RFC 9112 §3", line("GET\t/x\tHTTP/1.1")).refused(400),
        case("a space in the target", "RFC 9112 §3.2", line("GET /x y HTTP/1.1")).refused(400),
        case("a NUL in the target", "RFC 9112 §3.2", line("GET /x\0 HTTP/1.1")).refused(400),
        case("a byte above 127 in the target", "RFC 3986 §2", line("GET /\u{e4} HTTP/1.1")).refused(400),
        case("a fragment in the target", "RFC 9112 §3.2", line("GET /x#y HTTP/1.1")).refused(400),
        case("bytes that browsers send raw", "RFC 3986 §2", line("GET /x?a=b|{c}^`\\ HTTP/1.1"))
            .reaches(&["GET /x?a=b|{c}^`\\"]),
        case("a percent sign without digits", "RFC 3986 §2.1", line("GET /x?%zz HTTP/1.1"))
            .reaches(&["GET /x?%zz"]),
        case("a target that is no path", "RFC 9112 §3.2", line("GET x HTTP/1.1")).refused(400),
        case("an asterisk with OPTIONS", "RFC 9112 §3.2.4", line("OPTIONS * HTTP/1.1"))
            .reaches(&["OPTIONS *"]),
        case("an asterisk with GET", "RFC 9112 §3.2.4", line("GET * HTTP/1.1")).refused(400),
        case("an authority with GET", "RFC 9112 §3.2.3", line("GET a:80 HTTP/1.1")).refused(400),
        case("an absolute target", "RFC 9112 §3.2.2", line("GET http://a/x HTTP/1.1")).has("\r\nhost: a\r\n"),
        case("an absolute target without a path", "RFC 9112 §3.2.1", line("GET http://a HTTP/1.1"))
            .reaches(&["GET /"]),
        case("an absolute target of another scheme", "RFC 9112 §3.2.2", line("GET gopher://a/x HTTP/1.1"))
            .refused(400)
            .why("Nothing of another scheme is served here."),
        case("an absolute target with a user", "RFC 9110 §4.2.4", line("GET http://b@a/x HTTP/1.1"))
            .refused(400),
        case(
            "a target of 20,000 bytes",
            "RFC 9112 §3",
            line(&format!("GET /{} HTTP/1.1", "x".repeat(20_000))),
        )
        .refused(414),
        case("HTTP/1.2", "RFC 9110 §2.5", line("GET /x HTTP/1.2")).has("get /x http/1.1\r\n").why(VERSIONS),
        case("HTTP/2.0 in words", "RFC 9110 §15.6.6", line("GET /x HTTP/2.0")).refused(505),
        case("nearly the preface of HTTP/2", "RFC 9113 §3.4", "PRI * HTTP/2.0\r\n\r\nAM\r\n\r\n")
            .refused(505)
            .why("505 is the status for it."),
        case("HTTP/0.9", "RFC 9112 §3", "GET /x\r\n")
            .refused(400)
            .why("Nobody speaks it; it is not waited for either."),
        case("a version in lower case", "RFC 9112 §2.3", line("GET /x http/1.1")).refused(400),
        case("a version of two digits", "RFC 9112 §2.3", line("GET /x HTTP/1.10")).refused(400),
        case("an empty line ahead", "RFC 9112 §2.2", format!("\r\n{}", line("GET /x HTTP/1.1"))),
        case("a hundred empty lines ahead", "RFC 9112 §2.2", "\r\n".repeat(100) + &line("GET /x HTTP/1.1"))
            .refused(400)
            .why("Four are let through: a client that sends more sends no requests."),
    ]
}

const NO_HOST: &str = "It is no host; whoever takes a part of it for one may be led elsewhere.";
const HOST_OF_TARGET: &str =
    "The host of the target counts and replaces `Host`, as the RFC has it for servers.";

fn hosts() -> Vec<Case> {
    vec![
        case("no Host", "RFC 9112 §3.2", "GET /x HTTP/1.1\r\n\r\n").refused(400),
        case("no Host in HTTP/1.0", "RFC 9112 §3.2", "GET /x HTTP/1.0\r\n\r\n").closed(),
        case("two Hosts", "RFC 9112 §3.2", "GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").refused(400),
        case("the same Host twice", "RFC 9112 §3.2", "GET /x HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n")
            .refused(400),
        case("an empty Host", "RFC 9110 §7.2", "GET /x HTTP/1.1\r\nHost:\r\n\r\n"),
        case("a Host with a path", "RFC 9110 §7.2", "GET /x HTTP/1.1\r\nHost: a/b\r\n\r\n").refused(400),
        case("a Host with a user", "RFC 9110 §7.2", "GET /x HTTP/1.1\r\nHost: b@a\r\n\r\n")
            .refused(400)
            .why(NO_HOST),
        case("a Host that is a list", "RFC 9110 §7.2", "GET /x HTTP/1.1\r\nHost: a, b\r\n\r\n").refused(400),
        case("a Host with a bad port", "RFC 9110 §7.2", "GET /x HTTP/1.1\r\nHost: a:b\r\n\r\n")
            .refused(400)
            .why(NO_HOST),
        case("an IPv6 Host", "RFC 9110 §7.2", "GET /x HTTP/1.1\r\nHost: [::1]:80\r\n\r\n").has("host: [::1]"),
        case(
            "a Host that is not the target's",
            "RFC 9112 §3.2.2",
            "GET http://b/x HTTP/1.1\r\nHost: a\r\n\r\n",
        )
        .has("\r\nhost: b\r\n")
        .lacks("\r\nhost: a\r\n")
        .why(HOST_OF_TARGET),
    ]
}

const STATUS: &str = "431 is the status for it.";
const BARE: &str =
    "A bare LF is no line end: who takes it for one and who does not read two different heads.";

fn fields() -> Vec<Case> {
    let many = "X: y\r\n".repeat(129);
    vec![
        case("a space before the colon", "RFC 9112 §5.1", field("A : b")).refused(400),
        case("a folded field", "RFC 9112 §5.2", field("A: b\r\n c")).refused(400),
        case("a folded first field", "RFC 9112 §2.2", "GET /x HTTP/1.1\r\n Host: a\r\nHost: a\r\n\r\n")
            .refused(400),
        case("a field without a colon", "RFC 9112 §5", field("A")).refused(400),
        case("a field without a name", "RFC 9112 §5", field(": b")).refused(400),
        case("a name with a bracket", "RFC 9110 §5.1", field("A(): b")).refused(400),
        case("a name with a byte above 127", "RFC 9110 §5.1", field("\u{e4}: b")).refused(400),
        case("a NUL in a name", "RFC 9110 §5.1", field("A\0: b")).refused(400),
        case("a NUL in a value", "RFC 9110 §5.5", field("A: b\0c")).refused(400),
        case("a bare CR in a value", "RFC 9110 §5.5", field("A: b\rc: d")).refused(400),
        case("a control byte in a value", "RFC 9110 §5.5", field("A: b\u{1}"))
            .refused(400)
            .why("RFC 9110 calls it invalid and dangerous; whoever shows it is led astray."),
        case("a byte above 127 in a value", "RFC 9110 §5.5", field("A: \u{e4}")).has("a: \u{e4}"),
        case("lines that end with LF alone", "RFC 9112 §2.2", "GET /x HTTP/1.1\nHost: a\n\n")
            .refused(400)
            .why(BARE),
        case("one line that ends with LF alone", "RFC 9112 §2.2", field("A: b\nC: d")).refused(400).why(BARE),
        case("an empty line that is LF alone", "RFC 9112 §2.2", "GET /x HTTP/1.1\r\nHost: a\r\n\n")
            .refused(400)
            .why(BARE),
        case("an empty value", "RFC 9110 §5.5", field("A:")).has("\r\na:"),
        case("129 fields", "RFC 9110 §5.4", field(many.trim_end()))
            .refused(431)
            .why("128 unless `limits.header_fields` says otherwise, and 431 is the status for it."),
        case("a field of 40,000 bytes", "RFC 9110 §5.4", field(&format!("A: {}", "b".repeat(40_000))))
            .refused(431)
            .why(STATUS),
        case(
            "a head of 80,000 bytes",
            "RFC 9110 §5.4",
            field(&vec![format!("A: {}", "b".repeat(8_000)); 10].join("\r\n")),
        )
        .refused(431)
        .why(STATUS),
        case(
            "fields of the connection",
            "RFC 9110 §7.6.1",
            field("Connection: x-mine\r\nX-Mine: 1\r\nTE: trailers\r\nKeep-Alive: 5"),
        )
        .lacks("x-mine")
        .lacks("\r\nte:")
        .lacks("keep-alive"),
        case("Connection that names Host", "hop-by-hop abuse", field("Connection: host, x-forwarded-for"))
            .has("\r\nhost: a\r\n"),
        case("an expectation nobody knows", "RFC 9110 §10.1.1", field("Expect: tea"))
            .refused(417)
            .why("417 tells the client; passed on or ignored, it would wait for what never comes."),
    ]
}

use super::chunked::Chunked;
use super::*;

const LIMITS: HeadLimits = HeadLimits { target: 100, field: 60, fields: 4 };

fn checked(head: &str) -> Result<String, u16> {
    let checked = check(head.as_bytes(), &LIMITS).map_err(|fault| fault.status)?;
    let untidy = checked.is_untidy();
    let tidied = String::from_utf8(tidy(&checked)).expect("text");
    assert_eq!(untidy, tidied != head, "{head:?} {tidied:?}");
    assert!(!check(tidied.as_bytes(), &LIMITS).expect("tidied").is_untidy(), "{tidied:?}");
    Ok(tidied)
}

#[test]
fn what_is_right_is_left_as_it_is() {
    for head in [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /?a=%20|b~{c}[]^`\\ HTTP/1.1\r\nhost:\ta:80 \r\nX-Y: \u{fc}, \"; \t=\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost:\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: [::1]:8080\r\nContent-Length: 007\r\nExpect: 100-Continue\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \t CHUNKED\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n",
    ] {
        assert_eq!(checked(head).as_deref(), Ok(head));
    }
}

#[test]
fn what_just_fits_is_let_through() {
    let target = format!("/{}", "x".repeat(99));
    let field = format!("A: {}", "x".repeat(57));
    assert_eq!((target.len(), field.len()), (LIMITS.target, LIMITS.field));
    let head = format!("GET {target} HTTP/1.1\r\nHost: a\r\n{field}\r\nB: c\r\nB: c\r\n\r\n");
    assert_eq!(checked(&head).as_deref(), Ok(head.as_str()));
    let method = "M".repeat(32);
    assert!(checked(&format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n")).is_ok());
}

#[test]
fn other_forms_become_the_one() {
    for (head, tidied) in [
        ("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("GET / HTTP/1.7\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        (
            "GET HTTP://b:1/x?y HTTP/1.1\r\nA: b\r\nHost: a\r\n\r\n",
            "GET /x?y HTTP/1.1\r\nHost: b:1\r\nA: b\r\n\r\n",
        ),
        ("GET http://b?y HTTP/1.0\r\n\r\n", "GET /?y HTTP/1.0\r\nHost: b\r\n\r\n"),
        ("OPTIONS https://b HTTP/1.1\r\nHost: b\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: b\r\n\r\n"),
        ("GET / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n", "GET / HTTP/1.0\r\n\r\n"),
    ] {
        assert_eq!(checked(head).as_deref(), Ok(tidied));
    }
}

#[test]
fn what_can_be_read_in_two_ways_is_refused() {
    let long = format!("/{}", "x".repeat(100));
    let line = |line: &str| format!("{line}\r\nHost: a\r\n\r\n");
    let field = |field: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n");
    for (head, status) in [
        (line("GET /"), 400),
        (line("GET  / HTTP/1.1"), 400),
        (line("GET / HTTP/1.1 "), 400),
        (line("GET\t/\tHTTP/1.1"), 400),
        (line("GET / http/1.1"), 400),
        (line("GET / HTTP/1.10"), 400),
        (line("GET / HTTP/2.0"), 505),
        (line("GET / HTTP/0.9"), 505),
        (line("G(T / HTTP/1.1"), 400),
        (line(" / HTTP/1.1"), 400),
        (line(&format!("{} / HTTP/1.1", "M".repeat(33))), 400),
        (line("GET x HTTP/1.1"), 400),
        (line("GET * HTTP/1.1"), 400),
        (line("GET /a#b HTTP/1.1"), 400),
        (line("GET /\u{e4} HTTP/1.1"), 400),
        (line("GET /\0 HTTP/1.1"), 400),
        (line("GET ftp://a/ HTTP/1.1"), 400),
        (line("GET http:///x HTTP/1.1"), 400),
        (line("GET http://me@b/ HTTP/1.1"), 400),
        (line("GET a:80 HTTP/1.1"), 400),
        (line("CONNECT a:80 HTTP/1.1"), 501),
        (line("TRACE / HTTP/1.1"), 501),
        (line(&format!("GET {long} HTTP/1.1")), 414),
        ("\r\n".repeat(5) + &line("GET / HTTP/1.1"), 400),
        ("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\nHost: a\n\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nHost: a\r\n\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        (field("Host: a"), 400),
        (field("A : b"), 400),
        (field(" A: b"), 400),
        (field("A: b\r\n c"), 400),
        (field("A"), 400),
        (field(": b"), 400),
        (field("A\0: b"), 400),
        (field("A: b\0"), 400),
        (field("A: b\rc"), 400),
        (field("A: b\u{7f}"), 400),
        (field("A: b\u{b}"), 400),
        (field(&format!("A: {}", "x".repeat(58))), 431),
        (field("A: 1\r\nA: 1\r\nA: 1\r\nA: 1"), 431),
        (field("Content-Length: 1, 1"), 400),
        (field("Content-Length: 1\r\nContent-Length: 1"), 400),
        (field("Content-Length: +1"), 400),
        (field("Content-Length: -1"), 400),
        (field("Content-Length: 0x1"), 400),
        (field("Content-Length: 1 1"), 400),
        (field("Content-Length:"), 400),
        (field("Content-Length: 9223372036854775808"), 400),
        (field("Content-Length: 99999999999999999999"), 400),
        (field("Content-Length: 1\r\nTransfer-Encoding: chunked"), 400),
        (field("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), 400),
        (field("Transfer-Encoding: chunked, chunked"), 400),
        (field("Transfer-Encoding: chunked, gzip"), 400),
        (field("Transfer-Encoding: , chunked"), 400),
        (field("Transfer-Encoding: chunked;a=b"), 400),
        (field("Transfer-Encoding:"), 400),
        (field("Transfer-Encoding: \u{b}chunked"), 400),
        (field("Transfer-Encoding: gzip, chunked"), 501),
        (field("Transfer-Encoding: xchunked"), 501),
        (field("Transfer-Encoding: identity"), 501),
        ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(), 400),
        (field("Expect: tea"), 417),
        (field("Expect: 100-continue, tea"), 417),
        (field("Upgrade: WebSocket\r\nContent-Length: 1"), 400),
    ] {
        assert_eq!(checked(&head), Err(status), "{head:?}");
    }
}

#[test]
fn a_host_is_one_host_and_one_port() {
    for (host, right) in [
        ("", true),
        ("a-b_c.example:80", true),
        ("192.0.2.1:", true),
        ("[2001:db8::1]:443", true),
        ("[2001:db8::1", false),
        ("[v1.x]", false),
        ("a:65536", false),
        ("a:80:80", false),
        (":80", false),
        ("a b", false),
        ("a,b", false),
        ("a/b", false),
        ("me@b", false),
    ] {
        assert_eq!(fields::is_host(host.as_bytes()), right, "{host:?}");
    }
}

#[test]
fn a_head_that_will_be_none_is_not_waited_for() {
    for (begun, expected) in [
        ("", Ok(false)),
        ("\r\n", Ok(false)),
        ("G", Ok(false)),
        ("GET / HTTP/1.1\r", Ok(false)),
        ("GET / HTTP/1.1\r\nHo", Ok(true)),
        ("\u{16}\u{3}\u{1}", Err(400)),
        ("GET /\r\n", Err(400)),
        ("GET / HTTP/1.1\n", Err(400)),
        (&"\r\n".repeat(5), Err(400)),
        (&format!("GET /{}", "x".repeat(150)), Err(414)),
    ] {
        assert_eq!(early(begun.as_bytes(), 100).map_err(|fault| fault.status), expected, "{begun:?}");
    }
}

/// How much of `bytes` belongs to the body, however they come.
fn followed(bytes: &[u8]) -> Result<(usize, bool), Fault> {
    let mut whole = Chunked::new();
    let all = whole.follow(bytes).map(|taken| (taken, whole.is_done()));
    let mut each = Chunked::new();
    let mut taken = 0;
    let by_byte = bytes.chunks(1).try_for_each(|byte| each.follow(byte).map(|count| taken += count));
    assert_eq!(all, by_byte.map(|()| (taken, each.is_done())));
    all
}

#[test]
fn a_chunked_body_ends_where_it_ends() {
    for (bytes, length) in [
        ("0\r\n\r\n", 5),
        ("5\r\nhello\r\n0\r\n\r\nGET / HTTP/1.1", 15),
        ("000A;a=\"b\" ; c\r\n0123456789\r\n0 ;x\r\nA: b\r\nC: d\r\n\r\n.", 48),
        ("fFf\r\n", 5),
    ] {
        let is_whole = bytes.contains("0\r\n") || bytes.contains(";x");
        assert_eq!(followed(bytes.as_bytes()), Ok((length, is_whole)), "{bytes:?}");
    }
}

#[test]
fn what_is_no_chunked_body_is_refused() {
    let long = |text: &str, count| text.repeat(count);
    for bytes in [
        "\r\n",
        "g\r\n",
        "0x5\r\n",
        "-1\r\n",
        "+1\r\n",
        " 5\r\n",
        "5 \r\n",
        "5\n",
        "5\rx",
        ";a\r\n",
        "1\r\nab",
        "1\r\na\n",
        "1\r\na\rb",
        "5;a\n",
        "5;a\rb",
        "5;a\0\r\n",
        "8000000000000000\r\n",
        "ffffffffffffffff1\r\n",
        "00000000000000001\r\n",
        "0\r\n\n",
        "0\r\nA: b\n",
        "0\r\nA\r\n",
        "0\r\n A: b\r\n",
        "0\r\nA : b\r\n",
        "0\r\nA: b\0\r\n",
        &format!("1;{}", long("x", 300)),
        &format!("0\r\nA: {}", long("x", 9000)),
        &long(&format!("1;{}\r\nx\r\n", long("x", 200)), 50),
    ] {
        assert!(followed(bytes.as_bytes()).is_err(), "{bytes:?}");
    }
}

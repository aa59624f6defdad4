//! What follows on the same connection.

use crate::case::{Case, case};

const GET: &str = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n";
const SECOND: &str = "GET /second HTTP/1.1\r\nHost: a\r\n\r\n";

pub(crate) fn cases() -> Vec<Case> {
    let ten: Vec<u16> = vec![200; 10];
    vec![
        case("two requests at once", "RFC 9112 §9.3.2", format!("{GET}{SECOND}"))
            .statuses(&[&[200, 200]])
            .reaches(&["GET /x", "GET /second"]),
        case("ten requests at once", "RFC 9112 §9.3.2", GET.repeat(10))
            .statuses(&[&ten])
            .reaches(&["GET /x"; 10]),
        case(
            "a POST and a GET at once",
            "RFC 9112 §9.3.2",
            format!("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi{SECOND}"),
        )
        .statuses(&[&[200, 200]])
        .reaches(&["POST /x hi", "GET /second"]),
        case(
            "empty lines after a body",
            "RFC 9112 §2.2",
            format!("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi\r\n{SECOND}"),
        )
        .statuses(&[&[200, 200]])
        .reaches(&["POST /x hi", "GET /second"]),
        case(
            "a GET after one that is refused",
            "RFC 9112 §9.6",
            format!("GET /x HTTP/1.1\r\n\r\n{}", SECOND.replace("second", "smuggled")),
        )
        .refused(400),
        case(
            "one that is refused after a GET",
            "RFC 9112 §9.3.2",
            format!("{GET}GET /smuggled HTTP/1.1\r\n\r\n"),
        )
        .statuses(&[&[200, 400]])
        .closed(),
        case(
            "a GET after Connection: close",
            "RFC 9112 §9.6",
            format!(
                "GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n{}",
                SECOND.replace("second", "smuggled")
            ),
        )
        .closed(),
        case(
            "Connection: close among others",
            "RFC 9112 §9.6",
            "GET /x HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n",
        )
        .closed(),
        case("HTTP/1.0", "RFC 9112 §9.3", "GET /x HTTP/1.0\r\nHost: a\r\n\r\n")
            .closed()
            .has("get /x http/1.1\r\n"),
        case(
            "HTTP/1.0 with keep-alive",
            "RFC 9112 §9.3",
            "GET /x HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
        ),
        case("a GET and the end of the client's side", "RFC 9112 §9.6", GET).half_closed(),
        case(
            "a POST and the end of the client's side",
            "RFC 9112 §9.6",
            "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        )
        .half_closed()
        .reaches(&["POST /x hi"]),
        case("two requests and the end of the client's side", "RFC 9112 §9.6", format!("{GET}{SECOND}"))
            .half_closed()
            .statuses(&[&[200, 200]])
            .reaches(&["GET /x", "GET /second"])
            .varies_in("HAProxy")
            .why("Whatever was asked before the end is answered."),
        case("half a head and the end of the client's side", "RFC 9112 §8", "GET /x HTTP/1.1\r\nHo")
            .refused(400)
            .half_closed(),
        case("half a head and nothing more", "RFC 9110 §15.5.9", "GET /x HTTP/1.1\r\nHost: a\r\n")
            .refused(408),
        case(
            "half a body and nothing more",
            "RFC 9110 §15.5.9",
            "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello",
        )
        .refused(408)
        .why("The client is told what it did wrong."),
        case(
            "HEAD and what follows it",
            "RFC 9110 §9.3.2",
            format!("HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n{SECOND}"),
        )
        .statuses(&[&[200, 200]])
        .reaches(&["HEAD /x", "GET /second"]),
    ]
}

"""Frames of HTTP/2 as no well-behaved client sends them, built by hand, with hpack for the fields, and what RFC 9113 says
that becomes of them.

usage: frames.py ADDRESS:PORT CASE…   (no case: all; each has a connection of its own)
Prints what differs; ends with 0 when nothing does.
"""

import struct
import sys
import time

from raw import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    ERRORS,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Connection,
    block,
    frame,
    get,
    request,
)


def sent(*parts, **more):
    connection = Connection(**more)
    connection.send(*parts)
    return connection.outcome()


def flood(parts, times):
    connection = Connection()
    for _ in range(times):
        connection.send(parts)
    return connection.outcome()


def too_many_streams():
    """128 wait for an answer that does not come; the next one is refused, and nothing else happens."""
    connection = Connection()
    for index in range(129):
        connection.send(get(1 + 2 * index, path="/hang"))
    for kind, _, stream, payload in connection.frames():
        if kind == RST_STREAM:
            return f"{stream} {ERRORS[struct.unpack('>L', payload)[0]]}"
    return "closed"


def rapid_reset():
    connection = Connection()
    for index in range(5000):
        stream = 1 + 2 * index
        connection.send(get(stream, path="/hang"), frame(RST_STREAM, 0, stream, struct.pack(">L", 8)))
    for kind, _, _, payload in connection.frames():
        if kind == GOAWAY:
            return "goaway " + ERRORS[struct.unpack(">L", payload[4:8])[0]]
    return "closed"


def malformed_requests():
    connection = Connection()
    for index in range(40):
        stream = 1 + 2 * index
        connection.send(frame(HEADERS, END_STREAM | END_HEADERS, stream, request(("host", "another"))))
    for kind, _, _, payload in connection.frames():
        if kind == GOAWAY:
            return "goaway " + ERRORS[struct.unpack(">L", payload[4:8])[0]]
    return "closed"


def dripping_head():
    """A head that never ends, a byte now and then; another stream is answered meanwhile before it."""
    connection = Connection()
    connection.send(get(1))
    assert connection.outcome() == "status 200"
    connection.socket.settimeout(0.2)
    connection.send(frame(HEADERS, END_STREAM, 3, request(), length=1000))
    end = time.monotonic() + 15
    while time.monotonic() < end:
        connection.send(b"\x00")
        try:
            for kind, _, _, payload in connection.frames():
                if kind == GOAWAY:
                    return "goaway " + ERRORS[struct.unpack(">L", payload[4:8])[0]]
            return "closed"
        except TimeoutError:
            pass
    return "nothing"


def slow_preface():
    connection = Connection(preface=b"")
    for byte in PREFACE + frame(SETTINGS) + get():
        connection.send(bytes([byte]))
    return connection.outcome()


def interim():
    connection = Connection()
    connection.send(get(path="/hints"))
    first = connection.outcome()
    return f"{first}, {connection.outcome()}"


def bad_field(*fields, **more):
    return lambda: sent(frame(HEADERS, END_STREAM | END_HEADERS, 1, request(*fields, **more)))


def posting(length, *parts):
    return lambda: sent(frame(HEADERS, END_HEADERS, 1, request(("content-length", length), method="POST")), *parts)


PROTOCOL, RESET = "goaway PROTOCOL_ERROR", "reset PROTOCOL_ERROR"
# A stream's error may be taken for one of the connection (section 5.4.1); h2 does so where it decodes fields.
EITHER = [RESET, PROTOCOL]
SIZE = "goaway FRAME_SIZE_ERROR"
CALM = "goaway ENHANCE_YOUR_CALM"
CASES = {
    "5.1 a request": (lambda: sent(get()), ["status 200"]),
    "3.4 a preface byte by byte": (slow_preface, ["status 200"]),
    "3.4 something else than SETTINGS first": (lambda: sent(get(), preface=PREFACE), [PROTOCOL]),
    "4.1 an unknown frame": (lambda: sent(frame(0x20, 0xFF, 0, b"abc"), get()), ["status 200"]),
    "4.2 a frame that is too long": (lambda: sent(frame(DATA, 0, 1, b"x" * 16385)), [SIZE]),
    "4.3 a block that is none": (
        lambda: sent(frame(HEADERS, END_STREAM | END_HEADERS, 1, b"\xff\xff\xff\xff\xff\xff")),
        ["goaway COMPRESSION_ERROR", PROTOCOL],
    ),
    "5.1 DATA on an idle stream": (lambda: sent(frame(DATA, END_STREAM, 1, b"x")), [PROTOCOL]),
    "5.1 RST_STREAM on an idle stream": (lambda: sent(frame(RST_STREAM, 0, 1, bytes(4))), [PROTOCOL]),
    "5.1 WINDOW_UPDATE on an idle stream": (
        lambda: sent(frame(WINDOW_UPDATE, 0, 1, struct.pack(">L", 1))),
        [PROTOCOL],
    ),
    "5.1 CONTINUATION on nothing": (lambda: sent(frame(CONTINUATION, END_HEADERS, 1, request())), [PROTOCOL]),
    "5.1 DATA after the end": (
        lambda: sent(get(path="/hang"), frame(DATA, END_STREAM, 1, b"x")),
        ["reset STREAM_CLOSED", "goaway STREAM_CLOSED", PROTOCOL],
    ),
    "5.1.1 a stream of even number": (lambda: sent(get(2)), [PROTOCOL]),
    "5.1.1 a number that goes back": (lambda: sent(get(5, path="/hang"), get(3, path="/hang")), [PROTOCOL]),
    "5.1.2 too many streams": (too_many_streams, ["257 REFUSED_STREAM"]),
    "6.1 DATA on the connection": (lambda: sent(frame(DATA, 0, 0, b"x")), [PROTOCOL]),
    "6.1 padding longer than the frame": (
        lambda: sent(
            frame(HEADERS, END_HEADERS, 1, request(method="POST")), frame(DATA, PADDED | END_STREAM, 1, b"\x09xx")
        ),
        [PROTOCOL],
    ),
    "6.2 HEADERS on the connection": (lambda: sent(get(0)), [PROTOCOL]),
    "6.2 another frame inside of a head": (
        lambda: sent(frame(HEADERS, END_STREAM, 1, request()), frame(PING, 0, 0, bytes(8))),
        [PROTOCOL],
    ),
    "6.2 a head in parts": (
        lambda: sent(
            frame(HEADERS, END_STREAM, 1, request()[:3]), frame(CONTINUATION, END_HEADERS, 1, request()[3:])
        ),
        ["status 200"],
    ),
    "6.4 RST_STREAM on the connection": (lambda: sent(frame(RST_STREAM, 0, 0, bytes(4))), [PROTOCOL]),
    "6.4 RST_STREAM of a wrong length": (
        lambda: sent(get(path="/hang"), frame(RST_STREAM, 0, 1, bytes(3))),
        [SIZE],
    ),
    "6.5 SETTINGS on a stream": (lambda: sent(frame(SETTINGS, 0, 1)), [PROTOCOL]),
    "6.5 SETTINGS of a wrong length": (lambda: sent(frame(SETTINGS, 0, 0, bytes(5))), [SIZE]),
    "6.5 SETTINGS that acknowledge something": (lambda: sent(frame(SETTINGS, ACK, 0, bytes(6))), [SIZE]),
    "6.5.2 ENABLE_PUSH of 2": (lambda: sent(frame(SETTINGS, 0, 0, struct.pack(">HL", 2, 2))), [PROTOCOL]),
    "6.5.2 a window that is too large": (
        lambda: sent(frame(SETTINGS, 0, 0, struct.pack(">HL", 4, 1 << 31))),
        ["goaway FLOW_CONTROL_ERROR", PROTOCOL],
    ),
    "6.5.2 a frame size that is too small": (
        lambda: sent(frame(SETTINGS, 0, 0, struct.pack(">HL", 5, 16383))),
        [PROTOCOL],
    ),
    "6.5.2 an unknown setting": (
        lambda: sent(frame(SETTINGS, 0, 0, struct.pack(">HL", 0xABCD, 7)), get()),
        ["status 200"],
    ),
    "6.6 PUSH_PROMISE of a client": (
        lambda: sent(frame(PUSH_PROMISE, END_HEADERS, 1, struct.pack(">L", 2) + request())),
        [PROTOCOL],
    ),
    "6.7 PING on a stream": (lambda: sent(frame(PING, 0, 1, bytes(8))), [PROTOCOL]),
    "6.7 PING of a wrong length": (lambda: sent(frame(PING, 0, 0, bytes(7))), [SIZE]),
    "6.8 GOAWAY on a stream": (lambda: sent(frame(GOAWAY, 0, 1, bytes(8))), [PROTOCOL]),
    "6.9 WINDOW_UPDATE of nothing": (
        lambda: sent(frame(WINDOW_UPDATE, 0, 0, bytes(4))),
        [PROTOCOL],
    ),
    "6.9 WINDOW_UPDATE of a wrong length": (lambda: sent(frame(WINDOW_UPDATE, 0, 0, bytes(3))), [SIZE]),
    "6.9.1 a window beyond its limit": (
        lambda: sent(frame(WINDOW_UPDATE, 0, 0, struct.pack(">L", 0x7FFFFFFF))),
        ["goaway FLOW_CONTROL_ERROR"],
    ),
    "6.9.1 more DATA than the window": (
        lambda: sent(
            frame(HEADERS, END_HEADERS, 1, request(method="POST", path="/hang")),
            *[frame(DATA, 0, 1, b"x" * 16384)] * 80,
        ),
        ["goaway FLOW_CONTROL_ERROR", "reset FLOW_CONTROL_ERROR"],
    ),
    "8.1.1 less body than content-length": (posting("5", frame(DATA, END_STREAM, 1, b"abc")), [RESET]),
    "8.1.1 more body than content-length": (posting("2", frame(DATA, END_STREAM, 1, b"abc")), [RESET]),
    "8.1.1 a content-length and no body": (
        lambda: sent(
            frame(HEADERS, END_HEADERS | END_STREAM, 1, request(("content-length", "3"), method="POST")),
        ),
        [RESET],
    ),
    "8.1.1 two lengths": (bad_field(("content-length", "0"), ("content-length", "1"), method="POST"), [RESET]),
    "8.1 interim answers": (interim, ["status 103, status 200"]),
    "8.2 a field in upper case": (bad_field(("X-Upper", "1")), EITHER),
    "8.2.1 a field with a line break": (bad_field(("x", "a\r\nb: c")), EITHER),
    "8.2.1 a field name with a colon": (bad_field(("a:b", "1")), EITHER),
    "8.2.2 connection": (bad_field(("connection", "close")), [RESET]),
    "8.2.2 keep-alive": (bad_field(("keep-alive", "1")), [RESET]),
    "8.2.2 proxy-connection": (bad_field(("proxy-connection", "close")), [RESET]),
    "8.2.2 transfer-encoding": (bad_field(("transfer-encoding", "chunked")), [RESET]),
    "8.2.2 upgrade": (bad_field(("upgrade", "h2c")), [RESET]),
    "8.2.2 te other than trailers": (bad_field(("te", "gzip")), [RESET]),
    "8.2.2 te: trailers": (bad_field(("te", "trailers")), ["status 200"]),
    "8.3 an unknown pseudo-field": (bad_field((":unknown", "1")), EITHER),
    "8.3 a pseudo-field of answers": (bad_field((":status", "200")), [RESET]),
    "8.3 a pseudo-field after the others": (
        lambda: sent(
            frame(
                HEADERS,
                END_STREAM | END_HEADERS,
                1,
                block(((":method", "GET"), (":scheme", "http"), ("x", "1"), (":path", "/"), (":authority", "t"))),
            )
        ),
        [RESET],
    ),
    "8.3 a pseudo-field twice": (bad_field((":path", "/again")), [RESET]),
    "8.3.1 no method": (bad_field(without=(":method",)), [RESET]),
    "8.3.1 no scheme": (bad_field(without=(":scheme",)), [RESET]),
    "8.3.1 no path": (bad_field(without=(":path",)), [RESET]),
    "8.3.1 an empty path": (bad_field(path=""), [RESET]),
    "8.3.1 a path with a space": (bad_field(path="/a b"), [RESET]),
    "8.3.1 a path with a line break": (bad_field(path="/a\r\nb"), [RESET]),
    "8.3.1 an absolute path": (bad_field(path="http://other/"), [RESET, "status 400"]),
    "8.3.1 another host": (bad_field(("host", "other")), ["status 400"]),
    "8.3.1 the same host": (bad_field(("host", "t")), ["status 200"]),
    "8.3.1 a host alone": (bad_field(("host", "t"), without=(":authority",)), ["status 200"]),
    "8.3.1 no host": (bad_field(without=(":authority",)), ["status 400"]),
    "8.5 CONNECT": (
        lambda: sent(
            frame(HEADERS, END_HEADERS, 1, block(((":method", "CONNECT"), (":authority", "t:1")))),
        ),
        ["status 405"],
    ),
    "8.5 a tunnel for a WebSocket (RFC 8441)": (
        bad_field((":protocol", "websocket"), method="CONNECT"),
        [RESET, "status 405"],
    ),
    "10.5 a head of 14 KB": (bad_field(*[(f"x-{index}", "y" * 1000) for index in range(14)]), ["status 200"]),
    "10.5 a head that is too large": (
        lambda: sent(
            frame(HEADERS, END_STREAM, 1, request()),
            *[frame(CONTINUATION, 0, 1, block([(f"x-{index}", "y" * 16000)])) for index in range(10)],
            frame(CONTINUATION, END_HEADERS, 1),
        ),
        ["status 431", CALM, "reset PROTOCOL_ERROR"],
    ),
    "10.5 a head without an end": (
        lambda: sent(frame(HEADERS, END_STREAM, 1, request()), *[frame(CONTINUATION, 0, 1)] * 100_000),
        [CALM, PROTOCOL],
    ),
    "10.5 a head that drips": (dripping_head, [CALM]),
    "10.5 a flood of PING": (lambda: flood(frame(PING, 0, 0, bytes(8)) * 100, 1000), [CALM]),
    "10.5 a flood of SETTINGS": (lambda: flood(frame(SETTINGS) * 100, 1000), [CALM]),
    "10.5 a flood of PRIORITY": (
        lambda: flood(frame(PRIORITY, 0, 1, struct.pack(">LB", 3, 1)) * 100, 1000),
        [CALM],
    ),
    "10.5 a flood of unknown frames": (lambda: flood(frame(0x20) * 100, 1000), [CALM]),
    "10.5 a flood of empty DATA": (
        lambda: sent(
            frame(HEADERS, END_HEADERS, 1, request(method="POST", path="/hang")), *[frame(DATA, 0, 1)] * 100_000
        ),
        [CALM],
    ),
    "10.5 streams that are reset at once": (rapid_reset, [CALM]),
    "10.5 malformed requests": (malformed_requests, [CALM]),
}


def main():
    wrong = 0
    for name in sys.argv[2:] or CASES:
        ask, expected = CASES[name]
        try:
            got = ask()
        except TimeoutError:
            got = "nothing"
        if got not in expected:
            wrong += 1
            print(f"{name}: {got} instead of {' or '.join(expected)}")
    print(f"{len(sys.argv[2:] or CASES)} cases, {wrong} wrong")
    sys.exit(wrong > 0)


main()

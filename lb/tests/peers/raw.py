"""Frames of HTTP/2, written and read by hand."""

import socket
import struct
import sys

import hpack

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS, PADDED, ACK = 1, 4, 8, 1
ERRORS = (
    "NO_ERROR PROTOCOL_ERROR INTERNAL_ERROR FLOW_CONTROL_ERROR SETTINGS_TIMEOUT STREAM_CLOSED FRAME_SIZE_ERROR "
    "REFUSED_STREAM CANCEL COMPRESSION_ERROR CONNECT_ERROR ENHANCE_YOUR_CALM INADEQUATE_SECURITY HTTP_1_1_REQUIRED"
).split()
HOST, PORT = sys.argv[1].rsplit(":", 1)


def frame(kind, flags=0, stream=0, payload=b"", length=None):
    length = len(payload) if length is None else length
    return struct.pack(">HBBBL", length >> 8, length & 0xFF, kind, flags, stream) + payload


def block(fields):
    """Without the dynamic table, so that blocks do not depend on each other."""
    return hpack.Encoder().encode([hpack.NeverIndexedHeaderTuple(*field) for field in fields])


def request(*more, method="GET", path="/", without=()):
    fields = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "t")]
    return block([field for field in fields if field[0] not in without] + list(more))


def get(stream=1, flags=END_STREAM | END_HEADERS, **more):
    return frame(HEADERS, flags, stream, request(**more))


class Connection:
    def __init__(self, preface=PREFACE + frame(SETTINGS)):
        self.socket = socket.create_connection((HOST, int(PORT)), timeout=20)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.decoder = hpack.Decoder()
        self.send(preface)

    def send(self, *parts):
        try:
            self.socket.sendall(b"".join(parts))
        except OSError:
            pass  # what was said before is still to be read

    def exactly(self, count):
        while len(self.buffer) < count:
            part = self.socket.recv(65536)
            if not part:
                raise EOFError
            self.buffer += part
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    def frames(self):
        """Each frame until the end of the connection; settings are acknowledged."""
        while True:
            try:
                high, low, kind, flags, stream = struct.unpack(">HBBBL", self.exactly(9))
                payload = self.exactly(high << 8 | low)
            except (EOFError, ConnectionError):
                return
            if kind == SETTINGS and not flags & ACK:
                self.send(frame(SETTINGS, ACK))
            yield kind, flags, stream & 0x7FFFFFFF, payload

    def outcome(self):
        """The first thing that decides: a status, a reset, or the end of the connection."""
        for kind, flags, stream, payload in self.frames():
            if kind == HEADERS:
                fields = dict(self.decoder.decode(payload))
                return "status " + fields[":status"]
            if kind == RST_STREAM:
                return "reset " + ERRORS[struct.unpack(">L", payload)[0]]
            if kind == GOAWAY:
                return "goaway " + ERRORS[struct.unpack(">L", payload[4:8])[0]]
        return "closed"

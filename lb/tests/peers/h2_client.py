"""A client of HTTP/2 by hyper's `h2`, which checks every frame it gets.

usage: h2_client.py ADDRESS:PORT CASE
Ends with 0 when CASE is as it should be.
"""

import socket
import sys
import time

import h2.config
import h2.connection
import h2.events
import h2.settings

HOST, PORT = sys.argv[1].rsplit(":", 1)


class Client:
    def __init__(self, window=None):
        self.socket = socket.create_connection((HOST, int(PORT)), timeout=30)
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        if window is not None:
            first = {h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window}
            self.h2.local_settings = h2.settings.Settings(client=True, initial_values=first)
        self.h2.initiate_connection()
        self.flush()

    def flush(self):
        data = self.h2.data_to_send()
        if data:
            self.socket.sendall(data)

    def ask(self, path, method="GET", more=(), end=True):
        stream = self.h2.get_next_available_stream_id()
        fields = [(":method", method), (":scheme", "http"), (":authority", "t"), (":path", path), *more]
        self.h2.send_headers(stream, fields, end_stream=end)
        self.flush()
        return stream

    def events(self):
        while True:
            data = self.socket.recv(65536)
            if not data:
                return
            yield from self.h2.receive_data(data)
            self.flush()

    def answer(self, stream, acknowledge=True):
        """Status and body, or the reason of a reset."""
        status, body = None, b""
        for event in self.events():
            if getattr(event, "stream_id", None) != stream:
                continue
            if isinstance(event, h2.events.ResponseReceived):
                status = int(dict(event.headers)[":status"])
            elif isinstance(event, h2.events.DataReceived):
                body += event.data
                if acknowledge and event.flow_controlled_length:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, stream)
                    self.flush()
            elif isinstance(event, h2.events.StreamReset):
                return event.error_code, body
            elif isinstance(event, h2.events.StreamEnded):
                return status, body
        raise AssertionError("the connection ended")


def window():
    """The answer comes in as small parts as are allowed, and never more (`h2` would say so)."""
    client = Client(window=10)
    stream = client.ask("/long")
    assert client.answer(stream) == (200, b"x" * 1000)


def reset():
    client = Client()
    stream = client.ask("/hang")
    # The balancer has it when it has answered the next one.
    assert client.answer(client.ask("/")) == (200, b"hello")
    print("begun", flush=True)
    sys.stdin.readline()
    client.h2.reset_stream(stream, 8)
    client.flush()
    assert client.answer(client.ask("/")) == (200, b"hello")
    print("reset", flush=True)
    sys.stdin.read()


def broken():
    client = Client()
    code, body = client.answer(client.ask("/broken"))
    assert code == 2, (code, body)  # INTERNAL_ERROR
    assert client.answer(client.ask("/")) == (200, b"hello")


def upload():
    """A body that comes bit by bit is passed on bit by bit, also when it says no length."""
    for more in ((), (("content-length", "50"),)):
        client = Client()
        stream = client.ask("/", "POST", more, end=False)
        for index in range(5):
            time.sleep(0.15)
            client.h2.send_data(stream, b"0123456789", end_stream=index == 4)
            client.flush()
        assert client.answer(stream) == (200, b"hello")


globals()[sys.argv[2]]()

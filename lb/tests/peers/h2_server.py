"""An upstream of HTTP/2 by hyper's `h2`, which checks every frame it gets and answers as it is told.

usage: h2_server.py ADDRESS:PORT MODE
MODE: ok | refuse (REFUSED_STREAM) | goaway (before the request) | reset (INTERNAL_ERROR) | part (breaks off midway)
Prints "ready", and a line for each request that is none of the balancer's own. Ends when its input does.
"""

import socket
import struct
import sys
import threading

import h2.config
import h2.connection
import h2.errors
import h2.events

MODE = sys.argv[2]


def answer(h2c, stream, fields, length):
    if MODE == "refuse":
        h2c.reset_stream(stream, h2.errors.ErrorCodes.REFUSED_STREAM)
        return
    if MODE == "reset":
        h2c.reset_stream(stream, h2.errors.ErrorCodes.INTERNAL_ERROR)
        return
    body = f"{fields[':method']} {fields[':path']} {fields[':authority']} {length}".encode()
    h2c.send_headers(stream, [(":status", "200"), ("content-type", "text/plain"), ("x-te", fields.get("te", ""))])
    h2c.send_data(stream, body)
    if MODE == "part":
        h2c.reset_stream(stream, h2.errors.ErrorCodes.INTERNAL_ERROR)
    else:
        h2c.send_headers(stream, [("x-checksum", "7")], end_stream=True)


def note(fields, what):
    if not fields[":path"].startswith("/grpc.health"):
        print(what, flush=True)


def serve(connection):
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    h2c = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
    h2c.initiate_connection()
    connection.sendall(h2c.data_to_send())
    asked, lengths = {}, {}
    while data := connection.recv(65536):
        for event in h2c.receive_data(data):
            if isinstance(event, h2.events.RequestReceived):
                asked[event.stream_id] = dict(event.headers)
                if MODE == "goaway":
                    note(asked[event.stream_id], "goaway")
                    # As a server that ends: the last stream it looked at is none. `h2` would name the newest.
                    connection.sendall(b"\0\0\x08\x07\0\0\0\0\0" + struct.pack(">LL", 0, 0))
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(65536):
                        pass
                    return
            elif isinstance(event, h2.events.DataReceived):
                lengths[event.stream_id] = lengths.get(event.stream_id, 0) + len(event.data)
                h2c.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                fields = asked.pop(event.stream_id)
                note(fields, fields[":method"])
                answer(h2c, event.stream_id, fields, lengths.pop(event.stream_id, 0))
        connection.sendall(h2c.data_to_send())


def accept(listener):
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=guarded, args=(connection,), daemon=True).start()


def guarded(connection):
    with connection:
        try:
            serve(connection)
        except OSError:
            pass


address, port = sys.argv[1].rsplit(":", 1)
listener = socket.create_server((address, int(port)), backlog=100)
threading.Thread(target=accept, args=(listener,), daemon=True).start()
print("ready", flush=True)
sys.stdin.read()

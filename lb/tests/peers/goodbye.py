"""How a connection of HTTP/2 is ended in order (RFC 9113, section 6.8): it is announced, what was asked is answered, and
the last stream that was looked at is named.

usage: goodbye.py ADDRESS:PORT stop | idle
Prints "begun" when its request is sent; ends with 0 when all is as it should be.
"""

import struct
import sys

from raw import ACK, GOAWAY, HEADERS, PING, RST_STREAM, Connection, frame, get


def main(case):
    connection = Connection()
    connection.send(get(1, path="/slow" if case == "stop" else "/"))
    print("begun", flush=True)
    goaways, status, late = [], None, False
    for kind, flags, stream, payload in connection.frames():
        if kind == GOAWAY:
            goaways.append(struct.unpack(">LL", payload[:8]))
            if len(goaways) == 1 and case == "stop":
                # It may not have heard of it yet: its request is answered too.
                late = True
                connection.send(get(3))
        elif kind == PING and not flags & ACK:
            connection.send(frame(PING, ACK, 0, payload))
        elif kind == HEADERS:
            # Each block is needed for those after it.
            fields = dict(connection.decoder.decode(payload))
            status = fields[":status"] if stream == 1 else status
            late = late and stream != 3
        assert kind != RST_STREAM, stream
    assert status == "200" and not late, (status, late)
    last = 3 if case == "stop" else 1
    assert goaways == [(0x7FFFFFFF, 0), (last, 0)], goaways


main(sys.argv[2])

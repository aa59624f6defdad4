"""What a client of gRPC expects of a server, asked through the balancer with grpcio.

usage: grpc_client.py ADDRESS:PORT CASE
Ends with 0 when CASE is as it should be.
"""

import sys
import threading
import time
from concurrent import futures

import grpc

OPTIONS = (("grpc.enable_retries", 0), ("grpc.max_receive_message_length", 64 << 20))


class Stub:
    def __init__(self, channel):
        self.unary = channel.unary_unary("/test.Test/Unary")
        self.hang = channel.unary_unary("/test.Test/Hang")
        self.download = channel.unary_stream("/test.Test/Download")
        self.endless = channel.unary_stream("/test.Test/Endless")
        self.upload = channel.stream_unary("/test.Test/Upload")
        self.talk = channel.stream_stream("/test.Test/Talk")
        self.missing = channel.unary_unary("/test.Test/Missing")


def fails(code, call):
    try:
        call()
    except grpc.RpcError as error:
        assert error.code() == code, f"{error.code()} {error.details()}"
        return error
    raise AssertionError(f"no {code}")


def unary(stub):
    answer, call = stub.unary.with_call(b"hello", timeout=20)
    assert answer == b"hello"
    assert dict(call.initial_metadata())["x-initial"] == "1", call.initial_metadata()
    trailing = dict(call.trailing_metadata())
    assert trailing["x-trailing"] == "2" and trailing["x-peer-bin"] == b"\x00\x01", trailing
    big = b"x" * (3 << 20)
    assert stub.unary(big, timeout=30) == big
    metadata = stub.unary(b"metadata", timeout=20, metadata=(("x-mine", "a"), ("x-mine-bin", b"\xff")))
    for expected in (b"key='x-mine', value='a'", b"value=b'\\xff'", b"key='x-forwarded-for'"):
        assert expected in metadata, metadata


def many(stub):
    with futures.ThreadPoolExecutor(32) as pool:
        answers = pool.map(lambda index: stub.unary(b"%d" % index, timeout=60), range(1000))
        assert list(answers) == [b"%d" % index for index in range(1000)]


def streams(stub):
    assert list(stub.download(b"500", timeout=30)) == [b"%d" % index for index in range(500)]
    assert list(stub.download(b"0", timeout=30)) == []
    assert stub.upload((b"y" * 10_000 for _ in range(200)), timeout=30) == b"2000000"
    assert stub.upload(iter(()), timeout=30) == b"0"


def talk(stub):
    """Each word is an answer to the one before: nothing may wait for the end of the stream."""
    words = [f"word {index}".encode() for index in range(50)]
    turn = threading.Semaphore(1)

    def speak():
        for word in words:
            turn.acquire()
            yield word

    heard = []
    for answer in stub.talk(speak(), timeout=30):
        heard.append(answer)
        turn.release()
    assert heard == [b"you said " + word for word in words], heard


def errors(stub):
    error = fails(grpc.StatusCode.FAILED_PRECONDITION, lambda: stub.unary(b"fail", timeout=20))
    assert error.details() == "as asked: 100 % \u00fc", error.details()
    assert dict(error.trailing_metadata())["x-trailing"] == "2"
    fails(grpc.StatusCode.UNIMPLEMENTED, lambda: stub.missing(b"", timeout=20))


def deadline(stub):
    began = time.monotonic()
    fails(grpc.StatusCode.DEADLINE_EXCEEDED, lambda: stub.hang(b"", timeout=1))
    assert time.monotonic() - began < 15


def cancel(stub):
    call = stub.endless(b"1000", timeout=60)
    for _ in range(3):
        next(call)
    call.cancel()
    fails(grpc.StatusCode.CANCELLED, lambda: list(call))


def unavailable(stub):
    error = fails(grpc.StatusCode.UNAVAILABLE, lambda: stub.unary(b"", timeout=30))
    assert "upstream" in error.details(), error.details()


def unrouted(stub):
    error = fails(grpc.StatusCode.UNIMPLEMENTED, lambda: stub.unary(b"", timeout=30))
    assert "no route" in error.details(), error.details()


def late(stub):
    """The balancer's own time is up."""
    error = fails(grpc.StatusCode.DEADLINE_EXCEEDED, lambda: stub.hang(b"", timeout=50))
    assert "no upstream answered in time" in error.details(), error.details()


def survive(stub):
    """Calls until the input ends, of which some may fail: says how many did, and whether those after them did not."""
    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    failed, row = 0, 0
    print("begun", flush=True)
    while not over.is_set() or row < 20:
        try:
            assert stub.unary(b"again", timeout=20) == b"again"
            row += 1
        except grpc.RpcError as error:
            assert error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED), error
            failed, row = failed + 1, 0
    print(failed, flush=True)


def steady(stub):
    """Calls until the input ends, none of which may fail; says how many there were."""
    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    count = 0
    print("begun", flush=True)
    while not over.is_set():
        assert stub.unary(b"again", timeout=20) == b"again"
        count += 1
    print(count, flush=True)


with grpc.insecure_channel(sys.argv[1], OPTIONS) as channel:
    globals()[sys.argv[2]](Stub(channel))

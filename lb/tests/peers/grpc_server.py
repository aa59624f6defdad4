"""A gRPC server of raw bytes, by grpcio: unary and all kinds of streams, and a record of what became of each call.

usage: grpc_server.py ADDRESS:PORT
Prints "ready" and then one line for each call that was cancelled. Ends when its input does.
"""

import sys
import threading
import time
from concurrent import futures

import grpc


def note(what):
    print(what, flush=True)


def unary(request, context):
    context.send_initial_metadata((("x-initial", "1"),))
    context.set_trailing_metadata((("x-trailing", "2"), ("x-peer-bin", b"\x00\x01")))
    if request == b"fail":
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "as asked: 100 % \u00fc")
    if request.startswith(b"metadata"):
        return repr(sorted(context.invocation_metadata())).encode()
    return request


def hang(request, context):
    over = threading.Event()
    context.add_callback(over.set)
    note("hanging")
    over.wait(60)
    note("cancelled" if over.is_set() and not context.is_active() else "waited in vain")
    return b""


def download(request, context):
    for index in range(int(request)):
        yield b"%d" % index


def upload(requests, context):
    return b"%d" % sum(len(request) for request in requests)


def talk(requests, context):
    for request in requests:
        yield b"you said " + request


def endless(request, context):
    context.add_callback(lambda: note("cancelled"))
    while context.is_active():
        yield b"x" * int(request)
        time.sleep(0.01)


def main():
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Hang": grpc.unary_unary_rpc_method_handler(hang),
        "Download": grpc.unary_stream_rpc_method_handler(download),
        "Endless": grpc.unary_stream_rpc_method_handler(endless),
        "Upload": grpc.stream_unary_rpc_method_handler(upload),
        "Talk": grpc.stream_stream_rpc_method_handler(talk),
    }
    server = grpc.server(futures.ThreadPoolExecutor(64), options=(("grpc.so_reuseport", 0),))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Test", handlers),))
    if server.add_insecure_port(sys.argv[1]) == 0:
        sys.exit("no port")
    server.start()
    note("ready")
    sys.stdin.read()
    server.stop(0).wait()


main()

#!/usr/bin/env python3
"""Asks the server at ADDRESS (argument 1) for PATH (argument 2) in each coding, and takes it apart with the decoders
of Python's own library and of PyPI. All have to be the same as the answer that was not compressed, and shorter."""

import gzip
import http.client
import sys

import brotli
import zstandard

DECODERS = {
    "gzip": gzip.decompress,
    "br": brotli.decompress,
    "zstd": lambda body: zstandard.ZstdDecompressor().decompressobj().decompress(body),
}


def get(address, path, coding):
    connection = http.client.HTTPConnection(address, timeout=30)
    # http.client asks for identity of its own accord unless it is told otherwise.
    connection.request("GET", path, headers={"Accept-Encoding": coding})
    answer = connection.getresponse()
    body = answer.read()
    assert answer.status == 200, answer.status
    return answer.getheader("Content-Encoding"), body


def main():
    address, path = sys.argv[1:3]
    said, plain = get(address, path, "identity")
    assert said is None, said
    for coding, decode in DECODERS.items():
        said, body = get(address, path, coding)
        assert said == coding, (coding, said)
        assert len(body) < len(plain), (coding, len(body), len(plain))
        assert decode(body) == plain, coding


main()

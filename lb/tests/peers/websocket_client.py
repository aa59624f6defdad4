"""What a client of WebSockets expects, asked through the balancer with the `websockets` package.

usage: websocket_client.py ADDRESS:PORT CASE
Ends with 0 when CASE is as it should be.
"""

import asyncio
import os
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, ConnectionClosedError

URL = "ws://" + sys.argv[1]


def to(path, **options):
    return connect(URL + path, max_size=64 << 20, open_timeout=30, proxy=None, **options)


async def race():
    """Servers that speak at once, 600 times, 20 at a time: nothing is lost and no tunnel is torn down."""
    turns = asyncio.Semaphore(20)

    async def one(index):
        async with turns, to("/greet") as connection:
            assert await connection.recv() == "welcome"
            for _ in range(3):
                await connection.send(f"message {index}")
                assert await connection.recv() == f"message {index}"
        assert connection.close_code == 1000, connection.close_code

    await asyncio.gather(*(one(index) for index in range(600)))


async def messages():
    for options in ({}, {"compression": None}):
        async with to("/echo", **options) as connection:
            for size in (0, 1, 125, 126, 65535, 65536, 8 << 20):
                message = os.urandom(size)
                await connection.send(message)
                assert await connection.recv() == message, size
            # In 1000 frames.
            await connection.send([f"part {index} " for index in range(1000)])
            assert await connection.recv() == "".join(f"part {index} " for index in range(1000))
            await asyncio.wait_for(await connection.ping(), 20)
            # Both ways at once, more than buffers hold.
            big = os.urandom(1 << 20)

            async def hear():
                for _ in range(20):
                    assert await connection.recv() == big

            hearing = asyncio.create_task(hear())
            for _ in range(20):
                await connection.send(big)
            await hearing


async def closes():
    async with to("/bye") as connection:
        await connection.send("go")
        try:
            await connection.recv()
            raise AssertionError("it goes on")
        except ConnectionClosed as closed:
            assert (closed.rcvd.code, closed.rcvd.reason) == (4001, "as asked"), closed
    connection = await to("/note")
    await connection.close(4002, "mine")
    assert connection.close_code == 4002, connection.close_code


async def hold():
    """Says "begun", and how the connection ends."""
    async with to("/echo") as connection:
        await connection.send("x")
        await connection.recv()
        print("begun", flush=True)
        try:
            await connection.recv()
        except ConnectionClosedError:
            pass
        print(connection.close_code, flush=True)


asyncio.run(globals()[sys.argv[2]]())

"""A WebSocket server, by the `websockets` package.

usage: websocket_server.py ADDRESS:PORT
/echo says everything again; /greet speaks first, at once; /bye closes with 4001 after the first message.
Prints "ready", and how each connection to /note ended. Ends when its input does.
"""

import asyncio
import sys

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed


async def talk(connection):
    path = connection.request.path
    if path == "/greet":
        await connection.send("welcome")
    try:
        async for message in connection:
            if path == "/bye":
                await connection.close(4001, "as asked")
                return
            await connection.send(message)
    except ConnectionClosed:
        pass
    if path == "/note":
        print(connection.close_code, flush=True)


async def main():
    address, port = sys.argv[1].rsplit(":", 1)
    async with serve(talk, address, int(port), max_size=64 << 20, backlog=1000):
        print("ready", flush=True)
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, sys.stdin.read)


asyncio.run(main())

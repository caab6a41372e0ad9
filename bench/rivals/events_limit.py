"""The limit of single events: httptools decodes, one thread commits, nothing stands between."""

import asyncio
import queue
import sqlite3
import sys
import threading

import httptools
import msgspec
import uvloop
from log import INSERT, PRAGMAS, create, row

BODY = b'{"id":"0000000000000000000"}'
ANSWER = (
    b"HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
    % (
        len(BODY),
        BODY,
    )
)
decode, encode = msgspec.json.decode, msgspec.json.encode
waiting: list[tuple[asyncio.Transport, tuple[object, ...]]] = []
handed: "queue.SimpleQueue[list[tuple[asyncio.Transport, tuple[object, ...]]]]" = (
    queue.SimpleQueue()
)
busy = False


class Take(asyncio.Protocol):
    """Decodes each body and lays it where the next commit takes it."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Take the connection."""
        self.transport = transport
        self.parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        """Take bytes."""
        self.parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        """Keep it; the parser calls this."""
        self.body = body

    def on_message_complete(self) -> None:
        """Decode and wait for the commit; the parser calls this."""
        event = decode(self.body)
        waiting.append((self.transport, row(event, encode(event["data"]).decode())))
        hand_over()


def hand_over() -> None:
    """Give the thread what waits, unless it commits."""
    global busy, waiting
    if waiting and not busy:
        busy = True
        handed.put(waiting)
        waiting = []


def answer(batch: list[tuple[asyncio.Transport, tuple[object, ...]]]) -> None:
    """Answer all of a commit and begin the next one."""
    global busy
    busy = False
    for transport, _ in batch:
        transport.write(ANSWER)
    hand_over()


def commit(path: str, loop: asyncio.AbstractEventLoop) -> None:
    """What the thread does."""
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in PRAGMAS:
        connection.execute(pragma)
    while True:
        batch = handed.get()
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(INSERT, [values for _, values in batch])
        connection.execute("COMMIT")
        loop.call_soon_threadsafe(answer, batch)


async def main(path: str, port: int) -> None:
    create(path, bare=True)
    sys.setswitchinterval(0.0005)
    loop = asyncio.get_running_loop()
    threading.Thread(target=commit, args=(path, loop), daemon=True).start()
    server = await loop.create_server(Take, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2])))

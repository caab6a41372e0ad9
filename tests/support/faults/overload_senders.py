"""Senders that overload a server and count its responses."""

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

WRITE_BYTES = 65_536
MAX_EXTRA_SECONDS = 60.0


@dataclass
class OverloadTally:
    """Counts of what was sent and of the responses."""

    sent_bytes: int = 0  # of bodies
    accepted_bytes: int = 0  # of bodies with response 202
    statuses: Counter[str] = field(default_factory=Counter)
    items: Counter[str] = field(default_factory=Counter)

    def record_response(self, status: int, headers: dict[str, str], body: bytes, size: int) -> None:
        """Count a response; a 503 without `Retry-After` gets a name of its own."""
        self.sent_bytes += size
        document = json.loads(body)
        name = str(status)
        if status == 503 and "retry-after" not in headers:
            name = "503 without Retry-After"
        self.statuses[name] += 1
        if "results" in document:
            self.items.update(each["status"] for each in document["results"])
        else:
            self.items["accepted" if status == 202 else "refused"] += 1
        if status == 202:
            self.accepted_bytes += size


def padded_event(number: int, pad: int) -> bytes:
    event = {
        "session_id": f"session {number % 1000}",
        "category": "overload",
        "name": "push",
        "data": {"pad": "x" * pad},
        "timestamp": "2021-01-01 09:15:27.243860",
        "sender_id": f"sender {number}",
    }
    return json.dumps(event).encode()


def body_factory(pad: int, lines: int, numbers: Iterator[int]) -> Callable[[], bytes]:
    """Return a function that makes bodies of `lines` events, all with different numbers."""
    return lambda: b"\n".join(padded_event(next(numbers), pad) for _ in range(lines))


class SenderGroup(NamedTuple):
    """Connections that send body after body."""

    connections: int
    pad: int  # bytes of an event's data
    lines: int = 1  # events of a body
    pause: float = 0.0  # seconds before the last byte of a body


async def send_until_stopped(
    port: int,
    token: str,
    senders: SenderGroup,
    numbers: Iterator[int],
    is_running: Callable[[], bool],
    tally: OverloadTally,
) -> None:
    """Send body after body on one connection, while `is_running`."""
    make_body = body_factory(senders.pad, senders.lines, numbers)
    content_type = "application/json" if senders.lines == 1 else "application/x-ndjson"
    reader = writer = None
    while is_running():
        if writer is None or writer.is_closing():
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        body = make_body()
        writer.write(
            f"POST /events HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n"
            f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        )
        for start in range(0, len(body) - 1, WRITE_BYTES):
            writer.write(body[:-1][start : start + WRITE_BYTES])
            await writer.drain()
        await asyncio.sleep(senders.pause)
        writer.write(body[-1:])
        assert reader is not None
        status, headers, content = await read_response(reader)
        tally.record_response(status, headers, content, len(body))
        if headers.get("connection") == "close":
            writer.close()
    if writer is not None:
        writer.close()


async def read_response(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body of the next response."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])
    }
    if "content-length" in headers:
        return (
            int(head[0].split()[1]),
            headers,
            await reader.readexactly(int(headers["content-length"])),
        )
    body = b""
    while size := int(await reader.readline(), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readline()
    return int(head[0].split()[1]), headers, body


async def run_overload(
    port: int,
    token: str,
    seconds: float,
    groups: Sequence[SenderGroup],
    first_number: int = 0,
    is_enough: Callable[[OverloadTally], bool] = lambda _: True,
) -> OverloadTally:
    """Send for `seconds`, and then until `is_enough`, for at most MAX_EXTRA_SECONDS.

    Events are numbered from `first_number`.
    """
    tally, numbers = OverloadTally(), itertools.count(first_number)
    now = asyncio.get_running_loop().time
    end = now() + seconds
    last = end + MAX_EXTRA_SECONDS

    def is_running() -> bool:
        return now() < end or (now() < last and not is_enough(tally))

    tasks = [
        send_until_stopped(port, token, senders, numbers, is_running, tally)
        for senders in groups
        for _ in range(senders.connections)
    ]
    await asyncio.gather(*tasks)
    return tally

"""Senders that push far more than is taken, and reckon up what they were told."""

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

WRITE_BYTES = 65_536
MAX_EXTRA_SECONDS = 60.0  # seconds for which it is pushed beyond the time that was asked for


@dataclass
class OverloadTally:
    """What senders sent, and what became of it by the answers."""

    sent_bytes: int = 0  # bytes of bodies,
    accepted_bytes: int = 0  # and of those that were answered 202
    statuses: Counter[str] = field(default_factory=Counter)
    items: Counter[str] = field(default_factory=Counter)

    def record_response(self, status: int, headers: dict[str, str], body: bytes, size: int) -> None:
        """Reckon one answer in; anything but 202, or 503 with `Retry-After`, stands out."""
        self.sent_bytes += size
        answer = json.loads(body)
        name = str(status)
        if status == 503 and "retry-after" not in headers:
            name = "503 without Retry-After"
        self.statuses[name] += 1
        if "results" in answer:
            self.items.update(each["status"] for each in answer["results"])
        else:
            self.items["accepted" if status == 202 else "refused"] += 1
        if status == 202:
            self.accepted_bytes += size


def padded_event(number: int, pad: int) -> bytes:
    made = {
        "session_id": f"session {number % 1000}",
        "category": "overload",
        "name": "push",
        "data": {"pad": "x" * pad},
        "timestamp": "2021-01-01 09:15:27.243860",
        "sender_id": f"sender {number}",
    }
    return json.dumps(made).encode()


def body_factory(pad: int, lines: int, numbers: Iterator[int]) -> Callable[[], bytes]:
    """Makes bodies of so many lines (1: a single event), none like another."""
    return lambda: b"\n".join(padded_event(next(numbers), pad) for _ in range(lines))


class SenderGroup(NamedTuple):
    """So many connections, on each of which body after body is sent."""

    connections: int
    pad: int  # bytes of an event's data
    lines: int = 1  # of a body; 1 is a single event
    pause: float = 0.0  # seconds before the last byte of a body


async def send_until_stopped(
    port: int,
    token: str,
    senders: SenderGroup,
    numbers: Iterator[int],
    going: Callable[[], bool],
    tally: OverloadTally,
) -> None:
    """Send body after body on one connection, as long as `going` holds."""
    make = body_factory(senders.pad, senders.lines, numbers)
    kind = "application/json" if senders.lines == 1 else "application/x-ndjson"
    reader = writer = None
    while going():
        if writer is None or writer.is_closing():
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        body = make()
        writer.write(
            f"POST /events HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n"
            f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        )
        for start in range(0, len(body) - 1, WRITE_BYTES):
            writer.write(body[:-1][start : start + WRITE_BYTES])
            await writer.drain()
        await asyncio.sleep(senders.pause)
        writer.write(body[-1:])
        assert reader is not None
        status, headers, said = await read_response(reader)
        tally.record_response(status, headers, said, len(body))
        if headers.get("connection") == "close":
            writer.close()
    if writer is not None:
        writer.close()


async def read_response(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the next answer."""
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
    kinds: Sequence[SenderGroup],
    first: int = 0,
    enough: Callable[[OverloadTally], bool] = lambda _: True,
) -> OverloadTally:
    """Have senders push for so long, and on until it is `enough`, but not for ever.

    Events are numbered from `first` on.
    """
    tally, numbers = OverloadTally(), itertools.count(first)
    now = asyncio.get_running_loop().time
    end = now() + seconds
    last = end + MAX_EXTRA_SECONDS

    def going() -> bool:
        return now() < end or (now() < last and not enough(tally))

    pushing = [
        send_until_stopped(port, token, senders, numbers, going, tally)
        for senders in kinds
        for _ in range(senders.connections)
    ]
    await asyncio.gather(*pushing)
    return tally

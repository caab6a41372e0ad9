"""Events at a fixed rate, whatever the server does: how long each answer took from when it was due.

wrk waits for an answer before it asks again, so a server that stalls is asked less just then, and
its p99 says little. Here each request has its moment; one that cannot be sent then, as all
connections wait, is as late as it is. A program of its own, for the load's core.
"""

import argparse
import asyncio
import json
import random
import time
from collections import deque
from collections.abc import Iterator

import uvloop

TICK = 0.001
KINDS = (
    '"page interaction","name":"pageview","data":{"host":"www.example.com","path":"/p/%d"}',
    '"page interaction","name":"cta click","data":{"host":"www.example.com","path":"/p/%d",'
    '"element":"chat bubble"}',
    '"form interaction","name":"submit","data":{"host":"www.example.com","path":"/p/%d",'
    '"form":{"first_name":"John","last_name":"Doe"}}',
)


def events(sender: str) -> Iterator[str]:
    """Events as those of events.lua: 20,000 sessions, three types, no two alike."""
    chance = random.Random(1)
    sessions = [
        f"{chance.getrandbits(32):08x}-{number:04x}-4000-8000-{number:012x}"
        for number in range(20_000)
    ]
    count = 0
    while True:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime())
        stamp = int(time.time() * 1000)
        for _ in range(200):
            count += 1
            named = ""
            if sender == "v7":
                named = f"{stamp >> 16:08x}-{stamp & 65535:04x}-7000-8000-{count:012x}"
            elif sender == "random":
                named = f"{chance.getrandbits(32):08x}-0000-4000-8000-{count:012x}"
            yield (
                f'{{"session_id":"{sessions[int(chance.random() * 20_000)]}",'
                + (f'"sender_id":"{named}",' if named else "")
                + f'"category":{KINDS[count % 3] % (count % 977)},'
                f'"timestamp":"{moment}{count % 1_000_000:06d}Z"}}'
            )


class Link(asyncio.Protocol):
    """One connection, on which one request at a time is answered."""

    def __init__(self, load: "Load") -> None:
        self.load = load
        self.held = b""
        self.due = 0.0
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Be ready."""
        self.transport = transport
        self.load.idle.append(self)

    def send(self, due: float) -> None:
        """Send a request that was due then."""
        self.due = due
        self.transport.write(self.load.request())

    def data_received(self, data: bytes) -> None:
        """Take an answer, and send what waits."""
        held = self.held + data if self.held else data
        head = held.find(b"\r\n\r\n") + 4
        at = held.find(b"Content-Length: ") + 16
        if head < 4 or len(held) < head + int(held[at : held.find(13, at)]):
            self.held = held
            return
        self.held = b""
        load = self.load
        if held[9:12] == b"202":
            load.took.append(time.perf_counter() - self.due)
        else:
            load.errors += 1
        if load.waiting:
            self.send(load.waiting.popleft())
        else:
            load.idle.append(self)


class Load:
    """All connections, and what they found."""

    def __init__(self, token: str, size: int, sender: str) -> None:
        kind = "application/x-ndjson" if size > 1 else "application/json"
        self.head = (
            f"POST /events HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
            f"Content-Type: {kind}\r\nContent-Length: "
        )
        self.size = size
        self.events = events(sender)
        self.idle: deque[Link] = deque()
        self.waiting: deque[float] = deque()
        self.took: list[float] = []
        self.errors = 0  # answers that are no 202

    def request(self) -> bytes:
        """The next request."""
        body = "\n".join([next(self.events) for _ in range(self.size)])
        return f"{self.head}{len(body)}\r\n\r\n{body}".encode()

    async def run(self, rate: float, seconds: float) -> dict[str, float]:
        """Send `rate` requests a second; what came of it."""
        begun = time.perf_counter()
        sent, late = 0, 0.0
        while (now := time.perf_counter()) < begun + seconds:
            due = int((now - begun) * rate) + 1
            late = max(late, now - begun - sent / rate - TICK)
            while sent < due:
                moment = begun + sent / rate
                sent += 1
                if self.idle:
                    self.idle.popleft().send(moment)
                else:
                    self.waiting.append(moment)
            await asyncio.sleep(TICK)
        until = time.perf_counter() + 10
        while len(self.took) + self.errors < sent and time.perf_counter() < until:
            await asyncio.sleep(TICK)
        took = sorted(self.took)
        return {
            "sent": sent,
            "answered": len(took),
            "errors": sent - len(took),
            "late": late,  # of this program itself, at most, in seconds
            **{f"p{p:g}": took[min(len(took) - 1, int(len(took) * p / 100))] for p in (50, 99)},
            "max": took[-1],
        }


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("token")
    parser.add_argument("--rate", type=float, required=True, help="requests a second")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--connections", type=int, default=256)
    parser.add_argument("--size", type=int, default=1, help="events a request")
    parser.add_argument("--sender", default="none", choices=("none", "v7", "random"))
    given = parser.parse_args()
    load = Load(given.token, given.size, given.sender)
    loop = asyncio.get_running_loop()
    for _ in range(given.connections):
        await loop.create_connection(lambda: Link(load), "127.0.0.1", given.port)
    await load.run(given.rate, 1)  # warm
    load.took.clear()
    load.errors = 0
    print(json.dumps(await load.run(given.rate, given.seconds)))


if __name__ == "__main__":
    uvloop.run(main())

"""Requests at a fixed rate, whatever the server does: each has its moment, and is timed from it.

wrk waits for an answer before it asks again, so a server that stalls is asked less just then, and
its p99 says little. Here arrivals wait for no answer (load.c, built by gcc, on the load's core).
"""

import json
import random
import struct
import subprocess
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from contest import BENCH, BUILD, LOAD, Running

# A request may wait for so many seconds for a connection, until it goes away; here, for ever.
PATIENT = 1e6
KINDS = (
    '"page interaction","name":"pageview","data":{"host":"www.example.com","path":"/p/%d"}',
    '"page interaction","name":"cta click","data":{"host":"www.example.com","path":"/p/%d",'
    '"element":"chat bubble"}',
    '"form interaction","name":"submit","data":{"host":"www.example.com","path":"/p/%d",'
    '"form":{"first_name":"John","last_name":"Doe"}}',
)


@dataclass(frozen=True)
class Paced:
    """What came of requests at a fixed rate; times in seconds."""

    due: int  # requests that had their moment
    taken: int  # answers of 2xx and 3xx,
    refused: int  # 503,
    limited: int  # 429,
    other: int  # and any other status
    without_retry_after: int  # of 503 and 429
    unsent: int  # that found no connection free in time, as the server read from none
    broken: int  # whose connection ended before the answer
    no_answer: int  # seconds after the end
    rate: float  # taken a second, while it ran
    late: float  # of the load itself, at most
    taken_in: list[int]  # each second
    refused_in: list[int]
    p50: float  # of those that were taken, from their moment on
    p99: float
    p999: float
    max: float
    refused_p99: float


def paced(
    running: Running,
    requests: Path,
    rate: float,
    seconds: float,
    *,
    connections: int = 256,
    patience: float = PATIENT,
    depth: int = 1,
) -> Paced:
    """Send those of a file (`written`) at `rate` a second.

    A connection has up to `depth` requests under way.
    """
    words = [running.port, requests, rate, seconds, connections, patience, depth]
    command = ["taskset", "-c", LOAD, program(), *map(str, words)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return Paced(**json.loads(done.stdout))


def program() -> str:
    """The load's program, built if its source is newer."""
    source, made = BENCH / "load.c", BUILD / "load"
    if not made.exists() or made.stat().st_mtime < source.stat().st_mtime:
        BUILD.mkdir(parents=True, exist_ok=True)
        subprocess.run(["gcc", "-O2", "-o", made, source, "-lm"], check=True)
    return str(made)


def written(path: Path, requests: Iterable[bytes]) -> Path:
    """Write requests into a file, each behind its length; they are taken in turns."""
    with path.open("wb") as file:
        for each in requests:
            file.write(struct.pack("=I", len(each)) + each)
    return path


def event_requests(token: str, size: int, count: int) -> Iterator[bytes]:
    """`count` requests with `size` events each."""
    kind = "application/x-ndjson" if size > 1 else "application/json"
    head = (
        f"POST /events HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: {kind}\r\nContent-Length: "
    )
    some = events()
    for _ in range(count):
        body = "\n".join(islice(some, size))
        yield f"{head}{len(body)}\r\n\r\n{body}".encode()


def events() -> Iterator[str]:
    """Events as those of events.lua: 20,000 sessions, three types, no two alike."""
    chance = random.Random(1)
    sessions = [
        f"{chance.getrandbits(32):08x}-{number:04x}-4000-8000-{number:012x}"
        for number in range(20_000)
    ]
    count = 0
    while True:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime())
        for _ in range(200):
            count += 1
            yield (
                f'{{"session_id":"{sessions[int(chance.random() * 20_000)]}",'
                f'"category":{KINDS[count % 3] % (count % 977)},'
                f'"timestamp":"{moment}{count % 1_000_000:06d}Z"}}'
            )

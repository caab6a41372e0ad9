"""Peers that send slowly, do not read, or are too many: when they are cut, and what pages feel."""

import asyncio
import contextlib
import os
import socket
import statistics
import sys
import threading
import time
from collections.abc import Awaitable

from contest import LOAD, files, folder, wrk
from report import HEAD, Promise, options, report, row
from rivals.page import capture

SETTINGS = {"header_seconds": 3, "body_seconds": 5, "write_seconds": 4, "idle_seconds": 6}
SLACK = 2  # the server looks once a second; the rest is for a busy machine
COMING = 1.5  # seconds in which all peers come
SPARE = 64  # room under the cap for the load and for checks
DROP = b"x: y\r\n"
TCP_CLOSE = 7


async def slow_head(port: int, path: str) -> tuple[float, str]:
    """A peer whose head never ends."""
    return await trickle(port, f"GET {path} HTTP/1.1\r\nHost: a\r\n".encode(), DROP)


async def slow_body(port: int, path: str) -> tuple[float, str]:
    """A peer whose body never ends."""
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 10000\r\n\r\n"
    return await trickle(port, head.encode(), b"x")


async def trickle(port: int, head: bytes, drop: bytes) -> tuple[float, str]:
    """Send `head`, then `drop` once a second; (seconds until cut, the answer's status)."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head)
    begun = time.monotonic()
    answer = asyncio.ensure_future(reader.read())  # until the server closes
    with contextlib.suppress(OSError):
        while not answer.done():
            writer.write(drop)
            await asyncio.wait([answer], timeout=1)
    writer.close()
    try:
        return time.monotonic() - begun, status(await answer)
    except OSError:
        return time.monotonic() - begun, "reset"


async def not_reading(port: int, path: str) -> tuple[float, str]:
    """A peer that asks for page after page and reads none."""
    loop = asyncio.get_running_loop()
    peer = socket.socket()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    # Segments as from afar: loopback's, of 64 KiB, come with kernel buffers of megabytes.
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1400)
    peer.setblocking(False)
    await loop.sock_connect(peer, ("127.0.0.1", port))
    begun = time.monotonic()
    request = f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode() * 1000
    peer.send(request)
    # What was not read hides an end of the stream, so the connection's state is asked for.
    while peer.getsockopt(socket.SOL_TCP, socket.TCP_INFO, 1)[0] != TCP_CLOSE:
        await asyncio.sleep(0.25)
        if time.monotonic() - begun > 30:
            return 30, "never"
    peer.close()
    return time.monotonic() - begun, "reset"


async def too_many(port: int, path: str) -> tuple[float, str]:
    """A peer that connects when there are too many; it waits for what the server says first."""
    begun = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        answer = await reader.read()
    except OSError:
        return time.monotonic() - begun, "reset"
    finally:
        writer.close()
    return time.monotonic() - begun, status(answer)


def status(answer: bytes) -> str:
    """The status in an answer's first line, or what came instead."""
    return answer[9:12].decode() if answer.startswith(b"HTTP/1.1 ") else "closed"


async def attack(port: int, path: str, count: int) -> dict[str, list[tuple[float, str]]]:
    """`count` peers of each kind, and, once these are there, as many as fill the cap and more."""
    kinds = (slow_head, slow_body, not_reading)
    peers: dict[str, list[Awaitable[tuple[float, str]]]] = {kind.__name__: [] for kind in kinds}
    for _ in range(count):
        for kind in kinds:
            peers[kind.__name__].append(asyncio.ensure_future(kind(port, path)))
        await asyncio.sleep(COMING / count)
    crowd = [asyncio.ensure_future(too_many(port, path)) for _ in range(SPARE + count)]
    found = {name: list(await asyncio.gather(*tasks)) for name, tasks in peers.items()}
    return {**found, too_many.__name__: list(await asyncio.gather(*crowd))}


def main() -> int:
    parser = options(__doc__ or "", rounds=0)
    parser.add_argument("--peers", type=int, default=300, help="of each kind (%(default)s)")
    parser.set_defaults(seconds=10)
    given = parser.parse_args()
    files()
    os.sched_setaffinity(0, {int(LOAD)})
    cap = 3 * given.peers + SPARE
    found: dict[str, list[tuple[float, str]]] = {}
    with (
        folder(given.data, given.banners, **SETTINGS, max_connections=cap) as marquee,
        marquee.running() as running,
    ):
        page = capture(running.get, given.path)
        headers = [("Cookie", f"{page.cookie}={page.values[0]}")]
        load = (running, given.path, headers, given.seconds, given.connections)
        alone = wrk(*load)
        attacking = attack(running.port, given.path, given.peers)
        thread = threading.Thread(target=lambda: found.update(asyncio.run(attacking)))
        thread.start()
        beside = wrk(*load, calm=False)
        thread.join()
        after = wrk(*load)
    rows = [row("alone", alone, alone), row("meanwhile", beside, alone), row("after", after, alone)]
    lines, promises = judge(found, given.peers)
    promises.append(Promise("p99 of a page view meanwhile, ms", beside.p99 * 1000, 20, False))
    told = ", ".join(f"{name} {value}" for name, value in {**SETTINGS, "cap": cap}.items())
    tables = {f"page views ({told})": (HEAD, rows), "peers": lines}
    return report(given, tables, promises)


def judge(
    found: dict[str, list[tuple[float, str]]], count: int
) -> tuple[tuple[tuple[str, ...], list[tuple[object, ...]]], list[Promise]]:
    """A line for each kind of peer, and whether each was cut when its setting says."""
    bounds = dict(zip(("slow_head", "slow_body", "not_reading"), SETTINGS.values(), strict=False))
    lines: list[tuple[object, ...]] = []
    promises = []
    for kind, ends in found.items():
        if kind == "too_many":
            # The others found room under the cap, and were cut as those that are idle.
            ends = [end for end in ends if end[1] == "503"]
            promises.append(Promise(f"{kind}: answered 503", len(ends), count))
        times = [end[0] for end in ends] or [float("nan")]
        said = {what: sum(end[1] == what for end in ends) for what in {end[1] for end in ends}}
        told = ", ".join(f"{what} {number}" for what, number in sorted(said.items()))
        spread = (min(times), statistics.median(times), max(times))
        lines.append((kind, len(ends), *(f"{value:.2f}" for value in spread), told))
        bound = bounds.get(kind, 0)
        promises.append(Promise(f"{kind}: cut after, s", spread[2], bound + SLACK, False))
        promises.append(Promise(f"{kind}: not cut before, s", spread[0], bound - SLACK / 2))
    return (("peers", "count", "first", "median", "last", "answers"), lines), promises


if __name__ == "__main__":
    sys.exit(main())

"""Ten thousand idle keep-alive connections: what one costs, and a page view beside them."""

import contextlib
import os
import socket
import sys
import time
from collections.abc import Iterator

from contest import LOAD, Headers, Running, Sample, files, folder, median, wrk
from report import HEAD, Promise, options, report, row
from rivals.page import SpoiledError, capture


def main() -> int:
    parser = options(__doc__ or "")
    parser.add_argument("--idle", type=int, default=10_000, help="connections (%(default)s)")
    given = parser.parse_args()
    files()
    os.sched_setaffinity(0, {int(LOAD)})
    limits = {"idle_seconds": 3600, "max_connections": given.idle + 1000}
    alone: list[Sample] = []
    beside: list[Sample] = []
    costs: list[float] = []
    with folder(given.data, given.banners, **limits) as marquee:
        for number in range(given.rounds):
            with marquee.running() as running:
                page = capture(running.get, given.path)
                headers = [("Cookie", f"{page.cookie}={page.values[0]}")]

                def load(running: Running = running, headers: Headers = headers) -> Sample:
                    return wrk(running, given.path, headers, given.seconds, given.connections)

                load()  # warm, so that no first-time cost is taken for the connections'
                alone.append(load())
                before, busy = running.rss(), resting(running)
                with idle(running, given.idle, given.path, headers[0][1]) as connections:
                    cost = (running.rss() - before) / given.idle
                    more = resting(running) - busy
                    beside.append(load())
                    left = sum(alive(each) for each in connections)
                if left < given.idle:
                    raise SpoiledError(f"only {left} of {given.idle} connections were kept")
                costs.append(cost)
                told = f"{number + 1}. {cost:,.0f} bytes each; {more:.2%} of a core at rest"
                print(told, file=sys.stderr)
    bare, crowd = median(alone), median(beside)
    rows = [row("alone", bare, bare), row(f"beside {given.idle:,} idle", crowd, bare)]
    # A ratio for each round, since both were measured within seconds of each other.
    ratios = sorted(b.cpu / a.cpu for a, b in zip(alone, beside, strict=True))
    promises = [
        Promise(
            "bytes of memory an idle connection", sorted(costs)[len(costs) // 2], 5 * 1024, False
        ),
        Promise("CPU of a page view beside them, times", ratios[len(ratios) // 2], 1.05, False),
    ]
    notes = [f"at rest, {given.idle:,} idle connections take {more:.2%} of a core"]
    return report(given, {"page views": (HEAD, rows)}, promises, notes)


@contextlib.contextmanager
def idle(running: Running, count: int, path: str, cookie: str) -> Iterator[list[socket.socket]]:
    """`count` connections that have each seen one page, and are left open."""
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {cookie}\r\n\r\n".encode()
    opened: list[socket.socket] = []
    try:
        for _ in range(count):
            connection = socket.create_connection(("127.0.0.1", running.port), timeout=10)
            opened.append(connection)
            connection.sendall(request)
            if not connection.recv(65536).startswith(b"HTTP/1.1 200"):
                raise SpoiledError("an answer on a connection that was to be idle is wrong")
        yield opened
    finally:
        for connection in opened:
            connection.close()


def alive(connection: socket.socket) -> bool:
    """Whether the server has kept a connection open; what is left of an answer is read."""
    connection.setblocking(False)
    try:
        while connection.recv(65536):
            pass
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def resting(running: Running, seconds: float = 3) -> float:
    """Share of a core that the server takes while nobody asks for anything."""
    cpu = running.cpu()
    time.sleep(seconds)
    return (running.cpu() - cpu) / seconds


if __name__ == "__main__":
    sys.exit(main())

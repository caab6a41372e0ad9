"""Unchanged Tornado handlers on Tornado's own server and on ours, by CPU seconds a request."""

import sys

from contest import BENCH, BUILD, Contestant, Running, Sample, contest, wrk
from report import HEAD, Promise, options, report, row
from rivals.page import SpoiledError, check, example

STOCK, OURS = "tornado on asyncio", "wire on uvloop"


def main() -> int:
    given = options(__doc__ or "", data=False).parse_args()
    page = example(given.path)
    BUILD.mkdir(parents=True, exist_ok=True)
    page.save(BUILD / "example.json")
    command = [sys.executable, str(BENCH / "rivals" / "stock.py"), str(BUILD / "example.json")]
    chosen = [
        Contestant(f"{server} on {loop}", [*command, "{port}", server, loop])
        for server in ("tornado", "wire")
        for loop in ("asyncio", "uvloop")
    ]
    tables, promises = {}, []
    headers = [("Cookie", f"{page.cookie}={page.values[0]}")]
    for path in ("/hello", page.path):

        def measure(running: Running, path: str = path) -> Sample:
            check(running.get, page, dict(headers), fixed=False)
            if running.get("/hello", {})[2] != b"hello, world":
                raise SpoiledError("/hello is wrong")
            wrk(running, path, headers, 1, given.connections)  # warm
            return wrk(running, path, headers, given.seconds, given.connections)

        found = contest(chosen, given.rounds, measure)
        tables[path] = HEAD, [row(name, found[name], found[OURS]) for name in found]
        times = found[STOCK].cpu / found[OURS].cpu
        promises.append(Promise(f"{path}: as fast as on Tornado's server, times", times, 2))
    return report(given, tables, promises)


if __name__ == "__main__":
    sys.exit(main())

"""The banner page: ours against Tornado, FastAPI, Go and the limit, by CPU seconds a request."""

import shutil
import subprocess
import sys

from contest import (
    BENCH,
    BUILD,
    PROFILES,
    Contestant,
    Headers,
    Running,
    Sample,
    contest,
    folder,
    wrk,
)
from environment import python
from report import HEAD, Promise, options, report, row
from rivals.page import capture, check

FLOORS = {"tornado": 15, "go": 1.2, "limit": 0.65}  # how many times as fast ours has to be


def main() -> int:
    parser = options(__doc__ or "")
    parser.add_argument("--only", nargs="*", default=[], help="names of the rivals to run")
    given = parser.parse_args()
    with folder(given.data, given.banners) as marquee:
        with marquee.running() as running:
            page = capture(running.get, given.path)
        page.save(BUILD / "page.json")
        known, notes = rivals()
        chosen = [marquee, *(each for each in known if not given.only or each.name in given.only)]
        tables, promises = {}, []
        for name, extra in PROFILES.items():
            headers = [*extra, ("Cookie", f"{page.cookie}={page.values[0]}")]

            def measure(running: Running, headers: Headers = tuple(headers)) -> Sample:
                check(running.get, page, dict(headers), fixed=running.name == "limit")
                wrk(running, page.path, headers, 1, given.connections)  # warm
                return wrk(running, page.path, headers, given.seconds, given.connections)

            found = contest(chosen, given.rounds, measure)
            own = found["marquee"]
            rows = [row(each, sample, own) for each, sample in found.items()]
            tables[f"{name}: {len(headers) + 1} headers, {len(page.bodies[0])} bytes"] = HEAD, rows
            for rival, floor in FLOORS.items():
                times = [sample.cpu / own.cpu for key, sample in found.items() if rival in key]
                if times:
                    text = f"{name}: ours as fast as {rival}, times"
                    promises.append(Promise(text, min(times), floor))
    return report(given, tables, promises, notes)


def rivals() -> tuple[list[Contestant], list[str]]:
    """Every rival that can run here, and why the others cannot."""
    page, port = str(BUILD / "page.json"), "{port}"
    source = str(BENCH / "rivals")
    found = [
        Contestant("tornado", [sys.executable, f"{source}/stock.py", page, port]),
        Contestant("fastapi", [python("bench"), f"{source}/fast.py", page, port]),
        Contestant("limit", [sys.executable, f"{source}/limit.py", page, port]),
    ]
    go = shutil.which("go")
    if go is None:
        return found, ["go: left out, for no Go compiler is installed"]
    program, main = str(BUILD / "go-pages"), str(BENCH / "go" / "pages" / "main.go")
    subprocess.run([go, "build", "-o", program, main], check=True)
    said = subprocess.run([go, "version"], capture_output=True, text=True, check=True)
    for count in ("1", "2"):
        rival = Contestant(f"go procs={count}", [program, page, port], {"GOMAXPROCS": count})
        found.append(rival)
    return found, [f"go: {said.stdout.strip()}; the better of both GOMAXPROCS counts"]


if __name__ == "__main__":
    sys.exit(main())

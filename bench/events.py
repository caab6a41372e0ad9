"""Events: ours against Tornado, FastAPI, Go and the limit, acknowledged after the commit.

No two events are alike (events.lua): 20,000 sessions, three types, with and without a sender's id.
The rivals have the indexes that our queries need; ours folds into its own while it acknowledges.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from contest import BENCH, BUILD, Contestant, Running, Sample, contest, own, wrk
from environment import python
from report import HEAD, Promise, options, report, row

RIVALS = BENCH / "rivals"
FLOORS = {"tornado": 10, "fastapi": 10, "go": 1.8, "limit": 0.4}
# A request of many events has one commit with those rivals, too.
LINES_FLOORS = {"go": 1.8}


@dataclass(frozen=True)
class Load:
    """What is sent: how many connections, events a request, and which sender's ids."""

    name: str
    connections: int
    size: int
    sender: str


LOADS = (
    Load("one by one, 32 connections", 32, 1, "none"),
    Load("one by one, 256 connections", 256, 1, "none"),
    Load("one by one, 256 connections, UUIDv7 senders", 256, 1, "v7"),
    Load("one by one, 256 connections, random senders", 256, 1, "random"),
    Load("lines of 100, 32 connections", 32, 100, "none"),
    Load("lines of 100, 32 connections, UUIDv7 senders", 32, 100, "v7"),
)


def main() -> int:
    parser = options(__doc__ or "", data=False, rounds=3)
    parser.add_argument("--only", nargs="*", default=[], help="names of the rivals to run")
    parser.add_argument("--loads", nargs="*", type=int, default=range(len(LOADS)))
    given = parser.parse_args()
    tables, promises = {}, []
    for load in (LOADS[number] for number in given.loads):
        with tempfile.TemporaryDirectory(prefix="marquee-bench-") as folder:
            marquee, token = own(Path(folder, "data"))
            rivals = others(Path(folder), load, given.only)

            def measure(running: Running, load: Load = load, token: str = token) -> Sample:
                script = [str(BENCH / "events.lua"), load.sender, str(load.size), token]
                wrk(running, "/events", (), 1, load.connections, script=script)  # warm
                return wrk(running, "/events", (), given.seconds, load.connections, script=script)

            found = contest([marquee, *rivals], given.rounds, measure)
        mine = found["marquee"]
        rows = [row(name, each, mine) for name, each in found.items()]
        tables[f"{load.name} (requests)"] = HEAD, rows
        for rival, floor in (FLOORS if load.size == 1 else LINES_FLOORS).items():
            times = [each.cpu / mine.cpu for name, each in found.items() if rival in name]
            if times:
                text = f"{load.name}: ours as fast as {rival}, times"
                promises.append(Promise(text, min(times), floor))
    return report(given, tables, promises)


def others(folder: Path, load: Load, only: list[str]) -> list[Contestant]:
    """The rivals that can run here; each makes its own new file."""
    found = [
        fresh("tornado", [sys.executable, str(RIVALS / "events_stock.py")], folder),
        fresh("fastapi", [python("bench"), str(RIVALS / "events_fast.py")], folder),
    ]
    if load.size == 1:
        found.append(fresh("limit", [sys.executable, str(RIVALS / "events_limit.py")], folder))
    if go := shutil.which("go"):
        program = BUILD / "go-events"
        source = str(BENCH / "go" / "events" / "main.go")
        # Debian's package of the driver lies in a GOPATH, not in a module.
        env = {**os.environ, "GO111MODULE": "off", "GOPATH": f"/usr/share/gocode:{BUILD / 'go'}"}
        command = [go, "build", "-o", str(program), source]
        built = subprocess.run(command, env=env, capture_output=True, text=True)
        if built.returncode:
            print(f"go is left out: {built.stderr.splitlines()[:2]}", file=sys.stderr)
        else:
            found.append(fresh("go", [str(program)], folder, {"GOMAXPROCS": "2"}))
    return [each for each in found if not only or each.name in only]


def fresh(
    name: str, command: list[str], folder: Path, env: dict[str, str] | None = None
) -> Contestant:
    """A contestant on a file that a shell removes before each start."""
    path = folder / f"{name}.db"
    script = f'rm -f "$0" "$0"-wal "$0"-shm; exec {" ".join(command)} "$0" "$1"'
    return Contestant(name, ["sh", "-c", script, str(path), "{port}"], env or {})


if __name__ == "__main__":
    sys.exit(main())

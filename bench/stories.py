"""Stories: ours against stock Tornado and FastAPI, by CPU seconds a request; and their events.

Both addresses, by wrk on kept connections and by `ab -c 100 -n 20000`, which makes a new one for
each request unless it is told `-k`. Story events are put beside `POST /events`, one by one.
"""

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from contest import BENCH, Contestant, Running, Sample, ab, contest, ours, wrk
from environment import python
from events import fresh, own
from report import HEAD, Promise, options, report, row
from rivals.page import SpoiledError

PATHS = {"cached": "/api/v1/stories/cached/token_1", "uncached": "/api/v1/stories/token_1"}
FLOORS = {
    "cached": 12,
    "uncached": 2,
}  # how many times as fast as stock Tornado, on kept connections
OF_EVENTS, SENDERS = 0.8, 256
SAID = {"app_id": 1, "metadata": [{"id": n, "metadata": f"image{n}.png"} for n in (1, 2, 3)]}


def main() -> int:
    parser = options(__doc__ or "", data=False, rounds=3)
    parts = (*PATHS, "events")
    parser.add_argument("--only", nargs="*", choices=parts, default=parts, help="parts to run")
    given = parser.parse_args()
    tables, promises, notes = {}, [], []
    with tempfile.TemporaryDirectory(prefix="marquee-bench-") as folder:
        contestants = servers(Path(folder))
        for name, path in PATHS.items():
            if name not in given.only:
                continue
            for tool, load in loads(given.seconds, given.connections).items():

                def measure(
                    running: Running, path: str = path, load: Callable[..., Sample] = load
                ) -> Sample:
                    check(running, path)
                    wrk(running, path, (), 1, given.connections)  # warm
                    return load(running, path)

                found = contest(contestants, given.rounds, measure)
                mine, title = found["marquee"], f"{name}, {tool}"
                tables[title] = HEAD, [row(each, sample, mine) for each, sample in found.items()]
                if tool != "ab":
                    times = found["tornado"].cpu / mine.cpu
                    text = f"{title}: ours as fast as stock Tornado, times"
                    promises.append(Promise(text, times, FLOORS[name]))
        if "events" in given.only:
            table, promise = compared(Path(folder), given.rounds, given.seconds)
            tables[f"events one by one, {SENDERS} connections"] = HEAD, table
            promises.append(promise)
    if not shutil.which("ab"):
        notes.append("ab: left out, as it is not installed (apache2-utils)")
    return report(given, tables, promises, notes)


def compared(folder: Path, rounds: int, seconds: float) -> tuple[list[tuple[object, ...]], Promise]:
    """Story events beside events of apps."""
    scripts, kinds = events(folder)

    def send(running: Running) -> Sample:
        script = scripts[running.name]
        wrk(running, "/", (), 1, SENDERS, script=script)  # warm
        return wrk(running, "/", (), seconds, SENDERS, script=script)

    found = contest(kinds, rounds, send)
    story, event = found["story events"], found["POST /events"]
    promise = Promise(
        "story events as fast as POST /events, times", event.cpu / story.cpu, OF_EVENTS
    )
    return [row(each, sample, story) for each, sample in found.items()], promise


def servers(folder: Path) -> list[Contestant]:
    """Ours, over the sample, and rivals that make a file of the same."""
    rivals = str(BENCH / "rivals")
    return [
        ours(str(folder / "data"), sample=True),
        fresh("tornado", [sys.executable, f"{rivals}/stories_stock.py"], folder),
        fresh("fastapi", [python("bench"), f"{rivals}/stories_fast.py"], folder),
    ]


def loads(seconds: float, connections: int) -> dict[str, Callable[[Running, str], Sample]]:
    """What sends, by its name."""
    found: dict[str, Callable[[Running, str], Sample]] = {
        "wrk": lambda running, path: wrk(running, path, (), seconds, connections)
    }
    if shutil.which("ab"):
        found["ab -k"] = lambda running, path: ab(running, path, kept=True)
        found["ab"] = ab
    return found


def check(running: Running, path: str) -> None:
    """Whether the answer is the one that all of them give."""
    said = json.loads(running.get(path)[2])
    if not 0 <= time.time() - said.pop("ts") < 2 or said != SAID:
        raise SpoiledError(f"{running.name} answers {said}")


def events(folder: Path) -> tuple[dict[str, list[str]], list[Contestant]]:
    """How both kinds of events are sent, and to which servers of ours."""
    marquee, secret = own(folder / "events")
    scripts = {
        "POST /events": [str(BENCH / "events.lua"), "none", "1", secret],
        "story events": [str(BENCH / "story_events.lua"), "token_1"],
    }
    sampled = ours(str(folder / "data"), sample=True)
    return scripts, [replace(marquee, name="POST /events"), replace(sampled, name="story events")]


if __name__ == "__main__":
    sys.exit(main())

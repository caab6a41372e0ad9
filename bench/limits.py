"""What rate limits cost a request that they let pass: the same server with them, and without.

Both limits are far above what comes, so that each request is counted and none refused.
"""

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from contest import BENCH, Contestant, Running, Sample, contest, folder, own, wrk
from report import HEAD, Promise, options, report, row
from rivals.page import capture

LIMITS = {"MARQUEE_RATE_PER_ADDRESS": "999999999/s", "MARQUEE_RATE_PER_TOKEN": "999999999/s"}
MOST = 1.5  # times as much CPU


def main() -> int:
    parser = options(__doc__ or "", data=False, rounds=3)
    given = parser.parse_args()
    tables, promises = {}, []

    def told(name: str, found: dict[str, Sample]) -> None:
        off, on = found.values()
        tables[name] = HEAD, [row(each, sample, off) for each, sample in found.items()]
        promises.append(Promise(f"{name}: CPU of one with limits", on.cpu / off.cpu, MOST, False))

    with folder(None, None) as marquee:

        def page(running: Running) -> Sample:
            cookie = capture(running.get, given.path)
            headers = [("Cookie", f"{cookie.cookie}={cookie.values[0]}")]
            wrk(running, given.path, headers, 1, given.connections)  # warm
            return wrk(running, given.path, headers, given.seconds, given.connections)

        told("banner pages, by address", contest(both(marquee), given.rounds, page))
    with tempfile.TemporaryDirectory(prefix="marquee-bench-") as place:
        marquee, token = own(Path(place, "data"))
        script = [str(BENCH / "events.lua"), "none", "1", token]

        def event(running: Running) -> Sample:
            wrk(running, "/events", (), 1, 256, script=script)  # warm
            return wrk(running, "/events", (), given.seconds, 256, script=script)

        told("events one by one, by both", contest(both(marquee), given.rounds, event))
    return report(given, tables, promises)


def both(marquee: Contestant) -> Sequence[Contestant]:
    """The server without limits, and with them."""
    limited = replace(marquee, name="with limits", env={**marquee.env, **LIMITS})
    return replace(marquee, name="without"), limited


if __name__ == "__main__":
    sys.exit(main())

"""Locust's browsers against a server of ours, headless and for a bounded time."""

import os
import subprocess
import sys

from contest import BENCH, BUILD, LOAD, folder
from environment import python
from report import conditions, options


def main() -> int:
    parser = options(__doc__ or "", load=False, rounds=0)
    parser.add_argument("--users", type=int, default=100, help="browsers at once (%(default)s)")
    parser.add_argument("--campaigns", default="1,2,3", help="their ids (%(default)s)")
    parser.add_argument("--seconds", type=float, default=30, help="of the run (%(default)s)")
    given = parser.parse_args()
    command = [
        "taskset",
        "-c",
        LOAD,
        python("locust"),
        "-m",
        "locust",
        "--headless",
        "--only-summary",
    ]
    command += ["-f", str(BENCH / "locustfile.py"), "-u", str(given.users), "-r", "50"]
    command += ["-t", f"{given.seconds:g}s", "--stop-timeout", "5"]
    command += ["--html", str(BUILD / "browsers.html"), "--csv", str(BUILD / "browsers")]
    with folder(given.data, given.banners) as marquee, marquee.running() as running:
        host = ["-H", f"http://127.0.0.1:{running.port}"]
        environ = {**os.environ, "CAMPAIGNS": given.campaigns}
        done = subprocess.run([*command, *host], env=environ)  # 1 if a single request failed
        cpu = running.cpu()
    for name, text in conditions().items():
        print(f"{name}: {text}")
    print(f"{cpu:.2f} CPU seconds of the server; report: {BUILD / 'browsers.html'}")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())

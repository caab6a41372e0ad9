"""Locust's users against a server, headless and for a bounded time."""

import argparse
import os
import subprocess
from collections.abc import Mapping

from contest import BENCH, BUILD, LOAD, Running
from environment import python
from report import conditions, options


def options_of(text: str, users: str, *, data: bool = True) -> argparse.ArgumentParser:
    """The options of a bench with `users`."""
    parser = options(text, data=data, load=False, rounds=0)
    parser.add_argument("--users", type=int, default=100, help=f"{users} at once (%(default)s)")
    parser.add_argument("--seconds", type=float, default=30, help="of the run (%(default)s)")
    return parser


def crowd(
    running: Running, users: str, given: argparse.Namespace, environ: Mapping[str, str]
) -> int:
    """Have the users of `users/<name>.py` at a server; 0 if not one request failed."""
    command = ["taskset", "-c", LOAD, python("locust"), "-m", "locust"]
    command += ["--headless", "--only-summary", "-H", f"http://127.0.0.1:{running.port}"]
    command += ["-f", str(BENCH / "users" / f"{users}.py"), "-u", str(given.users), "-r", "50"]
    command += ["-t", f"{given.seconds:g}s", "--stop-timeout", "5"]
    command += ["--html", str(BUILD / f"{users}.html"), "--csv", str(BUILD / users)]
    done = subprocess.run(command, env={**os.environ, **environ})
    for name, text in conditions().items():
        print(f"{name}: {text}")
    report = BUILD / f"{users}.html"
    print(f"{running.cpu():.2f} CPU seconds of the server; report: {report}")
    return done.returncode

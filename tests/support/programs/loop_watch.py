"""The server with measured event loop iterations: `python loop_watch.py serve …`.

On SIGUSR1 it prints `turn SECONDS`, the longest iteration since the previous signal. It measures
CPU time of the loop's thread, which other processes do not lengthen. With $SPIN set, every
iteration after the first signal takes at least that many seconds.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path
from time import thread_time
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[3]))
from server import main

SPIN_SECONDS = float(os.environ.get("SPIN", "0"))
spin_seconds = 0.0
longest_seconds = 0.0
event_loop_class: Any = asyncio.BaseEventLoop
run_once = event_loop_class._run_once


def run_once_measured(loop: asyncio.BaseEventLoop) -> None:
    global longest_seconds
    began = thread_time()
    run_once(loop)
    while thread_time() - began < spin_seconds:
        pass
    longest_seconds = max(longest_seconds, thread_time() - began)


def print_longest(*_: object) -> None:
    global longest_seconds, spin_seconds
    spin_seconds = SPIN_SECONDS
    print(f"turn {longest_seconds:.6f}", flush=True)
    longest_seconds = 0.0


event_loop_class._run_once = run_once_measured
signal.signal(signal.SIGUSR1, print_longest)
sys.exit(main([*sys.argv[1:], "--loop", "asyncio"]))

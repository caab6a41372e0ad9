"""The server with a watch on its loop: `python loop_watch.py WORDS…`, as of `server.py`.

Asked by SIGUSR1 it prints a line: the most CPU seconds that one turn of the loop's thread took
since it was last asked. CPU seconds, as what else the machine does is no turn of ours. With $SPIN,
each turn takes at least so many once that was asked.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path
from time import thread_time

sys.path.insert(0, str(Path(__file__).parents[3]))
from server import main

SPIN = float(os.environ.get("SPIN", "0"))
spin = 0.0
longest = 0.0
turn = asyncio.BaseEventLoop._run_once


def watched(loop: asyncio.BaseEventLoop) -> None:
    global longest
    began = thread_time()
    turn(loop)
    while thread_time() - began < spin:
        pass
    longest = max(longest, thread_time() - began)


def tell(*_: object) -> None:
    global longest, spin
    spin = SPIN
    print(f"turn {longest:.6f}", flush=True)
    longest = 0.0


asyncio.BaseEventLoop._run_once = watched
signal.signal(signal.SIGUSR1, tell)
sys.exit(main([*sys.argv[1:], "--loop", "asyncio"]))

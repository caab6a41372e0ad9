"""A read transaction that another process holds open."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

READER_PROGRAM = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN")
connection.execute("SELECT count(*) FROM event").fetchone()
print("reading", flush=True)
time.sleep(float(sys.argv[2]))
"""


@contextlib.contextmanager
def hold_read_transaction(path: Path, seconds: float) -> Iterator[subprocess.Popen[str]]:
    """Read a database in another process, for at most `seconds`."""
    command = [sys.executable, "-c", READER_PROGRAM, str(path), str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None and reader.stdout.readline() == "reading\n"
        yield reader
        reader.terminate()

"""An import: CPU seconds, rows a second, the longest hold of the writer, and what pages feel."""

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from contest import LOAD, ROOT, Running, ours, wrk
from report import HEAD, Promise, options, report, row
from rivals.page import SpoiledError

LINES = ("import", "rows read", "stored", "CPU s", "of it the server", "rows/CPU s", "longest hold")


def main() -> int:
    parser = options(__doc__ or "", data=False, rounds=3)
    parser.add_argument("folder", help="the folder of CSVs")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    parser.set_defaults(connections=8)
    given = parser.parse_args()
    if given.inside:
        print(asyncio.run(inside(Path(given.folder), Path(given.inside))))
        return 0
    os.sched_setaffinity(0, {int(LOAD)})
    lines, spent, holds = [], [], []
    for number in range(given.rounds):
        with tempfile.TemporaryDirectory() as data:
            found, cpu = run(given.folder, data)
            again, more = run(given.folder, data)
        with tempfile.TemporaryDirectory() as data:
            command = [sys.executable, __file__, given.folder, "--inside", data]
            held = subprocess.run(command, capture_output=True, text=True, check=True)
        hold = float(held.stdout)
        lines.append(line(f"{number + 1}. without a server", found, cpu, None, hold))
        lines.append(line(f"{number + 1}. the same again", again, more, None, None))
        spent.append(cpu)
        holds.append(hold)
    with tempfile.TemporaryDirectory() as data, ours(data, sample=True).running() as running:
        before = running.cpu()
        found, cpu = run(given.folder, data)
        served = running.cpu() - before
        holds.append(longest_hold(running))
        lines.append(line("through a server at rest", found, cpu + served, served, holds[-1]))
    with tempfile.TemporaryDirectory() as data, ours(data, sample=True).running() as running:
        load = (running, given.path, (), given.seconds, given.connections)
        alone = wrk(*load)
        importing = subprocess.Popen(importer(given.folder, data), stdout=subprocess.PIPE)
        beside = wrk(*load, calm=False)
        early = importing.poll() is not None
        importing.communicate()
        if importing.returncode:
            raise SpoiledError("the import beside page views failed")
        holds.append(longest_hold(running))
    rows = [row("alone", alone, alone), row("during an import", beside, alone)]
    promises = [
        Promise("CPU seconds of an import", sorted(spent)[len(spent) // 2], 4, False),
        Promise("longest hold of the writer, ms", max(holds), 20, False),
    ]
    notes = ["the import ended before the load did"] if early else []
    return report(given, {"imports": (LINES, lines), "page views": (HEAD, rows)}, promises, notes)


async def inside(folder: Path, data: Path) -> float:
    """The longest hold of the writer, in ms, of an import in this very process."""
    sys.path.insert(0, str(ROOT))
    from imports.importer import import_folder
    from store.sqlite.core.database import Database
    from store.sqlite.imports.import_staging import ImportStaging

    database = await Database.open(data / "marquee.db")
    try:
        await import_folder(folder, ImportStaging(database, data / "images"))
        return database.longest_hold
    finally:
        await database.close()


def importer(folder: str, data: str) -> list[str]:
    """The command."""
    return [sys.executable, str(ROOT / "server.py"), "import", folder, "--data", data, "--json"]


def run(folder: str, data: str) -> tuple[dict[str, int], float]:
    """Import as an owner does; (what the command printed, its CPU seconds)."""
    process = subprocess.Popen(importer(folder, data), stdout=subprocess.PIPE)
    assert process.stdout is not None
    printed = process.stdout.read()
    _, state, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(state)
    if process.returncode:
        raise SpoiledError(f"the import ended with {process.returncode}")
    return json.loads(printed), usage.ru_utime + usage.ru_stime


def longest_hold(running: Running) -> float:
    """What the server says of its writer, in ms."""
    text = running.get("/metrics")[2].decode()
    found = re.search(r"^marquee_writer_longest_hold_seconds (\S+)$", text, re.MULTILINE)
    if found is None:
        raise SpoiledError("/metrics does not tell the longest hold of the writer")
    return float(found[1]) * 1000


def line(
    name: str, found: dict[str, int], cpu: float, served: float | None, hold: float | None
) -> tuple[object, ...]:
    """A line of the table."""
    return (
        name,
        f"{found['read']:,}",
        f"{found['stored']:,}",
        f"{cpu:.2f}",
        "" if served is None else f"{served:.2f}",
        f"{found['read'] / cpu:,.0f}",
        "" if hold is None else f"{hold:.1f} ms",
    )


if __name__ == "__main__":
    sys.exit(main())

"""What a bench prints: options, conditions, tables, and promises kept or not."""

import argparse
import json
import platform
import re
import shlex
import sqlite3
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from contest import CORES, LOAD, ROOT, SERVER, Sample

HEAD = ("server", "req/s", "CPU s / 1,000", "ours is", "core busy", "foreign", "p50 ms", "p99 ms")


def options(
    text: str, *, data: bool = True, load: bool = True, rounds: int = 5
) -> argparse.ArgumentParser:
    """The options that benches share: of our own server, of wrk, and how often (0: not one)."""
    parser = argparse.ArgumentParser(description=text)
    add = parser.add_argument
    if data:
        add("--data", help="a data folder with campaigns (default: a sample)")
        add("--banners", help="a folder of CSVs to import into a new data folder")
    if load:
        add("--path", default="/campaigns/1/", help="the page (%(default)s)")
        add("--seconds", type=float, default=4, help="of a run (%(default)s)")
        add("--connections", type=int, default=32, help="of wrk (%(default)s)")
        add("--json", action="store_true", help="print one JSON object instead")
    if rounds:
        add("--rounds", type=int, default=rounds, help="turns of each (%(default)s)")
    return parser


def conditions() -> dict[str, str]:
    """What a figure means nothing without."""
    cpu = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True
    )
    libraries = ("tornado", "uvloop", "httptools")
    return {
        "command": shlex.join(["python", *sys.argv]),
        "version": commit.stdout.strip() or "unknown",
        "machine": f"{cpu[0] if cpu else platform.machine()}, {len(CORES)} cores, "
        f"Linux {platform.release()}; server on core {SERVER}, load on core {LOAD}",
        "software": ", ".join(
            [f"Python {platform.python_version()}", f"SQLite {sqlite3.sqlite_version}"]
            + [f"{name} {version(name)}" for name in libraries]
        ),
    }


def row(name: str, sample: Sample, own: Sample) -> tuple[object, ...]:
    """A line of the table."""
    return (
        name,
        f"{sample.rate:,.0f}",
        f"{sample.cpu:.5f}",
        f"{sample.cpu / own.cpu:.2f}x",
        f"{sample.busy:.0%}",
        f"{sample.foreign:.0%}",
        f"{sample.p50 * 1000:.2f}",
        f"{sample.p99 * 1000:.2f}",
    )


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table, numbers to the right."""
    cells = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for row in cells:
        first, *rest = (f"{cell:{'<' if i == 0 else '>'}{widths[i]}}" for i, cell in enumerate(row))
        lines.append("| " + " | ".join([first, *rest]) + " |")
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines.insert(1, "| " + " | ".join(rule) + " |")
    return "\n".join(lines)


@dataclass(frozen=True)
class Promise:
    """A figure that must be at least (or at most) so much."""

    text: str
    value: float
    bound: float
    least: bool = True

    @property
    def kept(self) -> bool:
        """Whether the figure is on the right side of its bound."""
        return self.value >= self.bound if self.least else self.value <= self.bound

    def __str__(self) -> str:
        verdict, sign = "pass" if self.kept else "FAIL", "≥" if self.least else "≤"
        return f"{verdict}: {self.text}: {self.value:.4g} ({sign} {self.bound:g})"


def report(
    options: argparse.Namespace,
    tables: Mapping[str, tuple[Sequence[str], Sequence[Sequence[object]]]],
    promises: Sequence[Promise],
    notes: Sequence[str] = (),
) -> int:
    """Print what was found, as text or as JSON; 0 if every promise is kept, else 1."""
    if options.json:
        found = {
            "conditions": conditions(),
            "tables": {
                name: [dict(zip(head, row, strict=True)) for row in rows]
                for name, (head, rows) in tables.items()
            },
            "promises": [{**asdict(each), "kept": each.kept} for each in promises],
            "notes": list(notes),
        }
        print(json.dumps(found, indent=2))
    else:
        for name, text in conditions().items():
            print(f"{name}: {text}")
        for name, (head, rows) in tables.items():
            print(f"\n{name}\n{table(head, rows)}")
        print("", *notes, *promises, sep="\n")
    return 0 if all(promise.kept for promise in promises) else 1

"""`rebuild`: rebuild the projections from the event log."""

import argparse
import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
from tqdm import tqdm

from app.settings import Settings
from commands.admin_backend import open_admin_backend
from store.sqlite.projections.projections import RebuildReport


def add(subparsers: Any, common: argparse.ArgumentParser) -> None:
    """Add the command to `subparsers`; `common` holds the options of all commands."""
    parser = subparsers.add_parser(
        "rebuild",
        parents=[common],
        help="rebuild the projections (views.db) from the event log",
        description="Rebuild views.db, which holds event indexes and counts, from the event log. "
        "A running server uses the old file until the new one is complete.",
        epilog="example: python server.py rebuild --data /var/lib/marquee",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Rebuild the projections and print the result."""
    result = asyncio.run(_rebuild(Path(settings.data), quiet=arguments.json))
    if arguments.json:
        print(msgspec.json.encode(result).decode())
    else:
        for name, value in asdict(result).items():
            print(f"{name:<10}{value:,}")
    return 0


async def _rebuild(data: Path, *, quiet: bool) -> RebuildReport:
    async with open_admin_backend(data) as backend:
        with tqdm(unit=" events", disable=True if quiet else None, delay=0.5) as bar:
            return await backend.rebuild_projections(lambda events: bar.update(events - bar.n))

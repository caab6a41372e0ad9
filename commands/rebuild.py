"""`rebuild`: the views of the log are made anew."""

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


def add(words: Any, common: argparse.ArgumentParser) -> None:
    """The command's words."""
    parser = words.add_parser(
        "rebuild",
        parents=[common],
        help="make views.db anew from the log",
        description="Make views.db, which holds what is looked up or counted, anew from the log. "
        "A server that runs answers from the old one until the new one is whole.",
        epilog="example: python server.py rebuild --data /var/lib/marquee",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Rebuild, and tell what came of it."""
    result = asyncio.run(_rebuild(Path(settings.data), quiet=arguments.json))
    if arguments.json:
        print(msgspec.json.encode(result).decode())
    else:
        for name, value in asdict(result).items():
            print(f"{name:<10}{value:,}")
    return 0


async def _rebuild(data: Path, *, quiet: bool) -> RebuildReport:
    async with open_admin_backend(data) as store:
        with tqdm(unit=" events", disable=True if quiet else None, delay=0.5) as bar:
            return await store.rebuild(lambda folded: bar.update(folded - bar.n))

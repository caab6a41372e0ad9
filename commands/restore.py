"""`restore`: a backup is put back."""

import argparse
from pathlib import Path
from typing import Any

import msgspec
from tqdm import tqdm

from app.settings import Settings
from store.sqlite.backup.restore import restore_backup


def add(words: Any, common: argparse.ArgumentParser) -> None:
    """The command's words."""
    parser = words.add_parser(
        "restore",
        parents=[common],
        help="put a backup back into a data folder",
        description=(
            "Put a backup into the data folder, which must be empty and in nobody's use. It is "
            "checked before anything is changed. views.db is made anew when a server starts."
        ),
        epilog=(
            "example: python server.py restore /var/backups/marquee/marquee-20260102T030405.678900Z"
            " --data /var/lib/marquee"
        ),
    )
    parser.add_argument("source", metavar="FROM", help="a backup's folder, tar file or database")
    parser.add_argument(
        "--replace", action="store_true", help="put aside, in the folder, what is there"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Restore, and tell what came of it."""
    hidden = True if arguments.json else None
    with tqdm(unit="B", unit_scale=True, disable=hidden, delay=0.5, leave=False) as bar:

        def told(done: int, total: int) -> None:
            bar.reset(total)
            bar.update(done)

        source, data = Path(arguments.source), Path(settings.data)
        result = restore_backup(source, data, told, replace=arguments.replace)
    if arguments.json:
        print(msgspec.json.encode(result).decode())
        return 0
    print(f"events    {result.events:,}\nimages    {result.images:,}")
    if result.replaced:
        print(f"aside     {result.replaced} has what was there: delete it when all is well")
    return 0

"""`restore`: restore a backup into a data folder."""

import argparse
from pathlib import Path
from typing import Any

import msgspec
from tqdm import tqdm

from app.settings import Settings
from store.sqlite.backup.restore import restore_backup


def add(subparsers: Any, common: argparse.ArgumentParser) -> None:
    """Add the command to `subparsers`; `common` holds the options of all commands."""
    parser = subparsers.add_parser(
        "restore",
        parents=[common],
        help="restore a backup into a data folder",
        description=(
            "Restore a backup into the data folder, which must be empty and not in use. The backup "
            "is checked before anything is changed. The next server start rebuilds views.db."
        ),
        epilog=(
            "example: python server.py restore /var/backups/marquee/marquee-20260102T030405.678900Z"
            " --data /var/lib/marquee"
        ),
    )
    parser.add_argument("source", metavar="FROM", help="folder, tar file or database of a backup")
    parser.add_argument(
        "--replace", action="store_true", help="move existing data aside within the folder"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Restore the backup and print the result."""
    hidden = True if arguments.json else None
    with tqdm(unit="B", unit_scale=True, disable=hidden, delay=0.5, leave=False) as bar:

        def show_progress(done: int, total: int) -> None:
            bar.reset(total)
            bar.update(done)

        source, data = Path(arguments.source), Path(settings.data)
        result = restore_backup(source, data, show_progress, replace=arguments.replace)
    if arguments.json:
        print(msgspec.json.encode(result).decode())
        return 0
    print(f"events    {result.events:,}\nimages    {result.images:,}")
    if result.replaced:
        print(f"replaced  the previous data is in {result.replaced}: delete it after a check")
    return 0

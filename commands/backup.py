"""`backup`: a copy of the data folder, also while a server runs."""

import argparse
import os
import sys
from datetime import UTC
from pathlib import Path
from typing import Any

import msgspec
from tqdm import tqdm

from app.settings import PROGRAM_COMMAND, Settings
from commands.console import whole_number
from store.sqlite.backup.backup import BackupManifest, create_backup
from store.sqlite.core.data_folder import IMAGES_FOLDER

# More than this behind a server, which is to have the machine first.
NICE_INCREMENT = 10
BACKUP_FOLDER = "backups"


def add(words: Any, common: argparse.ArgumentParser) -> None:
    """The command's words."""
    parser = words.add_parser(
        "backup",
        parents=[common],
        help="back the data folder up, also while a server runs",
        description=(
            "Copy the database and the images, as they are at one moment, while events come in; "
            "the copy is checked and on disk when this ends. It holds what was deleted since, so "
            "let old ones go. An image that the data folder has lost is named, and the exit status "
            "is 1. Put back with: restore"
        ),
        epilog=(
            "examples: python server.py backup --data data --to /var/backups/marquee --keep 7; "
            "python server.py backup --to marquee.tar"
        ),
    )
    parser.add_argument(
        "--to",
        metavar="DIR|FILE.tar",
        help="a folder, in which each backup has a folder by its time (backups in the data "
        "folder), or one file",
    )
    parser.add_argument(
        "--keep",
        type=whole_number,
        default=0,
        metavar="N",
        help="leave only the newest N in that folder",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Back up and print the path; return 1 if an image is missing or damaged."""
    data = Path(settings.data)
    os.nice(NICE_INCREMENT)
    hidden = True if arguments.json else None
    with tqdm(unit="B", unit_scale=True, disable=hidden, delay=0.5, leave=False) as bar:

        def told(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        to = Path(arguments.to) if arguments.to else data / BACKUP_FOLDER
        place, made = create_backup(data, to, told, max(0, arguments.keep))
    if arguments.json:
        print(msgspec.json.encode({"place": str(place), **msgspec.to_builtins(made)}).decode())
    else:
        print(_format_backup(place, made))
    for name in made.lacking:
        sys.stderr.write(
            f"marquee: not in the backup: {data / IMAGES_FOLDER / name} is missing or damaged "
            f"{', '.join(map(str, made.lacking_of.get(name, [])))}): import the image again\n"
        )
    return 1 if made.lacking else 0


def _format_backup(place: Path, made: BackupManifest) -> str:
    lines = [
        f"backup    {place}",
        f"of        {made.at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC",
        f"events    {made.events:,}",
        f"bytes     {made.bytes:,}",
        f"images    {made.images:,}",
    ]
    if made.lacking:
        lines.append(
            f"lost      {len(made.lacking):,} images, missing or damaged in the data folder"
        )
    return "\n".join([*lines, f"put back  {PROGRAM_COMMAND} restore {place} --data DIR"])

"""`backup`: back up the data folder, also while a server runs."""

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

# A running server keeps priority over the backup.
NICE_INCREMENT = 10
BACKUP_FOLDER = "backups"


def add(subparsers: Any, common: argparse.ArgumentParser) -> None:
    """Add the command to `subparsers`; `common` holds the options of all commands."""
    parser = subparsers.add_parser(
        "backup",
        parents=[common],
        help="back up the data folder, also while a server runs",
        description=(
            "Write a consistent copy of the database and the images, check it and sync it to disk. "
            "Old backups still hold data that was deleted since: remove them with --keep. Exits 1 "
            "if images are missing or damaged, and lists them. Restore with: restore"
        ),
        epilog=(
            "examples: python server.py backup --data data --to /var/backups/marquee --keep 7; "
            "python server.py backup --to marquee.tar"
        ),
    )
    parser.add_argument(
        "--to",
        metavar="DIR|FILE.tar",
        help="folder, in which each backup gets a folder named by its time (backups in the "
        "data folder), or one tar file",
    )
    parser.add_argument(
        "--keep",
        type=whole_number,
        default=0,
        metavar="N",
        help="keep only the newest N backups in that folder",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Back up and print the path; return 1 if an image is missing or damaged."""
    data = Path(settings.data)
    os.nice(NICE_INCREMENT)
    hidden = True if arguments.json else None
    with tqdm(unit="B", unit_scale=True, disable=hidden, delay=0.5, leave=False) as bar:

        def show_progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        to = Path(arguments.to) if arguments.to else data / BACKUP_FOLDER
        path, manifest = create_backup(data, to, show_progress, max(0, arguments.keep))
    if arguments.json:
        print(msgspec.json.encode({"place": str(path), **msgspec.to_builtins(manifest)}).decode())
    else:
        print(_format_backup(path, manifest))
    for name in manifest.lacking:
        banners = ", ".join(map(str, manifest.lacking_of.get(name, [])))
        sys.stderr.write(
            f"marquee: not in the backup: {data / IMAGES_FOLDER / name} is missing or damaged "
            f"(of banner {banners}): import the image again\n"
        )
    return 1 if manifest.lacking else 0


def _format_backup(path: Path, manifest: BackupManifest) -> str:
    lines = [
        f"backup    {path}",
        f"time      {manifest.at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC",
        f"events    {manifest.events:,}",
        f"bytes     {manifest.bytes:,}",
        f"images    {manifest.images:,}",
    ]
    if manifest.lacking:
        lines.append(
            f"missing   {len(manifest.lacking):,} images are missing or damaged in the data folder"
        )
    return "\n".join([*lines, f"restore   {PROGRAM_COMMAND} restore {path} --data DIR"])

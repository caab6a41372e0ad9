"""What a data folder lacks after a simulated power loss."""

import shutil
import sqlite3
from pathlib import Path

from store.sqlite.core.database import recover_wal
from store.sqlite.core.wal import commit_frames
from store.sqlite.core.wal import count_lost_commits as lost_by_the_disk
from tests.support.programs.log_sender import SendTranscript, count_missing


def preload_environment(shim: Path, folder: Path) -> dict[str, str]:
    """The environment in which a program tells what it does to a folder."""
    journal = folder.with_name("journal")
    return {"LD_PRELOAD": str(shim), "DISK_FOLDER": str(folder), "DISK_JOURNAL": str(journal)}


def count_missing_on_disk(left: dict[str, bytes], lines: SendTranscript, folder: Path) -> int:
    """How many acknowledged events are gone from a disk; checks that nothing else is wrong."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in left.items():
        if name.startswith(("marquee.db", "views.db")):
            (folder / name).write_bytes(content)
    views = sqlite3.connect(folder / "views.db")
    try:
        assert views.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    finally:
        views.close()
    told = commit_frames(folder / "marquee.db-wal")
    connection = sqlite3.connect(folder / "marquee.db")
    try:
        # A power loss is not taken for a disk that has changed its content.
        if lost_by_the_disk(told, recover_wal(connection)):
            return len(lines.acknowledged)
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'log'").fetchone():
            return len(lines.acknowledged)
        return count_missing(connection, lines)
    finally:
        connection.close()

"""Events that a data folder lacks after a simulated power loss."""

import shutil
import sqlite3
from pathlib import Path

from store.sqlite.core.database import recover_wal
from store.sqlite.core.wal import commit_frames, count_lost_commits
from tests.support.programs.log_sender import SendTranscript, count_missing


def preload_environment(shim: Path, folder: Path) -> dict[str, str]:
    """Return the environment in which the shim records a program's writes to a folder."""
    journal = folder.with_name("journal")
    return {"LD_PRELOAD": str(shim), "DISK_FOLDER": str(folder), "DISK_JOURNAL": str(journal)}


def count_missing_on_disk(files: dict[str, bytes], transcript: SendTranscript, folder: Path) -> int:
    """Return how many acknowledged events files lack; raise AssertionError for other damage."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in files.items():
        if name.startswith(("marquee.db", "views.db")):
            (folder / name).write_bytes(content)
    projections = sqlite3.connect(folder / "views.db")
    try:
        assert projections.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    finally:
        projections.close()
    frames = commit_frames(folder / "marquee.db-wal")
    connection = sqlite3.connect(folder / "marquee.db")
    try:
        # A power loss must not look like a WAL that the disk has damaged.
        if count_lost_commits(frames, recover_wal(connection) or 0):
            return len(transcript.acknowledged)
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'log'").fetchone():
            return len(transcript.acknowledged)
        return count_missing(connection, transcript)
    finally:
        connection.close()

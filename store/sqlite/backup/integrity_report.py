"""Integrity report of a data folder, by read-only connections."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from store.api.errors import StoreTooNew
from store.sqlite.backup.snapshot import PUBLISHED_IMAGES_SQL, open_read_only
from store.sqlite.banners.image_store import is_image_intact
from store.sqlite.core.data_folder import DATABASE_FILE, IMAGES_FOLDER, PROJECTIONS_FILE
from store.sqlite.core.data_loss import last_loss
from store.sqlite.core.integrity_check import check_pages, find_integrity_errors
from store.sqlite.core.migrations import MIGRATIONS_FOLDER, check_not_newer
from store.sqlite.projections.projections import PROJECTIONS_VERSION

CHECKPOINT_SQL = "SELECT log, version, id, change FROM place"
LOG_STATE_SQL = """
SELECT identity, max(last, (SELECT coalesce(max(id), 0) FROM event)),
    (SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'change')
FROM log
"""
NEWEST_RECEIVED_SQL = "SELECT received FROM event ORDER BY id DESC LIMIT 1"
LAG_SQL = "SELECT count(*) FROM (SELECT 1 FROM event WHERE id > ? LIMIT 1000000)"


@dataclass
class IntegrityReport:
    """State of the log and of the projections."""

    faults: list[str] = field(default_factory=list)
    newer: str = ""  # the error, if a newer Marquee wrote the database
    pending: int = 0  # migrations that the next start applies
    newest: int | None = None  # receipt of the newest event, in µs since 1970
    lost: int = 0  # images with a missing, damaged or unreadable file
    views: str = ""  # why the projections are unusable; empty if they are usable
    harm: str = ""  # corruption of the projections' pages
    ahead: bool = False  # whether the projections have events that the log has lost
    loss: int | None = None  # last detected loss of events, in µs since 1970
    behind: int = 0  # events not yet in the projections (up to a million are counted)


def build_integrity_report(data: Path) -> IntegrityReport:
    """Check the databases in `data`, which reads them completely."""
    found = IntegrityReport()
    try:
        with closing(open_read_only(data / DATABASE_FILE)) as reader:
            reader.execute("BEGIN")
            found.faults = find_integrity_errors(reader, quick=True)
            if found.faults:
                return found
            try:
                applied = check_not_newer(reader)
            except StoreTooNew as error:
                found.newer = str(error)
                return found
            found.pending = len(list(MIGRATIONS_FOLDER.glob("*.sql"))) - len(applied)
            newest = reader.execute(NEWEST_RECEIVED_SQL).fetchone()
            found.newest = newest[0] if newest else None
            named = [sha256 for (sha256,) in reader.execute(PUBLISHED_IMAGES_SQL)]
            images = data / IMAGES_FOLDER
            found.lost = sum(not is_image_intact(images, each) for each in named)
            found.loss = last_loss(reader)
            _check_projections(data, reader, found)
    except (sqlite3.Error, UnicodeDecodeError) as error:
        found.faults = [str(error)]
    return found


def _check_projections(data: Path, log: sqlite3.Connection, found: IntegrityReport) -> None:
    if not (data / PROJECTIONS_FILE).exists():
        found.views = "there are none"
        return
    identity, last, changed = log.execute(LOG_STATE_SQL).fetchone()
    try:
        with closing(open_read_only(data / PROJECTIONS_FILE)) as views:
            of, version, after, change = views.execute(CHECKPOINT_SQL).fetchone()
            harm = check_pages(views, "quick_check")
    except (sqlite3.Error, TypeError) as error:
        found.views = f"they cannot be read ({error})"
        return
    found.harm = "; ".join(harm)
    if of != identity:
        found.views = "they are of another log"
    elif after > last or change > changed:
        found.views, found.ahead = "they are ahead of the log", True
    elif version != PROJECTIONS_VERSION:
        found.views = "they are of another version"
    else:
        found.behind = log.execute(LAG_SQL, (after,)).fetchone()[0]

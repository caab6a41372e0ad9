"""What a look at the databases of a data folder tells, through readers that change nothing."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from store.data_folder import DATABASE, IMAGES, VIEWS
from store.errors import StoreNewer
from store.images import whole
from store.losses import last_loss
from store.migrations import FOLDER, refuse_newer
from store.snapshot import PUBLISHED, read_only
from store.soundness import faults, pages
from store.views import VERSION

PLACE = "SELECT log, version, id, change FROM place"
LOG = """
SELECT identity, max(last, (SELECT coalesce(max(id), 0) FROM event)),
    (SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'change')
FROM log
"""
NEWEST = "SELECT received FROM event ORDER BY id DESC LIMIT 1"
BEHIND = "SELECT count(*) FROM (SELECT 1 FROM event WHERE id > ? LIMIT 1000000)"


@dataclass
class Look:
    """How the databases are."""

    faults: list[str] = field(default_factory=list)
    newer: str = ""  # why this program cannot use it, if a newer one wrote it
    pending: int = 0  # migrations that the next start brings
    newest: int | None = None  # when the newest event was received, in µs
    lost: int = 0  # images with a missing, damaged or unreadable file
    views: str = ""  # why the views are of no use, if they are of none
    harm: str = ""  # what is wrong with the views' pages
    ahead: bool = False  # of a log that has lost events
    loss: int | None = None  # when the log was last found to have lost events, in µs
    behind: int = 0  # events that are not in the views (up to a million are counted)


def look(data: Path) -> Look:
    """Look the databases in `data` over; that reads all of them."""
    found = Look()
    try:
        with closing(read_only(data / DATABASE)) as reader:
            reader.execute("BEGIN")
            found.faults = faults(reader, quick=True)
            if found.faults:
                return found
            try:
                applied = refuse_newer(reader)
            except StoreNewer as error:
                found.newer = str(error)
                return found
            found.pending = len(list(FOLDER.glob("*.sql"))) - len(applied)
            newest = reader.execute(NEWEST).fetchone()
            found.newest = newest[0] if newest else None
            named = [sha256 for (sha256,) in reader.execute(PUBLISHED)]
            images = data / IMAGES
            found.lost = sum(not whole(images, each) for each in named)
            found.loss = last_loss(reader)
            _look_at_views(data, reader, found)
    except (sqlite3.Error, UnicodeDecodeError) as error:
        found.faults = [str(error)]
    return found


def _look_at_views(data: Path, log: sqlite3.Connection, found: Look) -> None:
    if not (data / VIEWS).exists():
        found.views = "there are none"
        return
    identity, last, changed = log.execute(LOG).fetchone()
    try:
        with closing(read_only(data / VIEWS)) as views:
            of, version, after, change = views.execute(PLACE).fetchone()
            harm = pages(views, "quick_check")
    except (sqlite3.Error, TypeError) as error:
        found.views = f"they cannot be read ({error})"
        return
    found.harm = "; ".join(harm)
    if of != identity:
        found.views = "they are of another log"
    elif after > last or change > changed:
        found.views, found.ahead = "they are ahead of the log", True
    elif version != VERSION:
        found.views = "they are of another version"
    else:
        found.behind = log.execute(BEHIND, (after,)).fetchone()[0]

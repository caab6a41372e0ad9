"""An import's rows in our own database: staged in small steps, put in force by one commit."""

import asyncio
import hashlib
import logging
import sqlite3
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from errno import EDQUOT, ENOSPC
from functools import partial
from itertools import chain
from pathlib import Path
from time import time_ns

from rules.image_types import image_type
from rules.words import plural
from store import correcting, sweep
from store.audit import note, value
from store.commands import TERMINAL
from store.database import Database
from store.errors import StoreBusy, StoreError, StoreFull, StoreRefused
from store.images import keep
from store.intake import LARGEST_IMAGE, FigureRow, Landing, Reject, Replaced, Taken, Verdict
from store.rejects import LIMIT, count_dropped, trim
from store.steps import Steps

LOG = logging.getLogger("marquee.import")

# Files that are looked for in one transaction.
HASHES = 100
PUBLISHED = "(SELECT id FROM import WHERE published_at IS NOT NULL)"
CLICK = "INSERT INTO click VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
CONVERSION = """
INSERT INTO conversion SELECT ?1, ?2, ?3, id, ?5 FROM click WHERE id = ?4
ON CONFLICT DO NOTHING
"""
# A file's name is stored with its folders. Clicks and conversions may have been duplicates of those
# of an import that was taken back since: they are read again, as their ids tell what is new.
KNOWN = f"""
SELECT max(read) FROM file WHERE sha256 = ?1 AND import IN {PUBLISHED}
AND '/' || ?2 = substr('/' || name, -length(?2) - 1)
AND (?2 LIKE 'impressions%' OR NOT EXISTS (
    SELECT 1 FROM undone JOIN import ON import.id = file.import
    WHERE undone.import < import.id AND undone.at > import.published_at
))
"""  # noqa: S608
NEWEST_TARGET = f"""
SELECT url FROM target WHERE banner = ? AND import IN {PUBLISHED}
ORDER BY import DESC LIMIT 1
"""  # noqa: S608
NEWEST_IMAGE = f"""
SELECT sha256 FROM image WHERE banner = ? AND import IN {PUBLISHED}
ORDER BY import DESC LIMIT 1
"""  # noqa: S608


# So begins the source of an import that came from a user's browser.
UPLOAD = "upload by "


def _note(connection: sqlite3.Connection, number: int, source: str, replaced: str) -> None:
    """Enter an import among the changes: who did it, from where, and what became of its rows."""
    sql = "SELECT count(*), sum(stored), sum(duplicate), sum(rejected) FROM file WHERE import = ?"
    files, *counts = connection.execute(sql, (number,)).fetchone()
    names = ("stored", "duplicate", "rejected")
    rows = ", ".join(f"{count or 0:,} {name}" for name, count in zip(names, counts, strict=True))
    who = source.removeprefix(UPLOAD) if source.startswith(UPLOAD) else TERMINAL
    about = f"import {number} from {value(source)}; {plural(files, 'file')}; rows: {rows}"
    about += f"; replaced: {replaced}" * bool(replaced)
    note(connection, who, "imported campaigns", about)


class Staging:
    """The `Intake` of our own database; one import at a time."""

    def __init__(self, database: Database, images: Path) -> None:
        """`images` is the folder of the images' files."""
        self._database = database
        self._images = images
        self._number: int | None = None
        self._source = ""
        self._dropped = 0
        self._undoing: int | None = None
        self._replacing = ""
        self._steps: defaultdict[str, Steps] = defaultdict(lambda: Steps(database))
        self._turn = asyncio.Lock()

    @property
    def under_way(self) -> int | None:
        """The number of the import that is under way."""
        return self._number

    async def clear(self) -> None:
        """Clear away what counts no longer; nothing is done while an import is under way.

        What cannot be removed now, on a full disk, is left for the next time.
        """
        async with self._turn:
            if self._number is None:
                try:
                    await self._clear()
                except StoreError as error:
                    LOG.warning("what counts no longer is cleared away later: %s", error)

    async def begin(self, source: str) -> int:
        """See `Intake`; clears away first what counts no longer."""
        async with self._turn:
            if self._number is not None:
                raise StoreBusy(f"an import is under way, of {self._source}; try again later")
            await self._clear()
            self._source, self._dropped = source, 0
            self._undoing, self._replacing = None, ""
            self._number = await self._database.write(lambda connection: _begin(connection, source))
            return self._number

    async def known(self, files: list[tuple[bytes, str]]) -> list[int | None]:
        """See `Intake`."""

        def rows(some: list[tuple[bytes, str]], connection: sqlite3.Connection) -> list[int | None]:
            return [connection.execute(KNOWN, each).fetchone()[0] for each in some]

        found: list[int | None] = []
        for start in range(0, len(files), HASHES):
            some = files[start : start + HASHES]
            found += await self._database.read_internal(partial(rows, some))
        return found

    async def replace(self, slots: list[int], campaigns: list[int]) -> Replaced:
        """See `Intake`."""
        async with self._staging() as number:
            self._replacing = f"slots {value(slots)} of {plural(len(campaigns), 'campaign')}"
            return await correcting.replace(self._database, number, slots, campaigns)

    async def undo(self, number: int) -> str:
        """See `Intake`."""
        async with self._staging() as own:
            source = await correcting.undo(self._database, own, number)
            self._undoing = number
            return source

    async def clicks(self, slot: int, rows: list[tuple[int, int, int]]) -> list[int]:
        """See `Intake`."""
        async with self._staging() as number:

            def job(
                connection: sqlite3.Connection, part: Sequence[tuple[int, tuple[int, int, int]]]
            ) -> list[int]:
                insert = connection.cursor().execute
                return [
                    position
                    for position, (click, banner, campaign) in part
                    if not insert(CLICK, (click, number, slot, campaign, banner)).rowcount
                ]

            return list(chain(*await self._steps["click"].write(list(enumerate(rows)), job)))

    async def conversions(self, slot: int, rows: list[tuple[int, int, int]]) -> list[Landing]:
        """See `Intake`."""
        async with self._staging() as number:

            def job(
                connection: sqlite3.Connection, part: Sequence[tuple[int, int, int]]
            ) -> list[Landing]:
                insert, find = connection.cursor().execute, connection.cursor().execute
                landings: list[Landing] = []
                for conversion, click, revenue in part:
                    if insert(CONVERSION, (conversion, number, slot, click, revenue)).rowcount:
                        sql = "SELECT campaign, banner FROM click WHERE id = ?"
                        landings.append(find(sql, (click,)).fetchone())
                    else:
                        sql = "SELECT 1 FROM conversion WHERE id = ?"
                        known = find(sql, (conversion,)).fetchone()
                        landings.append("duplicate" if known else "unknown")
                return landings

            return list(chain(*await self._steps["conversion"].write(rows, job)))

    async def figures(self, rows: list[FigureRow]) -> None:
        """See `Intake`."""
        async with self._staging() as number:

            def job(connection: sqlite3.Connection, part: Sequence[FigureRow]) -> None:
                connection.executemany(
                    correcting.ADD_FIGURE, [(*row[:3], number, *row[3:]) for row in part]
                )

            await self._steps["figure"].write(rows, job)

    async def targets(self, rows: list[tuple[int, str]]) -> list[Verdict]:
        """See `Intake`."""
        async with self._staging() as number:

            def job(
                connection: sqlite3.Connection, part: Sequence[tuple[int, str]]
            ) -> list[Verdict]:
                return [_target(connection, number, banner, url) for banner, url in part]

            return list(chain(*await self._steps["target"].write(rows, job)))

    async def image(self, banner: int, body: bytes) -> Verdict:
        """See `Intake`; `StoreRefused` for what is no image, or too large."""
        async with self._staging() as number:
            kind = image_type(body)
            if kind is None or len(body) > LARGEST_IMAGE:
                raise StoreRefused(f"what came as the image of banner {banner} is none")
            sha256 = hashlib.sha256(body).digest()
            verdict = await self._database.write(
                lambda connection: _image(connection, number, banner, sha256, kind)
            )
            if verdict != "conflict":
                # After its row, by which it is found and cleared away should all end right here.
                try:
                    written = await asyncio.to_thread(keep, self._images, sha256, body)
                    if written and verdict == "duplicate":
                        LOG.warning("repaired a missing or damaged image file banner=%d", banner)
                        verdict = "stored"
                except OSError as error:
                    failure = StoreFull if error.errno in {ENOSPC, EDQUOT} else StoreError
                    raise failure(f"an image cannot be written: {error.strerror}") from error
            return verdict

    async def rejects(self, rows: list[Reject]) -> None:
        """See `Intake`; the last `rejects.LIMIT` are kept."""
        async with self._staging() as number:

            def job(connection: sqlite3.Connection, part: Sequence[Reject]) -> int:
                connection.executemany(
                    "INSERT INTO reject (import, file, line, reason, row) VALUES (?, ?, ?, ?, ?)",
                    [(number, each.file, each.line, each.reason, each.row) for each in part],
                )
                old = "DELETE FROM reject WHERE import = ? AND id <= last_insert_rowid() - ?"
                return connection.execute(old, (number, LIMIT)).rowcount

            self._dropped += sum(await self._steps["reject"].write(rows, job))

    async def file(self, taken: Taken) -> None:
        """See `Intake`."""
        async with self._staging() as number:
            row = (taken.sha256, number, taken.name)
            counts = (taken.read, taken.stored, taken.duplicate, taken.rejected)

            def job(connection: sqlite3.Connection) -> None:
                sql = "INSERT INTO file VALUES (?, ?, ?, ?, ?, ?, ?)"
                connection.execute(sql, (*row, *counts))

            await self._database.write(job)

    async def publish(self) -> None:
        """See `Intake`."""
        async with self._staging() as number:

            def job(connection: sqlite3.Connection) -> None:
                sql, moment = "UPDATE import SET published_at = ? WHERE id = ?", time_ns() // 1000
                connection.execute(sql, (moment, number))
                count_dropped(connection, self._dropped)
                if self._undoing is None:
                    _note(connection, number, self._source, self._replacing)
                    return
                source = correcting.publish_undo(connection, number, self._undoing, moment)
                about = f"import {self._undoing} from {value(source)}, by import {number}"
                note(connection, TERMINAL, "took an import back", about)

            await self._database.write(job)
            self._number = None
            try:
                await trim(self._database)
            except StoreError as error:  # the import is in force all the same
                LOG.warning("the oldest rejects are dropped later: %s", error)

    async def abort(self) -> None:
        """See `Intake`; what can't be removed now counts for nothing and goes at the next start."""
        async with self._turn:
            number, self._number = self._number, None
            if number is not None:
                await sweep.remove(self._database, self._images, number)

    async def _clear(self) -> None:
        await sweep.replaced(self._database)
        await sweep.cut_off(self._database, self._images)
        await sweep.merge(self._database)

    @asynccontextmanager
    async def _staging(self) -> AsyncIterator[int]:
        # An abort waits for the call that is under way, so that no row comes after the sweep.
        async with self._turn:
            if self._number is None:
                raise StoreRefused("this import has ended: nothing of it was kept")
            yield self._number


def _begin(connection: sqlite3.Connection, source: str) -> int:
    sql = "INSERT INTO import (source, started_at) VALUES (?, ?)"
    number = connection.execute(sql, (source, time_ns() // 1000)).lastrowid
    assert number is not None
    return number


def _target(connection: sqlite3.Connection, number: int, banner: int, url: str) -> Verdict:
    mine = "SELECT url FROM target WHERE banner = ? AND import = ?"
    staged = connection.execute(mine, (banner, number)).fetchone()
    if staged is not None:
        return "duplicate" if staged == (url,) else "conflict"
    newest = connection.execute(NEWEST_TARGET, (banner,)).fetchone()
    # Staged also if it is in force already: so that a second one in this import is a conflict.
    connection.execute("INSERT INTO target VALUES (?, ?, ?)", (banner, number, url))
    return "duplicate" if newest == (url,) else "stored"


def _image(
    connection: sqlite3.Connection, number: int, banner: int, sha256: bytes, kind: str
) -> Verdict:
    mine = "SELECT sha256 FROM image WHERE banner = ? AND import = ?"
    staged = connection.execute(mine, (banner, number)).fetchone()
    if staged is not None:
        return "duplicate" if staged == (sha256,) else "conflict"
    newest = connection.execute(NEWEST_IMAGE, (banner,)).fetchone()
    connection.execute("INSERT INTO image VALUES (?, ?, ?, ?)", (banner, number, sha256, kind))
    return "duplicate" if newest == (sha256,) else "stored"

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

from domain.banners.image_types import image_type
from domain.common.formatting import format_count
from store.api.errors import StoreBusy, StoreError, StoreFull, StoreRefused
from store.api.import_session import (
    MAX_IMAGE_BYTES,
    ConversionOutcome,
    ReplacedStats,
    RowRejection,
    StagedFile,
    StagingOutcome,
    StatsRow,
)
from store.sqlite.banners.image_store import write_image
from store.sqlite.core.audit_log import format_value, write_audit_entry
from store.sqlite.core.batched_writes import BatchedWriter
from store.sqlite.core.command import DEFAULT_ACTOR
from store.sqlite.core.database import Database
from store.sqlite.imports import import_corrections, import_sweeper
from store.sqlite.imports.rejected_rows import (
    MAX_REJECTED_ROWS,
    count_dropped_rows,
    trim_rejected_rows,
)

LOG = logging.getLogger("marquee.import")

# Files that are looked for in one transaction.
FILES_PER_READ = 100
PUBLISHED_IMPORTS = "(SELECT id FROM import WHERE published_at IS NOT NULL)"
INSERT_CLICK_SQL = "INSERT INTO click VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
INSERT_CONVERSION_SQL = """
INSERT INTO conversion SELECT ?1, ?2, ?3, id, ?5 FROM click WHERE id = ?4
ON CONFLICT DO NOTHING
"""
# A file's name is stored with its folders. Clicks and conversions may have been duplicates of those
# of an import that was taken back since: they are read again, as their ids tell what is new.
IMPORTED_FILE_ROWS_SQL = f"""
SELECT max(read) FROM file WHERE sha256 = ?1 AND import IN {PUBLISHED_IMPORTS}
AND '/' || ?2 = substr('/' || name, -length(?2) - 1)
AND (?2 LIKE 'impressions%' OR NOT EXISTS (
    SELECT 1 FROM undone JOIN import ON import.id = file.import
    WHERE undone.import < import.id AND undone.at > import.published_at
))
"""  # noqa: S608
NEWEST_TARGET_SQL = f"""
SELECT url FROM target WHERE banner = ? AND import IN {PUBLISHED_IMPORTS}
ORDER BY import DESC LIMIT 1
"""  # noqa: S608
NEWEST_IMAGE_SQL = f"""
SELECT sha256 FROM image WHERE banner = ? AND import IN {PUBLISHED_IMPORTS}
ORDER BY import DESC LIMIT 1
"""  # noqa: S608


# So begins the source of an import that came from a user's browser.
UPLOAD_SOURCE_PREFIX = "upload by "


def _audit_import(connection: sqlite3.Connection, number: int, source: str, replaced: str) -> None:
    """Enter an import among the changes: who did it, from where, and what became of its rows."""
    sql = "SELECT count(*), sum(stored), sum(duplicate), sum(rejected) FROM file WHERE import = ?"
    files, *counts = connection.execute(sql, (number,)).fetchone()
    names = ("stored", "duplicate", "rejected")
    rows = ", ".join(f"{count or 0:,} {name}" for name, count in zip(names, counts, strict=True))
    who = (
        source.removeprefix(UPLOAD_SOURCE_PREFIX)
        if source.startswith(UPLOAD_SOURCE_PREFIX)
        else DEFAULT_ACTOR
    )
    about = (
        f"import {number} from {format_value(source)}; {format_count(files, 'file')}; rows: {rows}"
    )
    about += f"; replaced: {replaced}" * bool(replaced)
    write_audit_entry(connection, who, "imported campaigns", about)


class ImportStaging:
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
        self._steps: defaultdict[str, BatchedWriter] = defaultdict(lambda: BatchedWriter(database))
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
            self._number = await self._database.write(
                lambda connection: _insert_import(connection, source)
            )
            return self._number

    async def known(self, files: list[tuple[bytes, str]]) -> list[int | None]:
        """See `Intake`."""

        def rows(some: list[tuple[bytes, str]], connection: sqlite3.Connection) -> list[int | None]:
            return [connection.execute(IMPORTED_FILE_ROWS_SQL, each).fetchone()[0] for each in some]

        found: list[int | None] = []
        for start in range(0, len(files), FILES_PER_READ):
            some = files[start : start + FILES_PER_READ]
            found += await self._database.read_internal(partial(rows, some))
        return found

    async def replace(self, slots: list[int], campaigns: list[int]) -> ReplacedStats:
        """See `Intake`."""
        async with self._staging() as number:
            self._replacing = (
                f"slots {format_value(slots)} of {format_count(len(campaigns), 'campaign')}"
            )
            return await import_corrections.stage_replacement(
                self._database, number, slots, campaigns
            )

    async def undo(self, number: int) -> str:
        """See `Intake`."""
        async with self._staging() as own:
            source = await import_corrections.stage_undo(self._database, own, number)
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
                    if not insert(
                        INSERT_CLICK_SQL, (click, number, slot, campaign, banner)
                    ).rowcount
                ]

            return list(chain(*await self._steps["click"].write(list(enumerate(rows)), job)))

    async def conversions(
        self, slot: int, rows: list[tuple[int, int, int]]
    ) -> list[ConversionOutcome]:
        """See `Intake`."""
        async with self._staging() as number:

            def job(
                connection: sqlite3.Connection, part: Sequence[tuple[int, int, int]]
            ) -> list[ConversionOutcome]:
                insert, find = connection.cursor().execute, connection.cursor().execute
                landings: list[ConversionOutcome] = []
                for conversion, click, revenue in part:
                    if insert(
                        INSERT_CONVERSION_SQL, (conversion, number, slot, click, revenue)
                    ).rowcount:
                        sql = "SELECT campaign, banner FROM click WHERE id = ?"
                        landings.append(find(sql, (click,)).fetchone())
                    else:
                        sql = "SELECT 1 FROM conversion WHERE id = ?"
                        known = find(sql, (conversion,)).fetchone()
                        landings.append("duplicate" if known else "unknown")
                return landings

            return list(chain(*await self._steps["conversion"].write(rows, job)))

    async def figures(self, rows: list[StatsRow]) -> None:
        """See `Intake`."""
        async with self._staging() as number:

            def job(connection: sqlite3.Connection, part: Sequence[StatsRow]) -> None:
                connection.executemany(
                    import_corrections.ADD_STATS_SQL, [(*row[:3], number, *row[3:]) for row in part]
                )

            await self._steps["figure"].write(rows, job)

    async def targets(self, rows: list[tuple[int, str]]) -> list[StagingOutcome]:
        """See `Intake`."""
        async with self._staging() as number:

            def job(
                connection: sqlite3.Connection, part: Sequence[tuple[int, str]]
            ) -> list[StagingOutcome]:
                return [_stage_target(connection, number, banner, url) for banner, url in part]

            return list(chain(*await self._steps["target"].write(rows, job)))

    async def image(self, banner: int, body: bytes) -> StagingOutcome:
        """See `Intake`; `StoreRefused` for what is no image, or too large."""
        async with self._staging() as number:
            kind = image_type(body)
            if kind is None or len(body) > MAX_IMAGE_BYTES:
                raise StoreRefused(f"what came as the image of banner {banner} is none")
            sha256 = hashlib.sha256(body).digest()
            verdict = await self._database.write(
                lambda connection: _stage_image(connection, number, banner, sha256, kind)
            )
            if verdict != "conflict":
                # After its row, by which it is found and cleared away should all end right here.
                try:
                    written = await asyncio.to_thread(write_image, self._images, sha256, body)
                    if written and verdict == "duplicate":
                        LOG.warning("repaired a missing or damaged image file banner=%d", banner)
                        verdict = "stored"
                except OSError as error:
                    failure = StoreFull if error.errno in {ENOSPC, EDQUOT} else StoreError
                    raise failure(f"an image cannot be written: {error.strerror}") from error
            return verdict

    async def rejects(self, rows: list[RowRejection]) -> None:
        """See `Intake`; the last `rejects.LIMIT` are kept."""
        async with self._staging() as number:

            def job(connection: sqlite3.Connection, part: Sequence[RowRejection]) -> int:
                connection.executemany(
                    "INSERT INTO reject (import, file, line, reason, row) VALUES (?, ?, ?, ?, ?)",
                    [(number, each.file, each.line, each.reason, each.row) for each in part],
                )
                old = "DELETE FROM reject WHERE import = ? AND id <= last_insert_rowid() - ?"
                return connection.execute(old, (number, MAX_REJECTED_ROWS)).rowcount

            self._dropped += sum(await self._steps["reject"].write(rows, job))

    async def file(self, taken: StagedFile) -> None:
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
                count_dropped_rows(connection, self._dropped)
                if self._undoing is None:
                    _audit_import(connection, number, self._source, self._replacing)
                    return
                source = import_corrections.publish_undo(connection, number, self._undoing, moment)
                about = f"import {self._undoing} from {format_value(source)}, by import {number}"
                write_audit_entry(connection, DEFAULT_ACTOR, "took an import back", about)

            await self._database.write(job)
            self._number = None
            try:
                await trim_rejected_rows(self._database)
            except StoreError as error:  # the import is in force all the same
                LOG.warning("the oldest rejects are dropped later: %s", error)

    async def abort(self) -> None:
        """See `Intake`; what can't be removed now counts for nothing and goes at the next start."""
        async with self._turn:
            number, self._number = self._number, None
            if number is not None:
                await import_sweeper.remove_import(self._database, self._images, number)

    async def _clear(self) -> None:
        await import_sweeper.remove_superseded(self._database)
        await import_sweeper.remove_unpublished(self._database, self._images)
        await import_sweeper.merge_stats(self._database)

    @asynccontextmanager
    async def _staging(self) -> AsyncIterator[int]:
        # An abort waits for the call that is under way, so that no row comes after the sweep.
        async with self._turn:
            if self._number is None:
                raise StoreRefused("this import has ended: nothing of it was kept")
            yield self._number


def _insert_import(connection: sqlite3.Connection, source: str) -> int:
    sql = "INSERT INTO import (source, started_at) VALUES (?, ?)"
    number = connection.execute(sql, (source, time_ns() // 1000)).lastrowid
    assert number is not None
    return number


def _stage_target(
    connection: sqlite3.Connection, number: int, banner: int, url: str
) -> StagingOutcome:
    mine = "SELECT url FROM target WHERE banner = ? AND import = ?"
    staged = connection.execute(mine, (banner, number)).fetchone()
    if staged is not None:
        return "duplicate" if staged == (url,) else "conflict"
    newest = connection.execute(NEWEST_TARGET_SQL, (banner,)).fetchone()
    # Staged also if it is in force already: so that a second one in this import is a conflict.
    connection.execute("INSERT INTO target VALUES (?, ?, ?)", (banner, number, url))
    return "duplicate" if newest == (url,) else "stored"


def _stage_image(
    connection: sqlite3.Connection, number: int, banner: int, sha256: bytes, kind: str
) -> StagingOutcome:
    mine = "SELECT sha256 FROM image WHERE banner = ? AND import = ?"
    staged = connection.execute(mine, (banner, number)).fetchone()
    if staged is not None:
        return "duplicate" if staged == (sha256,) else "conflict"
    newest = connection.execute(NEWEST_IMAGE_SQL, (banner,)).fetchone()
    connection.execute("INSERT INTO image VALUES (?, ?, ?, ?)", (banner, number, sha256, kind))
    return "duplicate" if newest == (sha256,) else "stored"

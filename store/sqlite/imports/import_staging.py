"""Import sessions of the own database: staging in small steps, publication by one commit."""

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
from store.sqlite.core.audit_log import format_value
from store.sqlite.core.batched_writes import BatchedWriter
from store.sqlite.core.database import Database
from store.sqlite.imports import import_corrections, import_sweeper
from store.sqlite.imports.import_audit import audit_import, audit_undo
from store.sqlite.imports.rejected_rows import (
    MAX_REJECTED_ROWS,
    count_dropped_rows,
    trim_rejected_rows,
)
from store.sqlite.imports.staged_banners import PUBLISHED_IMPORTS_SQL, stage_image, stage_target

LOG = logging.getLogger("marquee.import")

# Maximum number of files per read transaction.
FILES_PER_READ = 100
INSERT_CLICK_SQL = "INSERT INTO click VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
INSERT_CONVERSION_SQL = """
INSERT INTO conversion SELECT ?1, ?2, ?3, id, ?5 FROM click WHERE id = ?4
ON CONFLICT DO NOTHING
"""
# A file's name is stored with its folders. After an undo, files of clicks and conversions are read
# again: their rows may have been duplicates of rows of the undone import.
IMPORTED_FILE_ROWS_SQL = f"""
SELECT max(read) FROM file WHERE sha256 = ?1 AND import IN {PUBLISHED_IMPORTS_SQL}
AND '/' || ?2 = substr('/' || name, -length(?2) - 1)
AND (?2 LIKE 'impressions%' OR NOT EXISTS (
    SELECT 1 FROM undone JOIN import ON import.id = file.import
    WHERE undone.import < import.id AND undone.at > import.published_at
))
"""  # noqa: S608


class ImportStaging:
    """The `ImportSession` of the own database; one import at a time."""

    def __init__(self, database: Database, images: Path) -> None:
        """`images` is the folder of the image files."""
        self._database = database
        self._images = images
        self._number: int | None = None
        self._source = ""
        self._dropped_rejections = 0
        self._undo_target: int | None = None
        self._replacement = ""
        self._writers: defaultdict[str, BatchedWriter] = defaultdict(
            lambda: BatchedWriter(database)
        )
        self._lock = asyncio.Lock()

    @property
    def active_number(self) -> int | None:
        """The number of the active import."""
        return self._number

    async def clean_up(self) -> None:
        """Remove obsolete rows and merge stats; do nothing while an import is active.

        If it fails, for example on a full disk, the next call tries again.
        """
        async with self._lock:
            if self._number is None:
                try:
                    await self._clean_up()
                except StoreError as error:
                    LOG.warning("cannot remove obsolete import rows; retrying later: %s", error)

    async def begin(self, source: str) -> int:
        """Implement `ImportSession`; clean up first."""
        async with self._lock:
            if self._number is not None:
                raise StoreBusy(f"an import from {self._source} is active; try again later")
            await self._clean_up()
            self._source, self._dropped_rejections = source, 0
            self._undo_target, self._replacement = None, ""
            self._number = await self._database.write(
                lambda connection: _insert_import(connection, source)
            )
            return self._number

    async def find_imported(self, files: list[tuple[bytes, str]]) -> list[int | None]:
        """Implement `ImportSession`."""

        def read(part: list[tuple[bytes, str]], connection: sqlite3.Connection) -> list[int | None]:
            return [connection.execute(IMPORTED_FILE_ROWS_SQL, file).fetchone()[0] for file in part]

        row_counts: list[int | None] = []
        for start in range(0, len(files), FILES_PER_READ):
            part = files[start : start + FILES_PER_READ]
            row_counts += await self._database.read_internal(partial(read, part))
        return row_counts

    async def replace(self, slots: list[int], campaigns: list[int]) -> ReplacedStats:
        """Implement `ImportSession`."""
        async with self._active_import() as number:
            self._replacement = (
                f"slots {format_value(slots)} of {format_count(len(campaigns), 'campaign')}"
            )
            return await import_corrections.stage_replacement(
                self._database, number, slots, campaigns
            )

    async def undo(self, number: int) -> str:
        """Implement `ImportSession`."""
        async with self._active_import() as undo_number:
            source = await import_corrections.stage_undo(self._database, undo_number, number)
            self._undo_target = number
            return source

    async def add_clicks(self, slot: int, rows: list[tuple[int, int, int]]) -> list[int]:
        """Implement `ImportSession`."""
        async with self._active_import() as number:

            def insert_rows(
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

            writer = self._writers["click"]
            return list(chain(*await writer.write(list(enumerate(rows)), insert_rows)))

    async def add_conversions(
        self, slot: int, rows: list[tuple[int, int, int]]
    ) -> list[ConversionOutcome]:
        """Implement `ImportSession`."""
        async with self._active_import() as number:

            def insert_rows(
                connection: sqlite3.Connection, part: Sequence[tuple[int, int, int]]
            ) -> list[ConversionOutcome]:
                insert, find = connection.cursor().execute, connection.cursor().execute
                outcomes: list[ConversionOutcome] = []
                for conversion, click, revenue in part:
                    if insert(
                        INSERT_CONVERSION_SQL, (conversion, number, slot, click, revenue)
                    ).rowcount:
                        sql = "SELECT campaign, banner FROM click WHERE id = ?"
                        outcomes.append(find(sql, (click,)).fetchone())
                    else:
                        sql = "SELECT 1 FROM conversion WHERE id = ?"
                        existing = find(sql, (conversion,)).fetchone()
                        outcomes.append("duplicate" if existing else "unknown")
                return outcomes

            return list(chain(*await self._writers["conversion"].write(rows, insert_rows)))

    async def add_stats(self, rows: list[StatsRow]) -> None:
        """Implement `ImportSession`."""
        async with self._active_import() as number:

            def insert_rows(connection: sqlite3.Connection, part: Sequence[StatsRow]) -> None:
                connection.executemany(
                    import_corrections.ADD_STATS_SQL, [(*row[:3], number, *row[3:]) for row in part]
                )

            await self._writers["stats"].write(rows, insert_rows)

    async def add_targets(self, rows: list[tuple[int, str]]) -> list[StagingOutcome]:
        """Implement `ImportSession`."""
        async with self._active_import() as number:

            def insert_rows(
                connection: sqlite3.Connection, part: Sequence[tuple[int, str]]
            ) -> list[StagingOutcome]:
                return [stage_target(connection, number, banner, url) for banner, url in part]

            return list(chain(*await self._writers["target"].write(rows, insert_rows)))

    async def add_image(self, banner: int, body: bytes) -> StagingOutcome:
        """Implement `ImportSession`; raise `StoreRefused` for an unsupported or too large image."""
        async with self._active_import() as number:
            type_name = image_type(body)
            if type_name is None or len(body) > MAX_IMAGE_BYTES:
                raise StoreRefused(f"the image of banner {banner} is unsupported or too large")
            sha256 = hashlib.sha256(body).digest()
            outcome = await self._database.write(
                lambda connection: stage_image(connection, number, banner, sha256, type_name)
            )
            if outcome != "conflict":
                # The row comes first: if the process ends here, the sweeper finds the file by it.
                try:
                    is_written = await asyncio.to_thread(write_image, self._images, sha256, body)
                    if is_written and outcome == "duplicate":
                        LOG.warning("repaired a missing or damaged image file banner=%d", banner)
                        outcome = "stored"
                except OSError as error:
                    error_type = StoreFull if error.errno in {ENOSPC, EDQUOT} else StoreError
                    raise error_type(f"an image cannot be written: {error.strerror}") from error
            return outcome

    async def add_rejections(self, rows: list[RowRejection]) -> None:
        """Implement `ImportSession`; only the last `MAX_REJECTED_ROWS` are stored."""
        async with self._active_import() as number:

            def insert_rows(connection: sqlite3.Connection, part: Sequence[RowRejection]) -> int:
                connection.executemany(
                    "INSERT INTO reject (import, file, line, reason, row) VALUES (?, ?, ?, ?, ?)",
                    [(number, each.file, each.line, each.reason, each.row) for each in part],
                )
                sql = "DELETE FROM reject WHERE import = ? AND id <= last_insert_rowid() - ?"
                return connection.execute(sql, (number, MAX_REJECTED_ROWS)).rowcount

            deleted = await self._writers["rejection"].write(rows, insert_rows)
            self._dropped_rejections += sum(deleted)

    async def add_file(self, file: StagedFile) -> None:
        """Implement `ImportSession`."""
        async with self._active_import() as number:
            counts = (file.read, file.stored, file.duplicate, file.rejected)
            row = (file.sha256, number, file.name, *counts)
            sql = "INSERT INTO file VALUES (?, ?, ?, ?, ?, ?, ?)"
            await self._database.write(lambda connection: connection.execute(sql, row).rowcount)

    async def publish(self) -> None:
        """Implement `ImportSession`."""
        async with self._active_import() as number:

            def publish(connection: sqlite3.Connection) -> None:
                sql, now = "UPDATE import SET published_at = ? WHERE id = ?", time_ns() // 1000
                connection.execute(sql, (now, number))
                count_dropped_rows(connection, self._dropped_rejections)
                target = self._undo_target
                if target is None:
                    audit_import(connection, number, self._source, self._replacement)
                else:
                    source = import_corrections.publish_undo(connection, number, target, now)
                    audit_undo(connection, number, target, source)

            await self._database.write(publish)
            self._number = None
            try:
                await trim_rejected_rows(self._database)
            except StoreError as error:  # the import is published nevertheless
                LOG.warning("cannot delete the oldest rejected rows; retrying later: %s", error)

    async def abort(self) -> None:
        """Implement `ImportSession`; the next clean-up removes rows that cannot be removed now."""
        async with self._lock:
            number, self._number = self._number, None
            if number is not None:
                await import_sweeper.remove_import(self._database, self._images, number)

    async def _clean_up(self) -> None:
        await import_sweeper.remove_superseded(self._database)
        await import_sweeper.remove_unpublished(self._database, self._images)
        await import_sweeper.merge_stats(self._database)

    @asynccontextmanager
    async def _active_import(self) -> AsyncIterator[int]:
        # An abort waits for the running call, so that no row is staged after its removal.
        async with self._lock:
            if self._number is None:
                raise StoreRefused("this import has ended; its rows were removed")
            yield self._number


def _insert_import(connection: sqlite3.Connection, source: str) -> int:
    sql = "INSERT INTO import (source, started_at) VALUES (?, ?)"
    number = connection.execute(sql, (source, time_ns() // 1000)).lastrowid
    assert number is not None
    return number

"""Imports a folder: reads its files and hands what is in them to an `Intake`.

Rows are parsed in the process that imports, which need not be the one that serves.
"""

import asyncio
import contextlib
import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from domain.banners.image_types import image_type, unsupported_image_reason
from domain.common.csv_rows import DELIMITERS, CsvLayout, CsvRowError, is_blank, row_parser
from domain.common.formatting import escape_for_terminal
from imports.import_aggregator import BannerStatsAggregator
from imports.import_report import FileImportReport, ImportReport
from imports.import_scan import SourceFile, SourceFileInfo, inspect_file, scan_folder
from imports.line_reader import LineBatch, read_line_batches
from store.api.errors import StoreRefused
from store.api.import_session import (
    MAX_IMAGE_BYTES,
    ImportSession,
    ReplacedStats,
    RowRejection,
    StagedFile,
)

LOG = logging.getLogger("marquee.import")

ProgressCallback = Callable[[int, int], None]

# Conversions need the clicks of all slots.
IMPORT_ORDER = ("clicks", "conversions", "impressions", "targets", "image")
# Of these, one that was imported before is not read again. A banner's target or image may go
# back to what it once was.
IMPORTED_ONCE_KINDS = {"clicks", "conversions", "impressions"}
# Files whose rows name a campaign, in their last column.
KINDS_WITH_CAMPAIGN = {"clicks", "impressions"}
# Figures, and different lines of impressions, that are held in memory.
MAX_BUFFERED_ROWS = 50_000
# How much goes to the intake at once.
STATS_BATCH_ROWS, REJECTED_BATCH_ROWS = 4_000, 500
# Rejects of a file that are logged one by one, and how much of a row is kept, in characters.
MAX_LOGGED_REJECTED, MAX_REJECTED_CHARS = 20, 4_096


async def import_folder(
    folder: Path,
    intake: ImportSession,
    progress: ProgressCallback = lambda done, total: None,
    source: str | None = None,
    *,
    replace: bool = False,
) -> ImportReport:
    """Import what `folder` holds; `progress` is told how many bytes were read, of how many.

    `source` is where it is said to come from, if not from the folder. With `replace` the folder is
    the whole truth for its slots and the campaigns that its impressions and clicks name.

    Raises `StoreRefused` if the folder or a file in it is not what it should be, and what the
    intake raises; nothing has changed then.
    """
    began = perf_counter()
    found = scan_folder(folder)
    examined = {source.name: inspect_file(source) for source in found.sources}
    number = await intake.begin(source or found.place)
    try:
        staging = FolderImporter(intake, found.sources, examined, progress, replace=replace)
        outcomes = await staging.run()
        new = not all(outcome.known for outcome in outcomes)
        await (intake.publish() if new else intake.abort())
    except BaseException:
        await intake.abort()
        raise
    for stray in found.strays:
        LOG.log(
            logging.WARNING if stray.data else logging.INFO,
            "%s is not imported: %s",
            escape_for_terminal(stray.name),
            escape_for_terminal(stray.reason),
        )
    seconds = perf_counter() - began
    return ImportReport(
        number if new else None, outcomes, found.strays, seconds, replaced=staging.replaced
    )


async def undo_import(number: int, intake: ImportSession) -> tuple[int, str]:
    """Undo an import; return the number of the undo, and the source of the undone import.

    Raises a `StoreError`; nothing has changed then.
    """
    own = await intake.begin(f"undo of import {number}")
    try:
        source = await intake.undo(number)
        await intake.publish()
    except BaseException:
        await intake.abort()
        raise
    return own, source


class FolderImporter:
    """An import under way."""

    def __init__(
        self,
        intake: ImportSession,
        sources: Sequence[SourceFile],
        examined: dict[str, SourceFileInfo],
        progress: ProgressCallback,
        *,
        replace: bool = False,
    ) -> None:
        self.replaced: ReplacedStats | None = None
        self._replace = replace
        self._intake = intake
        self._sources = sources
        self._examined = examined
        self._progress = progress
        self._done, self._total = 0, sum(source.size for source in sources)
        if replace:  # needs the campaigns in them first
            self._total += sum(
                source.size for source in sources if source.kind in KINDS_WITH_CAMPAIGN
            )
        self._tally = BannerStatsAggregator()
        self._rejects: list[RowRejection] = []
        self._takers = {
            "clicks": self._clicks,
            "conversions": self._conversions,
            "impressions": self._impressions,
            "targets": self._targets,
            "image": self._image,
        }

    async def run(self) -> list[FileImportReport]:
        """Stage all files; their outcomes in the order of the sources."""
        self._progress(0, self._total)
        if self._replace:
            slots = sorted(
                {source.slot for source in self._sources if source.kind in IMPORTED_ONCE_KINDS}
            )
            campaigns = sorted(await self._campaigns())
            if not campaigns:
                raise StoreRefused(
                    "nothing to replace: no row of impressions or clicks names a campaign"
                )
            self.replaced = await self._intake.replace(slots, campaigns)
        # The same content in another slot is another file.
        files = [(self._sha256(each), each.path.name) for each in self._sources]
        known = dict(zip(self._sources, await self._intake.known(files), strict=True))
        outcomes: dict[str, FileImportReport] = {}
        for source in sorted(self._sources, key=lambda source: IMPORT_ORDER.index(source.kind)):
            outcomes[source.name] = await self._file(source, known[source])
        await self._flush()
        return [outcomes[source.name] for source in self._sources]

    async def _campaigns(self) -> set[int]:
        """The campaigns that rows of impressions and clicks name."""
        found: set[int] = set()
        for source in self._sources:
            if source.kind in KINDS_WITH_CAMPAIGN:
                parse = row_parser(source.kind, self._layout(source))
                for batch in self._batches(source):
                    for line in set(batch.lines):
                        with contextlib.suppress(CsvRowError):
                            found.add(parse(line)[-1])
                    await asyncio.sleep(0)
        return found

    async def _file(self, source: SourceFile, known: int | None) -> FileImportReport:
        began, outcome = perf_counter(), FileImportReport(source.name)
        if known is not None and source.kind in IMPORTED_ONCE_KINDS and not self._replace:
            outcome.known, outcome.read, outcome.duplicate = True, known, known
            self._advance(source.size)
            return outcome
        await self._takers[source.kind](source, outcome)
        await self._send_rejects()
        if outcome.rejected > MAX_LOGGED_REJECTED:
            LOG.warning(
                "%s: %d more rows rejected", source.name, outcome.rejected - MAX_LOGGED_REJECTED
            )
        outcome.known = known is not None and not outcome.stored and not self._replace
        await self._intake.file(
            StagedFile(
                source.name,
                self._sha256(source),
                outcome.read,
                outcome.stored,
                outcome.duplicate,
                outcome.rejected,
            )
        )
        outcome.seconds = perf_counter() - began
        return outcome

    async def _clicks(self, source: SourceFile, outcome: FileImportReport) -> None:
        parse = row_parser("clicks", self._layout(source))
        for batch in self._batches(source):
            rows, _ = await self._parse(batch, parse, source, outcome)
            duplicates = set(await self._intake.clicks(source.slot, rows))
            for position, (_, banner, campaign) in enumerate(rows):
                if position not in duplicates:
                    self._tally.click(source.slot, campaign, banner)
            outcome.duplicate += len(duplicates)
            outcome.stored += len(rows) - len(duplicates)
            await self._flush(MAX_BUFFERED_ROWS)

    async def _conversions(self, source: SourceFile, outcome: FileImportReport) -> None:
        parse = row_parser("conversions", self._layout(source))
        for batch in self._batches(source):
            rows, lines = await self._parse(batch, parse, source, outcome)
            landings = await self._intake.conversions(source.slot, rows)
            for row, line, landing in zip(rows, lines, landings, strict=True):
                if landing == "duplicate":
                    outcome.duplicate += 1
                elif landing == "unknown":
                    reason = f"click {row[1]} is not known"
                    await self._reject(source, outcome, line, reason, batch)
                else:
                    campaign, banner = landing
                    self._tally.conversion(source.slot, campaign, banner, row[2])
                    outcome.stored += 1
            await self._flush(MAX_BUFFERED_ROWS)

    async def _impressions(self, source: SourceFile, outcome: FileImportReport) -> None:
        parse = row_parser("impressions", self._layout(source))
        # The same line comes again and again: each is parsed once and counted at C's speed.
        parsed: dict[bytes, tuple[int, int]] = {}
        counts: Counter[bytes] = Counter()
        for batch in self._batches(source):
            bad: dict[bytes, str] = {}
            for line in set(batch.lines).difference(parsed):
                try:
                    parsed[line] = parse(line)
                except CsvRowError as error:
                    bad[line] = str(error)
            counts.update(batch.lines)
            for number, line in enumerate(batch.lines, batch.first) if bad else ():
                if line in bad and not is_blank(line):
                    outcome.read += 1
                    await self._reject(source, outcome, number, bad[line], batch)
            for line in bad:
                del counts[line]
            if len(counts) > MAX_BUFFERED_ROWS:
                self._count(source.slot, parsed, counts, outcome)
                await self._flush(MAX_BUFFERED_ROWS)
        self._count(source.slot, parsed, counts, outcome)
        await self._flush(MAX_BUFFERED_ROWS)

    def _count(
        self,
        slot: int,
        parsed: dict[bytes, tuple[int, int]],
        counts: Counter[bytes],
        outcome: FileImportReport,
    ) -> None:
        for line, count in counts.items():
            banner, campaign = parsed[line]
            self._tally.impressions(slot, campaign, banner, count)
            outcome.read += count
            outcome.stored += count
        parsed.clear()
        counts.clear()

    async def _targets(self, source: SourceFile, outcome: FileImportReport) -> None:
        parse = row_parser("targets", self._layout(source))
        for batch in self._batches(source):
            rows, lines = await self._parse(batch, parse, source, outcome)
            verdicts = await self._intake.targets(rows)
            for row, line, verdict in zip(rows, lines, verdicts, strict=True):
                if verdict == "conflict":
                    reason = f"this import has another target for banner {row[0]}"
                    await self._reject(source, outcome, line, reason, batch)
                elif verdict == "duplicate":
                    outcome.duplicate += 1
                else:
                    outcome.stored += 1

    async def _image(self, source: SourceFile, outcome: FileImportReport) -> None:
        outcome.read = 1
        if source.size > MAX_IMAGE_BYTES:
            reason = f"is larger than {MAX_IMAGE_BYTES // 1024 // 1024} MB"
        else:
            body = _read_file(source)
            if hashlib.sha256(body).digest() != self._sha256(source):
                raise StoreRefused(f"{source.name} changed while it was read: import again")
            if image_type(body) is None:
                reason = unsupported_image_reason(body)
            else:
                verdict = await self._intake.image(source.banner, body)
                outcome.stored = int(verdict == "stored")
                outcome.duplicate = int(verdict == "duplicate")
                reason = f"this import has another image for banner {source.banner}"
        self._advance(source.size)
        if not outcome.stored and not outcome.duplicate:
            outcome.taken = False
            await self._reject(source, outcome, 0, reason, None)

    def _sha256(self, source: SourceFile) -> bytes:
        return self._examined[source.name].sha256

    def _layout(self, source: SourceFile) -> CsvLayout:
        found = self._examined[source.name].layout
        assert found is not None
        return found

    def _batches(self, source: SourceFile) -> Iterator[LineBatch]:
        """The rows of a file, without its header; it must be what `examine` saw."""
        digest, found = hashlib.sha256(), self._layout(source)
        if found.delimiter != b",":
            LOG.info("%s is separated by %s", source.name, DELIMITERS[found.delimiter])
        try:
            with source.path.open("rb") as file:
                for batch in read_line_batches(file, source.name, digest):
                    yield batch.after(found.line)
                    self._advance(batch.size)
        except OSError as error:
            raise StoreRefused(f"{source.name} cannot be read: {error.strerror}") from None
        if digest.digest() != self._sha256(source):
            raise StoreRefused(f"{source.name} changed while it was read: import again")

    async def _parse(
        self,
        batch: LineBatch,
        parse: Callable[[bytes], Any],
        source: SourceFile,
        outcome: FileImportReport,
    ) -> tuple[list[Any], list[int]]:
        """The batch's good rows and their lines' numbers."""
        rows, lines = [], []
        for number, line in enumerate(batch.lines, batch.first):
            try:
                rows.append(parse(line))
                lines.append(number)
            except CsvRowError as error:
                if not is_blank(line):
                    outcome.read += 1
                    await self._reject(source, outcome, number, str(error), batch)
        outcome.read += len(rows)
        return rows, lines

    async def _reject(
        self,
        source: SourceFile,
        outcome: FileImportReport,
        number: int,
        reason: str,
        batch: LineBatch | None,
    ) -> None:
        row = batch.lines[number - batch.first].decode() if batch else ""
        outcome.rejected += 1
        if outcome.rejected <= MAX_LOGGED_REJECTED:
            where = f"{source.name}, line {number}" if number else source.name
            LOG.warning("%s: %s: %r", where, reason, row[:200])
        self._rejects.append(RowRejection(source.name, number, reason, row[:MAX_REJECTED_CHARS]))
        if len(self._rejects) >= REJECTED_BATCH_ROWS:
            await self._send_rejects()

    async def _send_rejects(self) -> None:
        rejects, self._rejects = self._rejects, []
        if rejects:
            await self._intake.rejects(rejects)

    async def _flush(self, held: int = 0) -> None:
        """Hand over the figures if there are more than `held`."""
        if len(self._tally) > held:
            rows = self._tally.take()
            for start in range(0, len(rows), STATS_BATCH_ROWS):
                await self._intake.figures(rows[start : start + STATS_BATCH_ROWS])

    def _advance(self, size: int) -> None:
        self._done += size
        self._progress(self._done, self._total)


def _read_file(source: SourceFile) -> bytes:
    try:
        return source.path.read_bytes()
    except OSError as error:
        raise StoreRefused(f"{source.name} cannot be read: {error.strerror}") from None

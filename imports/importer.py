"""Import of a folder: parse its files and stage their rows in an `ImportSession`.

The importing process parses the rows; it need not be the server.
"""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from domain.banners.image_types import image_type, unsupported_image_reason
from domain.common.csv_rows import CsvRowError, is_blank, row_parser
from domain.common.formatting import escape_for_terminal
from imports.import_aggregator import BannerStatsAggregator
from imports.import_report import FileImportReport, ImportReport
from imports.import_scan import SourceFile, SourceFileInfo, inspect_file, scan_folder
from imports.line_reader import LineBatch
from imports.rejection_buffer import RejectionBuffer
from imports.source_reader import ProgressCallback, SourceReader
from store.api.errors import StoreRefused
from store.api.import_session import MAX_IMAGE_BYTES, ImportSession, ReplacedStats, StagedFile

LOG = logging.getLogger("marquee.import")

# Conversions need the clicks of all slots.
IMPORT_ORDER = ("clicks", "conversions", "impressions", "targets", "image")
# Kinds of files that are skipped if they were imported before. Targets and images are not: a banner
# may return to an earlier one.
IMPORTED_ONCE_KINDS = {"clicks", "conversions", "impressions"}
# Kinds of files whose rows name a campaign, in their last column.
KINDS_WITH_CAMPAIGN = {"clicks", "impressions"}
# Maximum number of stats rows, and of distinct lines of impressions, in memory.
MAX_BUFFERED_ROWS = 50_000
STATS_BATCH_ROWS = 4_000


async def import_folder(
    folder: Path,
    session: ImportSession,
    on_progress: ProgressCallback = lambda done, total: None,
    source: str | None = None,
    *,
    replace: bool = False,
) -> ImportReport:
    """Import `folder`; call `on_progress` with the bytes read and their total.

    `source` is shown in the list of imports, by default the folder. With `replace`, the import
    replaces all stats of its slots and of the campaigns in its impressions and clicks.

    Raises `StoreRefused` for an invalid folder or file, and the errors of the session; nothing was
    changed then.
    """
    started = perf_counter()
    scan = scan_folder(folder)
    infos = {source.name: inspect_file(source) for source in scan.sources}
    number = await session.begin(source or scan.source_name)
    try:
        importer = FolderImporter(session, scan.sources, infos, on_progress, replace=replace)
        reports = await importer.run()
        is_new = not all(report.known for report in reports)
        await (session.publish() if is_new else session.abort())
    except BaseException:
        await session.abort()
        raise
    for file in scan.ignored:
        LOG.log(
            logging.WARNING if file.data else logging.INFO,
            "%s is not imported: %s",
            escape_for_terminal(file.name),
            escape_for_terminal(file.reason),
        )
    seconds = perf_counter() - started
    return ImportReport(
        number if is_new else None, reports, scan.ignored, seconds, replaced=importer.replaced
    )


async def undo_import(number: int, session: ImportSession) -> tuple[int, str]:
    """Undo an import; return the number of the undo, and the source of the undone import.

    Raises a `StoreError`; nothing was changed then.
    """
    undo_number = await session.begin(f"undo of import {number}")
    try:
        source = await session.undo(number)
        await session.publish()
    except BaseException:
        await session.abort()
        raise
    return undo_number, source


class FolderImporter:
    """Stages the files of one import."""

    def __init__(
        self,
        session: ImportSession,
        sources: Sequence[SourceFile],
        infos: dict[str, SourceFileInfo],
        on_progress: ProgressCallback,
        *,
        replace: bool = False,
    ) -> None:
        """`infos` are the inspected sources by name."""
        self.replaced: ReplacedStats | None = None
        self._replace = replace
        self._session = session
        self._sources = sources
        total = sum(source.size for source in sources)
        if replace:  # these files are read twice, first for their campaigns
            total += sum(source.size for source in sources if source.kind in KINDS_WITH_CAMPAIGN)
        self._reader = SourceReader(infos, total, on_progress)
        self._stats = BannerStatsAggregator()
        self._rejections = RejectionBuffer(session)
        self._importers = {
            "clicks": self._import_clicks,
            "conversions": self._import_conversions,
            "impressions": self._import_impressions,
            "targets": self._import_targets,
            "image": self._import_image,
        }

    async def run(self) -> list[FileImportReport]:
        """Stage all files; return their reports in the order of the sources."""
        if self._replace:
            slots = sorted(
                {source.slot for source in self._sources if source.kind in IMPORTED_ONCE_KINDS}
            )
            campaigns = sorted(await self._find_campaigns())
            if not campaigns:
                raise StoreRefused(
                    "nothing to replace: no row of impressions or clicks names a campaign"
                )
            self.replaced = await self._session.replace(slots, campaigns)
        # The name is part of the key: the same content in another slot is another file.
        files = [(self._reader.sha256(source), source.path.name) for source in self._sources]
        imported = await self._session.find_imported(files)
        imported_rows = dict(zip(self._sources, imported, strict=True))
        reports: dict[str, FileImportReport] = {}
        for source in sorted(self._sources, key=lambda source: IMPORT_ORDER.index(source.kind)):
            reports[source.name] = await self._import_file(source, imported_rows[source])
        await self._flush_stats()
        return [reports[source.name] for source in self._sources]

    async def _find_campaigns(self) -> set[int]:
        """Return the campaigns of all rows of impressions and clicks."""
        campaigns: set[int] = set()
        for source in self._sources:
            if source.kind in KINDS_WITH_CAMPAIGN:
                parse = row_parser(source.kind, self._reader.layout(source))
                for batch in self._reader.read_batches(source):
                    for line in set(batch.lines):
                        with contextlib.suppress(CsvRowError):
                            campaigns.add(parse(line)[-1])
                    await asyncio.sleep(0)
        return campaigns

    async def _import_file(self, source: SourceFile, imported_rows: int | None) -> FileImportReport:
        """Stage a file, which had `imported_rows` if it was imported before."""
        started, report = perf_counter(), FileImportReport(source.name)
        if imported_rows is not None and source.kind in IMPORTED_ONCE_KINDS and not self._replace:
            report.known, report.read, report.duplicate = True, imported_rows, imported_rows
            self._reader.advance(source.size)
            return report
        await self._importers[source.kind](source, report)
        await self._rejections.end_file(report)
        report.known = imported_rows is not None and not report.stored and not self._replace
        await self._session.add_file(
            StagedFile(
                source.name,
                self._reader.sha256(source),
                report.read,
                report.stored,
                report.duplicate,
                report.rejected,
            )
        )
        report.seconds = perf_counter() - started
        return report

    async def _import_clicks(self, source: SourceFile, report: FileImportReport) -> None:
        parse = row_parser("clicks", self._reader.layout(source))
        for batch in self._reader.read_batches(source):
            rows, _ = await self._parse(batch, parse, report)
            duplicates = set(await self._session.add_clicks(source.slot, rows))
            for position, (_, banner, campaign) in enumerate(rows):
                if position not in duplicates:
                    self._stats.add_click(source.slot, campaign, banner)
            report.duplicate += len(duplicates)
            report.stored += len(rows) - len(duplicates)
            await self._flush_stats(MAX_BUFFERED_ROWS)

    async def _import_conversions(self, source: SourceFile, report: FileImportReport) -> None:
        parse = row_parser("conversions", self._reader.layout(source))
        for batch in self._reader.read_batches(source):
            rows, lines = await self._parse(batch, parse, report)
            outcomes = await self._session.add_conversions(source.slot, rows)
            for row, line, outcome in zip(rows, lines, outcomes, strict=True):
                if outcome == "duplicate":
                    report.duplicate += 1
                elif outcome == "unknown":
                    reason = f"click {row[1]} is not known"
                    await self._rejections.add(report, line, reason, batch)
                else:
                    campaign, banner = outcome
                    self._stats.add_conversion(source.slot, campaign, banner, row[2])
                    report.stored += 1
            await self._flush_stats(MAX_BUFFERED_ROWS)

    async def _import_impressions(self, source: SourceFile, report: FileImportReport) -> None:
        parse = row_parser("impressions", self._reader.layout(source))
        # Most lines repeat: parsing each distinct line once and counting it in C is faster.
        parsed: dict[bytes, tuple[int, int]] = {}
        counts: Counter[bytes] = Counter()
        for batch in self._reader.read_batches(source):
            reasons: dict[bytes, str] = {}
            for line in set(batch.lines).difference(parsed):
                try:
                    parsed[line] = parse(line)
                except CsvRowError as error:
                    reasons[line] = str(error)
            counts.update(batch.lines)
            for number, line in enumerate(batch.lines, batch.first) if reasons else ():
                if line in reasons and not is_blank(line):
                    report.read += 1
                    await self._rejections.add(report, number, reasons[line], batch)
            for line in reasons:
                del counts[line]
            if len(counts) > MAX_BUFFERED_ROWS:
                self._add_impressions(source.slot, parsed, counts, report)
                await self._flush_stats(MAX_BUFFERED_ROWS)
        self._add_impressions(source.slot, parsed, counts, report)
        await self._flush_stats(MAX_BUFFERED_ROWS)

    def _add_impressions(
        self,
        slot: int,
        parsed: dict[bytes, tuple[int, int]],
        counts: Counter[bytes],
        report: FileImportReport,
    ) -> None:
        """Add the counted lines to the stats and clear both buffers."""
        for line, count in counts.items():
            banner, campaign = parsed[line]
            self._stats.add_impressions(slot, campaign, banner, count)
            report.read += count
            report.stored += count
        parsed.clear()
        counts.clear()

    async def _import_targets(self, source: SourceFile, report: FileImportReport) -> None:
        parse = row_parser("targets", self._reader.layout(source))
        for batch in self._reader.read_batches(source):
            rows, lines = await self._parse(batch, parse, report)
            outcomes = await self._session.add_targets(rows)
            for row, line, outcome in zip(rows, lines, outcomes, strict=True):
                if outcome == "conflict":
                    reason = f"this import has another target for banner {row[0]}"
                    await self._rejections.add(report, line, reason, batch)
                elif outcome == "duplicate":
                    report.duplicate += 1
                else:
                    report.stored += 1

    async def _import_image(self, source: SourceFile, report: FileImportReport) -> None:
        report.read = 1
        if source.size > MAX_IMAGE_BYTES:
            reason = f"is larger than {MAX_IMAGE_BYTES // 1024 // 1024} MB"
        else:
            body = self._reader.read_image(source)
            if image_type(body) is None:
                reason = unsupported_image_reason(body)
            else:
                outcome = await self._session.add_image(source.banner, body)
                report.stored = int(outcome == "stored")
                report.duplicate = int(outcome == "duplicate")
                reason = f"this import has another image for banner {source.banner}"
        self._reader.advance(source.size)
        if not report.stored and not report.duplicate:
            report.taken = False
            await self._rejections.add(report, 0, reason)

    async def _parse(
        self, batch: LineBatch, parse: Callable[[bytes], Any], report: FileImportReport
    ) -> tuple[list[Any], list[int]]:
        """Return the batch's valid rows and their line numbers; reject the others."""
        rows, lines = [], []
        for number, line in enumerate(batch.lines, batch.first):
            try:
                rows.append(parse(line))
                lines.append(number)
            except CsvRowError as error:
                if not is_blank(line):
                    report.read += 1
                    await self._rejections.add(report, number, str(error), batch)
        report.read += len(rows)
        return rows, lines

    async def _flush_stats(self, max_buffered: int = 0) -> None:
        """Send the stats to the session if there are more than `max_buffered` rows."""
        if len(self._stats) > max_buffered:
            rows = self._stats.take()
            for start in range(0, len(rows), STATS_BATCH_ROWS):
                await self._session.add_stats(rows[start : start + STATS_BATCH_ROWS])

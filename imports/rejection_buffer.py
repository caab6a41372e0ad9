"""Rejected rows of an import, sent to its session in batches."""

import logging

from imports.import_report import FileImportReport
from imports.line_reader import LineBatch
from store.api.import_session import ImportSession, RowRejection

LOG = logging.getLogger("marquee.import")

BATCH_ROWS = 500
# Maximum number of rejected rows per file that are logged.
MAX_LOGGED_ROWS = 20
# Maximum length of a stored row, in characters.
MAX_ROW_CHARS = 4_096


class RejectionBuffer:
    """Counts, logs and sends rejected rows."""

    def __init__(self, session: ImportSession) -> None:
        self._session = session
        self._rejections: list[RowRejection] = []

    async def add(
        self, report: FileImportReport, line: int, reason: str, batch: LineBatch | None = None
    ) -> None:
        """Reject a line of `batch`; without a batch, `line` is 0 and the whole file is rejected."""
        row = batch.lines[line - batch.first].decode() if batch else ""
        report.rejected += 1
        if report.rejected <= MAX_LOGGED_ROWS:
            location = f"{report.name}, line {line}" if line else report.name
            LOG.warning("%s: %s: %r", location, reason, row[:200])
        self._rejections.append(RowRejection(report.name, line, reason, row[:MAX_ROW_CHARS]))
        if len(self._rejections) >= BATCH_ROWS:
            await self._flush()

    async def end_file(self, report: FileImportReport) -> None:
        """Send the remaining rows of a file and log how many were not logged."""
        await self._flush()
        if report.rejected > MAX_LOGGED_ROWS:
            LOG.warning("%s: %d more rows rejected", report.name, report.rejected - MAX_LOGGED_ROWS)

    async def _flush(self) -> None:
        rejections, self._rejections = self._rejections, []
        if rejections:
            await self._session.add_rejections(rejections)

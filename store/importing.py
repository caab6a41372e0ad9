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

from rules.image_types import image_type, why_not
from rules.rows import DELIMITERS, Layout, RowError, is_blank, parser
from rules.words import inert
from store.errors import StoreRefused
from store.intake import LARGEST_IMAGE, Intake, Reject, Replaced, Taken
from store.lines import Batch, batches
from store.outcome import Outcome, Result
from store.survey import Examined, Source, examine, survey
from store.tally import Tally

LOG = logging.getLogger("marquee.import")

Progress = Callable[[int, int], None]

# Conversions need the clicks of all slots.
ORDER = ("clicks", "conversions", "impressions", "targets", "image")
# Of these, one that was imported before is not read again. A banner's target or image may go
# back to what it once was.
ONCE = {"clicks", "conversions", "impressions"}
# Files whose rows name a campaign, in their last column.
NAMING = {"clicks", "impressions"}
# Figures, and different lines of impressions, that are held in memory.
HELD = 50_000
# How much goes to the intake at once.
FIGURES, REJECTS = 4_000, 500
# Rejects of a file that are logged one by one, and how much of a row is kept, in characters.
LOGGED, KEPT = 20, 4_096


async def import_folder(
    folder: Path,
    intake: Intake,
    progress: Progress = lambda done, total: None,
    source: str | None = None,
    *,
    replace: bool = False,
) -> Result:
    """Import what `folder` holds; `progress` is told how many bytes were read, of how many.

    `source` is where it is said to come from, if not from the folder. With `replace` the folder is
    the whole truth for its slots and the campaigns that its impressions and clicks name.

    Raises `StoreRefused` if the folder or a file in it is not what it should be, and what the
    intake raises; nothing has changed then.
    """
    began = perf_counter()
    found = survey(folder)
    examined = {source.name: examine(source) for source in found.sources}
    number = await intake.begin(source or found.place)
    try:
        staging = Import(intake, found.sources, examined, progress, replace=replace)
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
            inert(stray.name),
            inert(stray.reason),
        )
    seconds = perf_counter() - began
    return Result(
        number if new else None, outcomes, found.strays, seconds, replaced=staging.replaced
    )


async def undo_import(number: int, intake: Intake) -> tuple[int, str]:
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


class Import:
    """An import under way."""

    def __init__(
        self,
        intake: Intake,
        sources: Sequence[Source],
        examined: dict[str, Examined],
        progress: Progress,
        *,
        replace: bool = False,
    ) -> None:
        self.replaced: Replaced | None = None
        self._replace = replace
        self._intake = intake
        self._sources = sources
        self._examined = examined
        self._progress = progress
        self._done, self._total = 0, sum(source.size for source in sources)
        if replace:  # needs the campaigns in them first
            self._total += sum(source.size for source in sources if source.kind in NAMING)
        self._tally = Tally()
        self._rejects: list[Reject] = []
        self._takers = {
            "clicks": self._clicks,
            "conversions": self._conversions,
            "impressions": self._impressions,
            "targets": self._targets,
            "image": self._image,
        }

    async def run(self) -> list[Outcome]:
        """Stage all files; their outcomes in the order of the sources."""
        self._progress(0, self._total)
        if self._replace:
            slots = sorted({source.slot for source in self._sources if source.kind in ONCE})
            campaigns = sorted(await self._campaigns())
            if not campaigns:
                raise StoreRefused(
                    "nothing to replace: no row of impressions or clicks names a campaign"
                )
            self.replaced = await self._intake.replace(slots, campaigns)
        # The same content in another slot is another file.
        files = [(self._sha256(each), each.path.name) for each in self._sources]
        known = dict(zip(self._sources, await self._intake.known(files), strict=True))
        outcomes: dict[str, Outcome] = {}
        for source in sorted(self._sources, key=lambda source: ORDER.index(source.kind)):
            outcomes[source.name] = await self._file(source, known[source])
        await self._flush()
        return [outcomes[source.name] for source in self._sources]

    async def _campaigns(self) -> set[int]:
        """The campaigns that rows of impressions and clicks name."""
        found: set[int] = set()
        for source in self._sources:
            if source.kind in NAMING:
                parse = parser(source.kind, self._layout(source))
                for batch in self._batches(source):
                    for line in set(batch.lines):
                        with contextlib.suppress(RowError):
                            found.add(parse(line)[-1])
                    await asyncio.sleep(0)
        return found

    async def _file(self, source: Source, known: int | None) -> Outcome:
        began, outcome = perf_counter(), Outcome(source.name)
        if known is not None and source.kind in ONCE and not self._replace:
            outcome.known, outcome.read, outcome.duplicate = True, known, known
            self._advance(source.size)
            return outcome
        await self._takers[source.kind](source, outcome)
        await self._send_rejects()
        if outcome.rejected > LOGGED:
            LOG.warning("%s: %d more rows rejected", source.name, outcome.rejected - LOGGED)
        outcome.known = known is not None and not outcome.stored and not self._replace
        await self._intake.file(
            Taken(
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

    async def _clicks(self, source: Source, outcome: Outcome) -> None:
        parse = parser("clicks", self._layout(source))
        for batch in self._batches(source):
            rows, _ = await self._parse(batch, parse, source, outcome)
            duplicates = set(await self._intake.clicks(source.slot, rows))
            for position, (_, banner, campaign) in enumerate(rows):
                if position not in duplicates:
                    self._tally.click(source.slot, campaign, banner)
            outcome.duplicate += len(duplicates)
            outcome.stored += len(rows) - len(duplicates)
            await self._flush(HELD)

    async def _conversions(self, source: Source, outcome: Outcome) -> None:
        parse = parser("conversions", self._layout(source))
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
            await self._flush(HELD)

    async def _impressions(self, source: Source, outcome: Outcome) -> None:
        parse = parser("impressions", self._layout(source))
        # The same line comes again and again: each is parsed once and counted at C's speed.
        parsed: dict[bytes, tuple[int, int]] = {}
        counts: Counter[bytes] = Counter()
        for batch in self._batches(source):
            bad: dict[bytes, str] = {}
            for line in set(batch.lines).difference(parsed):
                try:
                    parsed[line] = parse(line)
                except RowError as error:
                    bad[line] = str(error)
            counts.update(batch.lines)
            for number, line in enumerate(batch.lines, batch.first) if bad else ():
                if line in bad and not is_blank(line):
                    outcome.read += 1
                    await self._reject(source, outcome, number, bad[line], batch)
            for line in bad:
                del counts[line]
            if len(counts) > HELD:
                self._count(source.slot, parsed, counts, outcome)
                await self._flush(HELD)
        self._count(source.slot, parsed, counts, outcome)
        await self._flush(HELD)

    def _count(
        self,
        slot: int,
        parsed: dict[bytes, tuple[int, int]],
        counts: Counter[bytes],
        outcome: Outcome,
    ) -> None:
        for line, count in counts.items():
            banner, campaign = parsed[line]
            self._tally.impressions(slot, campaign, banner, count)
            outcome.read += count
            outcome.stored += count
        parsed.clear()
        counts.clear()

    async def _targets(self, source: Source, outcome: Outcome) -> None:
        parse = parser("targets", self._layout(source))
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

    async def _image(self, source: Source, outcome: Outcome) -> None:
        outcome.read = 1
        if source.size > LARGEST_IMAGE:
            reason = f"is larger than {LARGEST_IMAGE // 1024 // 1024} MB"
        else:
            body = _bytes(source)
            if hashlib.sha256(body).digest() != self._sha256(source):
                raise StoreRefused(f"{source.name} changed while it was read: import again")
            if image_type(body) is None:
                reason = why_not(body)
            else:
                verdict = await self._intake.image(source.banner, body)
                outcome.stored = int(verdict == "stored")
                outcome.duplicate = int(verdict == "duplicate")
                reason = f"this import has another image for banner {source.banner}"
        self._advance(source.size)
        if not outcome.stored and not outcome.duplicate:
            outcome.taken = False
            await self._reject(source, outcome, 0, reason, None)

    def _sha256(self, source: Source) -> bytes:
        return self._examined[source.name].sha256

    def _layout(self, source: Source) -> Layout:
        found = self._examined[source.name].layout
        assert found is not None
        return found

    def _batches(self, source: Source) -> Iterator[Batch]:
        """The rows of a file, without its header; it must be what `examine` saw."""
        digest, found = hashlib.sha256(), self._layout(source)
        if found.delimiter != b",":
            LOG.info("%s is separated by %s", source.name, DELIMITERS[found.delimiter])
        try:
            with source.path.open("rb") as file:
                for batch in batches(file, source.name, digest):
                    yield batch.after(found.line)
                    self._advance(batch.size)
        except OSError as error:
            raise StoreRefused(f"{source.name} cannot be read: {error.strerror}") from None
        if digest.digest() != self._sha256(source):
            raise StoreRefused(f"{source.name} changed while it was read: import again")

    async def _parse(
        self, batch: Batch, parse: Callable[[bytes], Any], source: Source, outcome: Outcome
    ) -> tuple[list[Any], list[int]]:
        """The batch's good rows and their lines' numbers."""
        rows, lines = [], []
        for number, line in enumerate(batch.lines, batch.first):
            try:
                rows.append(parse(line))
                lines.append(number)
            except RowError as error:
                if not is_blank(line):
                    outcome.read += 1
                    await self._reject(source, outcome, number, str(error), batch)
        outcome.read += len(rows)
        return rows, lines

    async def _reject(
        self, source: Source, outcome: Outcome, number: int, reason: str, batch: Batch | None
    ) -> None:
        row = batch.lines[number - batch.first].decode() if batch else ""
        outcome.rejected += 1
        if outcome.rejected <= LOGGED:
            where = f"{source.name}, line {number}" if number else source.name
            LOG.warning("%s: %s: %r", where, reason, row[:200])
        self._rejects.append(Reject(source.name, number, reason, row[:KEPT]))
        if len(self._rejects) >= REJECTS:
            await self._send_rejects()

    async def _send_rejects(self) -> None:
        rejects, self._rejects = self._rejects, []
        if rejects:
            await self._intake.rejects(rejects)

    async def _flush(self, held: int = 0) -> None:
        """Hand over the figures if there are more than `held`."""
        if len(self._tally) > held:
            rows = self._tally.take()
            for start in range(0, len(rows), FIGURES):
                await self._intake.figures(rows[start : start + FIGURES])

    def _advance(self, size: int) -> None:
        self._done += size
        self._progress(self._done, self._total)


def _bytes(source: Source) -> bytes:
    try:
        return source.path.read_bytes()
    except OSError as error:
        raise StoreRefused(f"{source.name} cannot be read: {error.strerror}") from None

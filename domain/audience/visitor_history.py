"""How many visitors the pages of a host had of late, in columns: a number for each page.

Ten thousand pages are read in some milliseconds, so what is done for all of them is done to whole
columns. Totals rise with each reading, and are marked now and then; the average between two marks
is the difference of their totals.
"""

from array import array
from collections import deque
from collections.abc import Mapping
from heapq import nlargest
from itertools import chain, compress, pairwise, repeat
from operator import add, gt, sub
from typing import NamedTuple

from domain.audience.seasonal_baseline import NO_SEASONAL_BASELINE, SeasonalBaseline
from domain.audience.trend_score import (
    FALLING,
    GONE,
    NEW,
    RISING,
    RISING_THRESHOLD,
    STEADY,
    TrendAssessment,
    assess_trend,
    independent_readings,
)

DEFAULT_WINDOW_SECONDS, MIN_WINDOW_SECONDS, MAX_WINDOW_SECONDS = 300, 60, 3_600
# Length of the period before the window that gives the expected visitors.
COMPARISON_SECONDS = 900
# Gap between readings after which earlier ones are discarded.
MAX_READING_GAP_SECONDS = 600
MINUTE_SECONDS = 60
# Time during which every reading makes a mark, so that trends are available early.
DENSE_MARKS_SECONDS = 120
# Maximum time that a reading covers.
MAX_READING_SECONDS = 30.0
# Further pages are not tracked.
MAX_TRACKED_PAGES = 20_000
# With fewer minutes, a series uses every mark.
MIN_SERIES_MINUTES = 4
# Windows whose comparison periods are cached.
MAX_CACHED_WINDOWS = 8


class CumulativeTotals(NamedTuple):
    """Totals of all pages up to a moment."""

    at: float
    covered: float  # seconds covered by readings
    readings: int
    totals: "array[int]"


class ComparisonPeriod(NamedTuple):
    """The period that a window is compared with."""

    begin: float
    end: float
    readings: int
    sums: list[int]
    looks: float
    # Its last minute, the base of the reported change.
    at: float
    last_readings: int
    last: list[int]


class MinuteTotals(NamedTuple):
    """A completed minute: visitors of each page, summed over its readings."""

    minute: int  # since 1970
    readings: int
    sums: dict[str, int]


class PageTrend(NamedTuple):
    """A page with its change and trend assessment."""

    path: str
    visitors: int
    change: int
    rate: float  # visitors a minute
    judged: TrendAssessment


class VisitorHistory:
    """Readings of one host; times are Unix times in seconds."""

    def __init__(self) -> None:
        self._begin(0.0)

    def _begin(self, at: float) -> None:
        self.paths: list[str] = []
        self._index: dict[str, int] = {}
        self._now: list[int] = []
        self._totals: list[int] = []
        self._readings = 0
        self._covered = 0.0
        self._first = self._last = at
        start = CumulativeTotals(at, 0.0, 0, array("Q"))
        self._marks = deque([start])
        self._minutes = deque([start])  # marks at the ends of minutes
        self._pasts: dict[int, tuple[CumulativeTotals, ComparisonPeriod]] = {}

    def add(self, visitors: Mapping[str, int], at: float) -> MinuteTotals | None:
        """Add a reading; return the previous minute if this reading completes it."""
        closed = None
        if self._last - MINUTE_SECONDS < at < self._last:
            at = self._last  # the clock was set back slightly
        if at - self._last > MAX_READING_GAP_SECONDS or at < self._last:
            closed = self.finish()
            self._begin(at)
        elif at // MINUTE_SECONDS > self._last // MINUTE_SECONDS:
            closed = self._close()
            self._forget(at)
        new = [path for path in visitors if path not in self._index]
        for path in new[: MAX_TRACKED_PAGES - len(self.paths)]:
            self._index[path] = len(self.paths)
            self.paths.append(path)
        self._totals.extend(repeat(0, len(self.paths) - len(self._totals)))
        self._now = list(map(visitors.get, self.paths, repeat(0)))
        self._totals = list(map(add, self._totals, self._now))
        self._readings += 1
        self._covered += min(at - self._last, MAX_READING_SECONDS)
        self._last = at
        if at - self._first < DENSE_MARKS_SECONDS:
            self._marks.append(self._mark(at))
        return closed

    def finish(self) -> MinuteTotals | None:
        """Return the current, incomplete minute, if it has readings, and reset."""
        closed = self._close() if self._readings > self._minutes[-1].readings else None
        self._begin(0.0)
        return closed

    def series(self, path: str, minutes: int) -> list[float]:
        """Return a page's average visitors in each of the last minutes, then its current visitors.

        While few minutes have passed, there is more than one value per minute.
        """
        place = self._index.get(path)
        if place is None:
            return []
        marks = list(self._minutes if len(self._minutes) > MIN_SERIES_MINUTES else self._marks)[
            -minutes - 1 :
        ]
        averages = [
            (_value_at(late.totals, place) - _value_at(early.totals, place))
            / (late.readings - early.readings)
            for early, late in pairwise(marks)
            if late.readings > early.readings
        ]
        return [*averages, self._now[place]]

    def rising(
        self,
        window: int = DEFAULT_WINDOW_SECONDS,
        *,
        limit: int,
        other_days: SeasonalBaseline = NO_SEASONAL_BASELINE,
        threshold: float = RISING_THRESHOLD,
    ) -> list[PageTrend]:
        """Return up to `limit` pages: gains, then losses, each by trend score; then the largest.

        The comparison period ends `window` seconds ago, or at half of a shorter history. The
        threshold must be at least 3.
        """
        past = self._past(window)
        if past is None:
            return [
                PageTrend(self.paths[place], visitors, 0, 0.0, assess_trend(visitors, None, 1.0))
                for place, visitors in self._largest(limit)
            ]
        count, bound = past.readings, past.readings * past.readings
        sums = chain(past.sums, repeat(0))
        # Pages closer to their average cannot reach the threshold without a seasonal baseline.
        places = {
            place
            for place, (visitors, total) in enumerate(zip(self._now, sums, strict=False))
            if (off := visitors * count - total) * off > bound * (5 * visitors - 15)
        }
        places.update(self._index[path] for path in other_days.paths if path in self._index)
        judged = {place: self._judge(place, past, other_days, threshold) for place in places}
        notable = [place for place, each in judged.items() if each.state != STEADY]
        notable.sort(key=lambda place: _trend_sort_key(judged[place]))
        rest = [place for place, _ in self._largest(limit) if place not in {*notable}]
        return [
            self._page(
                place, past, judged.get(place) or self._judge(place, past, other_days, threshold)
            )
            for place in [*notable, *rest][:limit]
        ]

    def _judge(
        self, place: int, past: ComparisonPeriod, other_days: SeasonalBaseline, threshold: float
    ) -> TrendAssessment:
        average = _value_at(past.sums, place) / past.readings
        days = other_days.usual(self.paths[place], past.begin, past.end, self._last)
        return assess_trend(self._now[place], average, past.looks, days, threshold)

    def _page(self, place: int, past: ComparisonPeriod, judged: TrendAssessment) -> PageTrend:
        visitors = self._now[place]
        change = visitors - _value_at(past.last, place) / past.last_readings
        minutes = max(self._last - past.at, 1.0) / MINUTE_SECONDS
        return PageTrend(
            self.paths[place], visitors, round(change), round(change / minutes, 2), judged
        )

    def _largest(self, limit: int) -> list[tuple[int, int]]:
        order = nlargest(limit, range(len(self._now)), key=self._now.__getitem__)
        return [(place, self._now[place]) for place in order if self._now[place]]

    def _past(self, window: int) -> ComparisonPeriod | None:
        # A short history is split in half: the first half is the comparison period.
        before = self._last - min(window, (self._last - self._first) / 2)
        ends = [mark for mark in self._marks if mark.readings and mark.at <= before]
        if not ends or before >= self._last:
            return None
        end = ends[-1]
        known = self._pasts.get(window)
        if known is not None and known[0] is end:
            return known[1]
        begin = next(mark for mark in self._marks if mark.at >= end.at - COMPARISON_SECONDS)
        if begin is end:
            begin = self._marks[0]
        previous = next(mark for mark in self._marks if mark.at >= end.at - MINUTE_SECONDS)
        if previous is end:
            previous = begin
        past = ComparisonPeriod(
            begin.at,
            end.at,
            end.readings - begin.readings,
            _totals_between(begin, end),
            independent_readings(end.covered - begin.covered),
            (previous.at + end.at) / 2,
            end.readings - previous.readings,
            _totals_between(previous, end),
        )
        if len(self._pasts) >= MAX_CACHED_WINDOWS:
            self._pasts.clear()
        self._pasts[window] = (end, past)
        return past

    def _mark(self, at: float) -> CumulativeTotals:
        return CumulativeTotals(at, self._covered, self._readings, array("Q", self._totals))

    def _close(self) -> MinuteTotals:
        minute = int(self._last // MINUTE_SECONDS)
        mark, before = self._mark((minute + 1) * MINUTE_SECONDS), self._minutes[-1]
        self._minutes.append(mark)
        self._marks.append(mark)
        sums = zip(self.paths, _totals_between(before, mark), strict=True)
        return MinuteTotals(
            minute,
            mark.readings - before.readings,
            {path: total for path, total in sums if total},
        )

    def _forget(self, at: float) -> None:
        """Drop marks beyond the longest window, and pages without visitors since."""
        horizon = at - MAX_WINDOW_SECONDS - COMPARISON_SECONDS - 2 * MINUTE_SECONDS
        for marks in (self._marks, self._minutes):
            while len(marks) > 1 and marks[1].at <= horizon:
                marks.popleft()
        if len(self.paths) < MAX_TRACKED_PAGES // 2:
            return
        idle = self._marks[0].totals
        kept = list(map(gt, self._totals, chain(idle, repeat(0))))
        if sum(kept) > len(kept) * 3 // 4:
            return
        self.paths = list(compress(self.paths, kept))
        self._index = {path: place for place, path in enumerate(self.paths)}
        self._totals = list(compress(self._totals, kept))
        moved = {
            id(mark): mark._replace(totals=array("Q", compress(mark.totals, kept)))
            for mark in (*self._marks, *self._minutes)
        }
        self._marks = deque(moved[id(mark)] for mark in self._marks)
        self._minutes = deque(moved[id(mark)] for mark in self._minutes)
        self._pasts.clear()


def _value_at(column: "array[int] | list[int]", place: int) -> int:
    """Return the value of a page; 0 if the column is older than the page."""
    return column[place] if place < len(column) else 0


def _totals_between(early: CumulativeTotals, late: CumulativeTotals) -> list[int]:
    return list(map(sub, late.totals, chain(early.totals, repeat(0))))


TREND_STATE_ORDER = {NEW: 0, RISING: 0, FALLING: 1, GONE: 1, STEADY: 2}


def _trend_sort_key(judged: TrendAssessment) -> tuple[int, float]:
    return TREND_STATE_ORDER[judged.state], -abs(judged.score)

"""How the pages of a host do: which gain and lose, since when, and as it happens."""

from collections.abc import Sequence
from time import time
from typing import Any

import msgspec

from handlers.watching import Audience, Watching, as_of
from loops.sampler import Watch
from rules.history import MINUTE
from rules.timestamp import MICROS, text
from store.audience import Audiences

HOST = r"([^/]{1,260})"
# Seconds of history that are told if nothing else is asked for, and at most.
SPAN, LONGEST_SPAN = 3 * 3600, 32 * 86_400


def routes(audience: Audience, kept: Audiences) -> list[Any]:
    """Where these are."""
    base = r"/api/v1/audience/" + HOST
    return [
        (base + "/rising", Rising, {"audience": audience}),
        (base + "/history", History, {"audience": audience, "kept": kept}),
        (base + "/stream", Stream, {"audience": audience}),
    ]


class Told(msgspec.Struct):
    """A page as it is answered."""

    path: str
    title: str
    visitors: int
    change: int
    rate: float
    expected: float | None
    score: float
    state: str


class List(msgspec.Struct):
    """All that is answered."""

    host: str
    window: int
    as_of: str
    age: float
    stale: bool
    pages: msgspec.Raw


class Rising(Watching):
    """`GET /api/v1/audience/{host}/rising`."""

    async def get(self, host: str) -> None:
        """The pages: what gains, most surprising first; what loses; then the largest."""
        window, limit = self.window(), self.pages()
        watch = await self.watched(host)
        self.set_header("Content-Type", "application/json")
        self.finish(self.told(watch, window, limit))

    def told(self, watch: Watch, window: int, limit: int) -> bytes:
        """The list as JSON."""
        sampler = self.audience.sampler
        age = max(0.0, round(sampler.age(watch), 1))
        pages = self._pages(watch, window, limit)
        return msgspec.json.encode(
            List(watch.host, window, as_of(watch), age, sampler.stale(watch), pages)
        )

    def _pages(self, watch: Watch, window: int, limit: int) -> msgspec.Raw:
        name = ("pages", window, limit)
        made: msgspec.Raw | None = watch.made.get(name)
        if made is None:
            titles = {} if watch.reading is None else watch.reading.titles
            rows = []
            for page in watch.rising(window, limit, self.audience.threshold):
                expected, score, state = page.judged
                rows.append(
                    Told(
                        page.path,
                        titles.get(page.path, page.path),
                        page.visitors,
                        page.change,
                        page.rate,
                        None if expected is None else round(expected, 1),
                        round(score, 2),
                        state,
                    )
                )
            made = msgspec.Raw(msgspec.json.encode(rows))
            watch.keep(name, made)
        return made


class Stream(Rising):
    """`GET /api/v1/audience/{host}/stream`."""

    async def get(self, host: str) -> None:
        """The same list with each reading, as server-sent events."""
        window, limit = self.window(), self.pages()
        watch = await self.watched(host)
        await self.stream((window, limit), watch, lambda: self.told(watch, window, limit))


class History(Watching):
    """`GET /api/v1/audience/{host}/history?path=&from=&to=`."""

    def initialize(self, audience: Audience, kept: Audiences) -> None:  # type: ignore[override]
        """`kept` are the minutes."""
        super().initialize(audience)
        self._kept = kept

    async def get(self, host: str) -> None:
        """A page's average visitors in each minute that was read."""
        path = self.word("path")
        if not path:
            raise self.wrong("path", "is missing")
        end = self.moment("to")
        end = round(time() * MICROS) if end is None else end
        begin = self.moment("from")
        begin = end - SPAN * MICROS if begin is None else begin
        if end - begin > LONGEST_SPAN * MICROS:
            raise self.wrong("from", f"is more than {LONGEST_SPAN // 86_400} days before `to`")
        watch = await self.watched(host)
        minute = MINUTE * MICROS
        found = await self._kept.history(
            (watch.key, watch.host), path, -(-begin // minute), -(-end // minute)
        )
        self.send_json({"host": watch.host, "path": path, "minutes": minutes(found)})


def minutes(found: Sequence[tuple[int, float]]) -> list[dict[str, object]]:
    """Minutes as they are answered."""
    return [
        {"minute": text(minute * MINUTE * MICROS), "visitors": round(visitors, 2)}
        for minute, visitors in found
    ]

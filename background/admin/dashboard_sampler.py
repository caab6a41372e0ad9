"""What goes on, read every other second, kept for some minutes, and told to who watches."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from time import monotonic
from typing import NamedTuple

SAMPLE_INTERVAL_SECONDS = 2.0
MAX_SAMPLES = 150


class DashboardReading(NamedTuple):
    """What was read: counts that rise, of which the rate is kept, and levels as they are."""

    counts: Mapping[str, float]
    levels: Mapping[str, float | None]


class DashboardSampler:
    """The last minutes, by name."""

    def __init__(
        self,
        read: Callable[[], DashboardReading],
        clock: Callable[[], float] = monotonic,
        kept: int = MAX_SAMPLES,
    ) -> None:
        """`read` is called for every beat."""
        self._read = read
        self._clock = clock
        self._last: tuple[float, Mapping[str, float]] | None = None
        self._waiting: list[asyncio.Future[bool]] = []
        self._kept = kept
        self.history: dict[str, deque[float | None]] = {}
        self.beats = 0
        self.closed = False

    def once(self) -> None:
        """Read, and wake who watches."""
        now, reading = self._clock(), self._read()
        values = dict(reading.levels)
        for name, count in reading.counts.items():
            before = None if self._last is None else self._last[1].get(name)
            if self._last is None or before is None or now <= self._last[0]:
                values[name] = None
            else:
                values[name] = (count - before) / (now - self._last[0])
        self._last = now, dict(reading.counts)
        for name, value in values.items():
            if name not in self.history:
                self.history[name] = deque([None] * self._kept, self._kept)
            self.history[name].append(value)
        self.beats += 1
        self._wake()

    async def beat(self) -> bool:
        """Wait for the next one; False if there is none any more."""
        if self.closed:
            return False
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        return await future

    def close(self) -> None:
        """There will be no other beat."""
        self.closed = True
        self._wake()

    async def run(self) -> None:
        """Go on for ever."""
        while True:
            self.once()
            await asyncio.sleep(SAMPLE_INTERVAL_SECONDS)

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(not self.closed)

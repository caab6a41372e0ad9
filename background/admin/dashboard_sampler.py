"""Samples of the dashboard's values, taken every 2 s and kept for 5 minutes."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from time import monotonic
from typing import NamedTuple

SAMPLE_INTERVAL_SECONDS = 2.0
MAX_SAMPLES = 150


class DashboardReading(NamedTuple):
    """Counters, which are stored as rates per second, and levels, which are stored unchanged."""

    counts: Mapping[str, float]
    levels: Mapping[str, float | None]


class DashboardSampler:
    """Samples the values and wakes the streams of the overview page."""

    def __init__(
        self,
        read: Callable[[], DashboardReading],
        clock: Callable[[], float] = monotonic,
        kept: int = MAX_SAMPLES,
    ) -> None:
        """`read` is called for each sample; `kept` is the number of samples in `history`."""
        self._read = read
        self._clock = clock
        self._last: tuple[float, Mapping[str, float]] | None = None
        self._waiting: list[asyncio.Future[bool]] = []
        self._max_samples = kept
        self.history: dict[str, deque[float | None]] = {}
        self.beats = 0
        self.closed = False

    def once(self) -> None:
        """Take a sample and wake the callers of `beat`; a counter's first rate is None."""
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
                self.history[name] = deque([None] * self._max_samples, self._max_samples)
            self.history[name].append(value)
        self.beats += 1
        self._wake()

    async def beat(self) -> bool:
        """Wait for the next sample; return False once the sampler is closed."""
        if self.closed:
            return False
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        return await future

    def close(self) -> None:
        """Wake all callers of `beat` with False."""
        self.closed = True
        self._wake()

    async def run(self) -> None:
        """Take samples until cancelled."""
        while True:
            self.once()
            await asyncio.sleep(SAMPLE_INTERVAL_SECONDS)

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(not self.closed)

"""Rates: how often something may be done, by the generic cell rate algorithm (ITU-T I.371).

As many as a rate says may come at once; each makes room again after its share of the time. What is
remembered of whoever does it is one number: when all of it will be free again.
"""

import re
from collections.abc import Hashable
from ipaddress import ip_address, ip_network
from typing import NamedTuple

UNIT_SECONDS = {"s": 1, "m": 60, "h": 3_600}
RATE_PATTERN = re.compile(r"([1-9][0-9]{0,8})/([1-9][0-9]{0,3})?([smh])", re.ASCII)
# Of so many, and as many again, is remembered how often they did it: some 15 MB.
MAX_TRACKED_CLIENTS = 50_000


class RequestRate(NamedTuple):
    """So many in so many seconds."""

    most: int
    seconds: int


class RateDecision(NamedTuple):
    """Whether it may be done now, how often more at once, and seconds until once more than that."""

    allowed: bool
    left: int
    wait: float


def parse_rate(said: str) -> RequestRate:
    """The rate that "20/s", "100/m" or "200/10s" says; raises ValueError."""
    found = RATE_PATTERN.fullmatch(said.strip())
    if found is None:
        raise ValueError(f"{said!r} is no rate; give such as 20/s, 100/m or 200/10s")
    return RequestRate(int(found[1]), int(found[2] or 1) * UNIT_SECONDS[found[3]])


def rate_limit_key(address: str) -> str:
    """What counts as one address: of IPv6 the network, all of which is one's own."""
    if ":" not in address:
        return address
    found = ip_address(address.partition("%")[0])
    return str(ip_network((found, 64), strict=False))


class RateLimiter:
    """How often each did it of late; moments are seconds, of any clock that only goes forward.

    Who has not done it for as long as the rate's time is free, and is forgotten. If more than
    `most` do it within that, who did it longest ago starts afresh sooner.
    """

    def __init__(self, rate: RequestRate, most: int = MAX_TRACKED_CLIENTS) -> None:
        self.rate = rate
        self._interval = rate.seconds / rate.most
        # A rounding in the last place is no reason to refuse.
        self._all = rate.seconds + self._interval * 1e-6
        self._most = most
        # When each will be free: who did it since the last turn, and who did before that.
        self._free: dict[Hashable, float] = {}
        self._before: dict[Hashable, float] = {}
        self._turn = 0.0

    def __len__(self) -> int:
        return len(self._free) + len(self._before)

    def look(self, key: Hashable, now: float) -> RateDecision:
        """What `take` would say at `now`."""
        return self._judge(self._known(key, now) - now)

    def take(self, key: Hashable, now: float) -> RateDecision:
        """Count one more, if it may be done."""
        if now >= self._turn or len(self._free) >= self._most:
            self._forget(now)
        free = self._known(key, now)
        verdict = self._judge(free - now)
        if verdict[0]:
            self._free[key] = free + self._interval
        return verdict

    def _known(self, key: Hashable, now: float) -> float:
        free = self._free.get(key)
        if free is None:
            free = self._before.get(key, now)
        return max(now, free)

    def _judge(self, outstanding: float) -> RateDecision:
        spare, interval = self._all - outstanding, self._interval
        left = int(spare / interval)
        wait = (left + 1) * interval - spare
        return RateDecision(left > 0, left - 1 if left else 0, wait)

    def _forget(self, now: float) -> None:
        """Forget who did not do it since the last turn, which was the rate's time ago, or more."""
        if now >= self._turn + self.rate.seconds:
            self._free = {}  # they are free, too
        self._before, self._free = self._free, {}
        self._turn = now + self.rate.seconds

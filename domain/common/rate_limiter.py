"""Rate limits by the generic cell rate algorithm (ITU-T I.371).

A client may send all requests of a rate in one burst; each request's share of the period then has
to pass before another. The state of a client is one number: when its full burst is available again.
"""

import re
from collections.abc import Hashable
from ipaddress import ip_address, ip_network
from typing import NamedTuple

UNIT_SECONDS = {"s": 1, "m": 60, "h": 3_600}
RATE_PATTERN = re.compile(r"([1-9][0-9]{0,8})/([1-9][0-9]{0,3})?([smh])", re.ASCII)
# Clients per generation, of which two are held: about 15 MB.
MAX_TRACKED_CLIENTS = 50_000


class RequestRate(NamedTuple):
    """At most `most` requests in `seconds`."""

    most: int
    seconds: int


class RateDecision(NamedTuple):
    """Whether a request is `allowed`, how many are `left`, and seconds to `wait` for one more."""

    allowed: bool
    left: int
    wait: float


def parse_rate(text: str) -> RequestRate:
    """Parse a rate such as "20/s", "100/m" or "200/10s". Raises ValueError."""
    found = RATE_PATTERN.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no rate; give such as 20/s, 100/m or 200/10s")
    return RequestRate(int(found[1]), int(found[2] or 1) * UNIT_SECONDS[found[3]])


def rate_limit_key(address: str) -> str:
    """Return the key of an address: an IPv6 client controls a whole /64, which is its key."""
    if ":" not in address:
        return address
    found = ip_address(address.partition("%")[0])
    return str(ip_network((found, 64), strict=False))


class RateLimiter:
    """Counts requests by client key; `now` is in seconds of a monotonic clock.

    A client that sends nothing for the rate's period is forgotten, with its full burst available.
    If more than `most` clients are active, those idle longest are forgotten sooner.
    """

    def __init__(self, rate: RequestRate, most: int = MAX_TRACKED_CLIENTS) -> None:
        self.rate = rate
        self._interval = rate.seconds / rate.most
        # A rounding error must not reject a request.
        self._all = rate.seconds + self._interval * 1e-6
        self._most = most
        # When each full burst is available: clients seen since the last rotation, and those before.
        self._free: dict[Hashable, float] = {}
        self._before: dict[Hashable, float] = {}
        self._turn = 0.0

    def __len__(self) -> int:
        return len(self._free) + len(self._before)

    def look(self, key: Hashable, now: float) -> RateDecision:
        """Return the decision of `take`, without counting a request."""
        return self._decide(self._free_time(key, now) - now)

    def take(self, key: Hashable, now: float) -> RateDecision:
        """Decide on a request, and count it if it is allowed."""
        if now >= self._turn or len(self._free) >= self._most:
            self._rotate(now)
        free = self._free_time(key, now)
        decision = self._decide(free - now)
        if decision.allowed:
            self._free[key] = free + self._interval
        return decision

    def _free_time(self, key: Hashable, now: float) -> float:
        free = self._free.get(key)
        if free is None:
            free = self._before.get(key, now)
        return max(now, free)

    def _decide(self, outstanding: float) -> RateDecision:
        spare, interval = self._all - outstanding, self._interval
        left = int(spare / interval)
        wait = (left + 1) * interval - spare
        return RateDecision(left > 0, left - 1 if left else 0, wait)

    def _rotate(self, now: float) -> None:
        """Forget the clients not seen since the last rotation."""
        if now >= self._turn + self.rate.seconds:
            self._free = {}  # their full burst is available, too
        self._before, self._free = self._free, {}
        self._turn = now + self.rate.seconds

"""Rates: how often something may be done, by the generic cell rate algorithm (ITU-T I.371).

As many as a rate says may come at once; each makes room again after its share of the time. What is
remembered of whoever does it is one number: when all of it will be free again.
"""

import re
from collections.abc import Hashable
from ipaddress import ip_address, ip_network
from math import floor
from typing import NamedTuple

UNITS = {"s": 1, "m": 60, "h": 3_600}
SAID = re.compile(r"([1-9][0-9]{0,8})/([smh])")
# Of so many is remembered how often they did it.
MOST = 50_000


class Rate(NamedTuple):
    """So many in so many seconds."""

    most: int
    seconds: int


class Verdict(NamedTuple):
    """Whether it may be done now, how often more at once, and seconds until once more."""

    allowed: bool
    left: int
    wait: float


def rate_of(said: str) -> Rate:
    """The rate that "20/s", "100/m" or "1000/h" says; raises ValueError."""
    found = SAID.fullmatch(said.strip())
    if found is None:
        raise ValueError(f"{said!r} is no rate; give such as 20/s, 100/m or 1000/h")
    return Rate(int(found[1]), UNITS[found[2]])


def whose(address: str) -> str:
    """What counts as one address: of IPv6 the network, all of which is one's own."""
    if ":" not in address:
        return address
    found = ip_address(address.partition("%")[0])
    return str(ip_network((found, 64), strict=False))


class Meter:
    """How often each did it of late."""

    def __init__(self, rate: Rate, most: int = MOST) -> None:
        self.rate = rate
        self._interval = rate.seconds / rate.most
        self._most = most
        self._free: dict[Hashable, float] = {}

    def __len__(self) -> int:
        return len(self._free)

    def look(self, key: Hashable, now: float) -> Verdict:
        """What `take` would say at `now` (seconds, of any clock that only goes forward)."""
        return self._judge(max(now, self._free.get(key, now)), now)

    def take(self, key: Hashable, now: float) -> Verdict:
        """Count one more, if it may be done."""
        free = max(now, self._free.get(key, now))
        verdict = self._judge(free, now)
        if verdict.allowed:
            if len(self._free) >= self._most and key not in self._free:
                self._forget(now)
            self._free[key] = free + self._interval
        return verdict

    def _judge(self, free: float, now: float) -> Verdict:
        # A rounding in the last place is no reason to refuse.
        spare = self.rate.seconds - (free - now) + self._interval * 1e-6
        left = floor(spare / self._interval)
        if left < 1:
            return Verdict(False, 0, self._interval - spare)
        return Verdict(True, left - 1, 0.0)

    def _forget(self, now: float) -> None:
        """Forget those who are free again, else the half that is so the soonest."""
        kept = {key: free for key, free in self._free.items() if free > now}
        if len(kept) >= self._most:
            last = sorted(kept, key=kept.__getitem__)[self._most // 2 :]
            kept = {key: kept[key] for key in last}
        self._free = kept

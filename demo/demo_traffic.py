"""Generated visitors of the demo app's host, so that live pages have data.

A few visitors arrive per second, read one or more pages and leave. From time to time a page surges.
"""

from collections import deque
from math import exp
from random import Random
from typing import Literal

from domain.audience.beacon import KIND_BEAT, KIND_VIEW, BeaconPayload

DEMO_HOST = "played.example"
DEMO_TOKEN = "token_played"  # noqa: S105
DEMO_APP_NAME = "Played audience"

# New visitors per second, mean seconds on a page, probability of another one, heartbeat interval.
ARRIVALS_PER_SECOND, MEAN_PAGE_SECONDS = 2.0, 60.0
NEXT_PAGE_PROBABILITY, BEAT_INTERVAL_SECONDS = 0.3, 15
# A surge: additional visitors per second on one page, its duration, and the pause after it.
SURGE_ARRIVALS_PER_SECOND, SURGE_SECONDS, SURGE_PAUSE_SECONDS = 4.0, (120, 240), (60, 180)
# Seconds until arrivals and departures are in balance; the first surge follows.
WARM_UP_SECONDS = 240
FIRST_SURGE_SECOND = WARM_UP_SECONDS + 30

PAGE_TITLES = {
    "/": "Played: front page",
    "/city/bridge-reopens": "The old bridge opens again",
    "/city/market-square": "Market square to be planted with trees",
    "/weather": "Rain until Thursday, then sun",
    "/sport/derby": "Derby ends in a draw",
    "/sport/tables": "Tables",
    "/culture/film-nights": "Film nights under the stars",
    "/food/plum-cake": "Plum cake, in an hour",
    "/letters": "Letters to the editor",
    "/jobs": "Jobs",
    "/archive/the-flood": "From the archive: the flood",
    "/about": "About this played site",
}
PAGE_WEIGHTS = [12, 6, 5, 7, 4, 3, 3, 3, 2, 2, 1, 1]


class DemoVisit:
    """A visitor; `ends` is the second of leaving the page, `next` that of the next heartbeat."""

    __slots__ = ("ends", "next", "path", "session")

    def __init__(self, session: str) -> None:
        self.session = session
        self.path = ""
        self.ends = self.next = 0


class DemoTraffic:
    """A simulation of the visitors in steps of a second."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._second = 0
        self._visits: deque[DemoVisit] = deque()
        self._surging_path: str | None = None
        self._next_change = FIRST_SURGE_SECOND

    def step(self) -> list[BeaconPayload]:
        """Return the beacons that the visitors' browsers send in the next second."""
        self._second += 1
        if self._second >= self._next_change:
            self._toggle_surge()
        paths = self._rng.choices(
            list(PAGE_TITLES), PAGE_WEIGHTS, k=self._poisson(ARRIVALS_PER_SECOND)
        )
        if self._surging_path is not None:
            paths += [self._surging_path] * self._poisson(SURGE_ARRIVALS_PER_SECOND)
        beacons = [self._arrive(path) for path in paths]
        for visit in list(self._visits):
            if self._second >= visit.ends:
                if self._rng.random() < NEXT_PAGE_PROBABILITY:
                    beacons.append(
                        self._open(visit, *self._rng.choices(list(PAGE_TITLES), PAGE_WEIGHTS))
                    )
                else:
                    self._visits.remove(visit)
            elif self._second >= visit.next:
                visit.next += BEAT_INTERVAL_SECONDS
                beacons.append(self._beacon(KIND_BEAT, visit))
        return beacons

    def _toggle_surge(self) -> None:
        if self._surging_path is None:
            self._surging_path = self._rng.choice(list(PAGE_TITLES)[1:])
            self._next_change = self._second + self._rng.randint(*SURGE_SECONDS)
        else:
            self._surging_path = None
            self._next_change = self._second + self._rng.randint(*SURGE_PAUSE_SECONDS)

    def _arrive(self, path: str) -> BeaconPayload:
        visit = DemoVisit(f"played-{self._rng.getrandbits(64):016x}")
        self._visits.append(visit)
        return self._open(visit, path)

    def _open(self, visit: DemoVisit, path: str) -> BeaconPayload:
        visit.path = path
        visit.ends = self._second + 1 + int(self._rng.expovariate(1 / MEAN_PAGE_SECONDS))
        visit.next = self._second + BEAT_INTERVAL_SECONDS
        return self._beacon(KIND_VIEW, visit)

    def _beacon(self, kind: Literal["view", "beat"], visit: DemoVisit) -> BeaconPayload:
        return BeaconPayload(kind, visit.session, DEMO_HOST, visit.path, PAGE_TITLES[visit.path])

    def _poisson(self, mean: float) -> int:
        product, count = self._rng.random(), 0
        while product > exp(-mean):
            product *= self._rng.random()
            count += 1
        return count

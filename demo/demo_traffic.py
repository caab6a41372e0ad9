"""A small audience that is played, so that live pages have something to show.

Visitors come a few a second, read one page or some, and leave; now and then one page draws many.
"""

from collections import deque
from math import exp
from random import Random
from typing import Literal

from domain.audience.beacon import KIND_BEAT, KIND_VIEW, BeaconPayload

DEMO_HOST = "played.example"
DEMO_TOKEN = "token_played"  # noqa: S105
DEMO_APP_NAME = "Played audience"

# Visitors a second, seconds on a page, the chance to go on to another, seconds between signs.
ARRIVALS_PER_SECOND, MEAN_PAGE_SECONDS, NEXT_PAGE_PROBABILITY, BEAT_INTERVAL_SECONDS = (
    2.0,
    60.0,
    0.3,
    15,
)
# A page draws so many more a second, for some minutes; then there is a pause.
SURGE_ARRIVALS_PER_SECOND, SURGE_SECONDS, SURGE_PAUSE_SECONDS = 4.0, (120, 240), (60, 180)
# Seconds until as many come as leave, and until the first page draws many.
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
    """A visitor who is there."""

    __slots__ = ("ends", "next", "path", "session")

    def __init__(self, session: str) -> None:
        self.session = session
        self.path = ""
        self.ends = self.next = 0


class DemoTraffic:
    """The audience, second by second."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self._second = 0
        self._visits: deque[DemoVisit] = deque()
        self._drawing: str | None = None
        self._turn = FIRST_SURGE_SECOND

    def step(self) -> list[BeaconPayload]:
        """What the visitors' browsers send in the next second."""
        self._second += 1
        if self._second >= self._turn:
            self._change()
        wanted = self._chance.choices(
            list(PAGE_TITLES), PAGE_WEIGHTS, k=self._poisson(ARRIVALS_PER_SECOND)
        )
        if self._drawing is not None:
            wanted += [self._drawing] * self._poisson(SURGE_ARRIVALS_PER_SECOND)
        signs = [self._come(path) for path in wanted]
        for visit in list(self._visits):
            if self._second >= visit.ends:
                if self._chance.random() < NEXT_PAGE_PROBABILITY:
                    signs.append(
                        self._open(visit, *self._chance.choices(list(PAGE_TITLES), PAGE_WEIGHTS))
                    )
                else:
                    self._visits.remove(visit)
            elif self._second >= visit.next:
                visit.next += BEAT_INTERVAL_SECONDS
                signs.append(self._sign(KIND_BEAT, visit))
        return signs

    def _change(self) -> None:
        if self._drawing is None:
            self._drawing = self._chance.choice(list(PAGE_TITLES)[1:])
            self._turn = self._second + self._chance.randint(*SURGE_SECONDS)
        else:
            self._drawing = None
            self._turn = self._second + self._chance.randint(*SURGE_PAUSE_SECONDS)

    def _come(self, path: str) -> BeaconPayload:
        visit = DemoVisit(f"played-{self._chance.getrandbits(64):016x}")
        self._visits.append(visit)
        return self._open(visit, path)

    def _open(self, visit: DemoVisit, path: str) -> BeaconPayload:
        visit.path = path
        visit.ends = self._second + 1 + int(self._chance.expovariate(1 / MEAN_PAGE_SECONDS))
        visit.next = self._second + BEAT_INTERVAL_SECONDS
        return self._sign(KIND_VIEW, visit)

    def _sign(self, kind: Literal["view", "beat"], visit: DemoVisit) -> BeaconPayload:
        return BeaconPayload(kind, visit.session, DEMO_HOST, visit.path, PAGE_TITLES[visit.path])

    def _poisson(self, mean: float) -> int:
        left, count = self._chance.random(), 0
        while left > exp(-mean):
            left *= self._chance.random()
            count += 1
        return count

"""Who is where: the sessions with a pageview or a heartbeat on a page in the last minute.

In memory alone, and bounded. A visit is a number in a page's dictionary and stands in one place
of a wheel, by the second in which it was seen first; when its turn comes it goes, or, if it was
seen again meanwhile, moves on. So a heartbeat costs one entry in a dictionary.
"""

from collections.abc import Callable
from time import monotonic

from rules.toppages import LONGEST_PATH, LONGEST_TITLE, Reading

# Seconds for which a visitor is there after a sign of life.
STAY = 60.0
# Visits in all, pages of a host.
VISITS, PAGES = 500_000, 10_000
# Visits that are looked at before others have their turn.
STEP = 5_000


class Page:
    """A page and the visits to it: by the session's hash, the second in which it was last seen."""

    __slots__ = ("audience", "path", "seen")

    def __init__(self, audience: "Audience", path: str) -> None:
        self.audience = audience
        self.path = path
        self.seen: dict[int, int] = {}


class Audience:
    """The pages of one app's host on which there is someone."""

    __slots__ = ("pages", "titles")

    def __init__(self) -> None:
        self.pages: dict[str, Page] = {}
        self.titles: dict[str, str] = {}


class Presence:
    """All visits; to be used on one event loop."""

    def __init__(
        self,
        stay: float = STAY,
        *,
        visits: int = VISITS,
        pages: int = PAGES,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """A visit lasts for `stay` seconds after it was last seen."""
        self.stay = stay
        self.visits = 0
        self.turned_away = 0  # signs of life for which there was no room
        self._most, self._most_pages = visits, pages
        self._clock = clock
        self._audiences: dict[tuple[int, str], Audience] = {}
        # For each second, pages and sessions by turns: no object for the collector to look at.
        self._wheel: dict[int, list[Page | int]] = {}

    def see(
        self, app: int, host: str, path: str, session: str, *, ago: float = 0.0, title: str = ""
    ) -> None:
        """A sign of life, so many seconds ago, of a session on a page of an app's host."""
        if ago >= self.stay or len(path) > LONGEST_PATH:
            return
        second = int(self._clock() - max(ago, 0.0))
        audience = self._audiences.get((app, host))
        if audience is None:
            audience = self._audiences[app, host] = Audience()
        page = audience.pages.get(path)
        if page is None:
            if len(audience.pages) >= self._most_pages or self.visits >= self._most:
                self.turned_away += 1
                return
            page = audience.pages[path] = Page(audience, path)
        if title:
            audience.titles[path] = title[:LONGEST_TITLE]
        visit = hash(session)
        seen = page.seen.get(visit)
        if seen is None:
            if self.visits >= self._most:
                self.turned_away += 1
                return
            self.visits += 1
            self._wheel.setdefault(second, []).extend((page, visit))
        elif seen >= second:
            return
        page.seen[visit] = second

    def sweep(self) -> bool:
        """Take out, a step at a time, who has not been seen for long; whether there are more."""
        last = int(self._clock() - self.stay)
        left = STEP
        for second in [each for each in self._wheel if each <= last]:
            here = self._wheel[second]
            while here and left:
                left -= 1
                visit, page = here.pop(), here.pop()
                assert isinstance(page, Page) and isinstance(visit, int)
                self._turn(page, visit, last)
            if not here:
                del self._wheel[second]
        return not left

    def reading(self, app: int, host: str) -> Reading:
        """How many are on each page of an app's host."""
        audience = self._audiences.get((app, host))
        if audience is None:
            return Reading({}, {})
        visitors = {path: len(page.seen) for path, page in audience.pages.items()}
        return Reading(visitors, audience.titles)

    def _turn(self, page: Page, visit: int, last: int) -> None:
        seen = page.seen[visit]
        if seen > last:
            self._wheel.setdefault(seen, []).extend((page, visit))
            return
        self.visits -= 1
        del page.seen[visit]
        if not page.seen:
            del page.audience.pages[page.path]
            page.audience.titles.pop(page.path, None)

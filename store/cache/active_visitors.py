"""Who is where: the sessions with a pageview or a heartbeat on a page in the last minute.

In memory alone, and bounded. A visit is a number in a page's dictionary and stands in one place
of its host's wheel, by the second in which it was seen first; when its turn comes it goes, or, if
it was seen again meanwhile, moves on. So a heartbeat costs one entry in a dictionary.

The bound is shared fairly: once it is reached, a new visit displaces one of the app that has most,
and of that app's host that has most, or is turned away if that is its own.
"""

from collections.abc import Callable
from time import monotonic

from domain.audience.toppages_format import MAX_PATH_LENGTH, MAX_TITLE_LENGTH, TopPagesReading

# Seconds for which a visitor is there after a sign of life.
ACTIVE_SECONDS = 60.0
# Visits in all, pages of a host.
MAX_VISITS, MAX_PAGES_PER_HOST = 500_000, 10_000
# Visits that are looked at before others have their turn.
SWEEP_STEP_VISITS = 5_000


class ActivePage:
    """A page and the visits to it: by the session's hash, the second in which it was last seen."""

    __slots__ = ("audience", "path", "seen")

    def __init__(self, audience: "HostVisitors", path: str) -> None:
        self.audience = audience
        self.path = path
        self.seen: dict[int, int] = {}


class HostVisitors:
    """The pages of one app's host on which there is someone."""

    __slots__ = ("app", "host", "pages", "titles", "visits", "wheel")

    def __init__(self, app: "AppVisitors", host: str) -> None:
        self.app = app
        self.host = host
        self.visits = 0
        self.pages: dict[str, ActivePage] = {}
        self.titles: dict[str, str] = {}
        # For each second, pages and sessions alternately: no objects for the garbage collector.
        self.wheel: dict[int, list[ActivePage | int]] = {}


class AppVisitors:
    """The hosts of one app on which there is someone."""

    __slots__ = ("app", "hosts", "visits")

    def __init__(self, app: int) -> None:
        self.app = app
        self.visits = 0
        self.hosts: dict[str, HostVisitors] = {}


def _visit_count(of: "HostVisitors | AppVisitors") -> int:
    return of.visits


class ActiveVisitors:
    """All visits; to be used on one event loop."""

    def __init__(
        self,
        stay: float = ACTIVE_SECONDS,
        *,
        visits: int = MAX_VISITS,
        pages: int = MAX_PAGES_PER_HOST,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """A visit lasts for `stay` seconds after it was last seen."""
        self.stay = stay
        self.visits = 0
        self.turned_away = 0  # signs of life for which there was no room
        self.displaced = 0  # visits that made room for those of an app or host with fewer
        self._most, self._most_pages = visits, pages
        self._clock = clock
        self._apps: dict[int, AppVisitors] = {}
        # The audiences that have visits in a second of their wheel.
        self._due: dict[int, list[HostVisitors]] = {}

    def see(
        self, app: int, host: str, path: str, session: str, *, ago: float = 0.0, title: str = ""
    ) -> None:
        """A sign of life, so many seconds ago, of a session on a page of an app's host."""
        if ago >= self.stay or len(path) > MAX_PATH_LENGTH:
            return
        second = int(self._clock() - max(ago, 0.0))
        audience = self._audience(app, host)
        page = audience.pages.get(path)
        visit = hash(session)
        seen = None if page is None else page.seen.get(visit)
        if seen is None:
            full = page is None and len(audience.pages) >= self._most_pages
            if full or (self.visits >= self._most and not self._make_room(audience)):
                self.turned_away += 1
                return
            if page is None:
                page = audience.pages[path] = ActivePage(audience, path)
            self.visits += 1
            audience.visits += 1
            audience.app.visits += 1
            self._place(page, visit, second)
        assert page is not None
        if title:
            audience.titles[path] = title[:MAX_TITLE_LENGTH]
        if seen is None or seen < second:
            page.seen[visit] = second

    def sweep(self) -> bool:
        """Take out, a step at a time, who has not been seen for long; whether there are more."""
        last = int(self._clock() - self.stay)
        left = SWEEP_STEP_VISITS
        for second in [each for each in self._due if each <= last]:
            audiences = self._due[second]
            while audiences and left:
                here = audiences[-1].wheel.get(second, [])
                while here and left:
                    left -= 1
                    visit, page = here.pop(), here.pop()
                    assert isinstance(page, ActivePage) and isinstance(visit, int)
                    self._turn(page, visit, last)
                if not here:
                    audience = audiences.pop()
                    audience.wheel.pop(second, None)
                    self._forget_empty(audience)
            if not audiences:
                del self._due[second]
        return not left

    def reading(self, app: int, host: str) -> TopPagesReading:
        """How many are on each page of an app's host."""
        known = self._apps.get(app)
        audience = None if known is None else known.hosts.get(host)
        if audience is None:
            return TopPagesReading({}, {})
        visitors = {path: len(page.seen) for path, page in audience.pages.items()}
        return TopPagesReading(visitors, audience.titles)

    def _audience(self, number: int, host: str) -> HostVisitors:
        app = self._apps.get(number)
        if app is None:
            app = self._apps[number] = AppVisitors(number)
        audience = app.hosts.get(host)
        if audience is None:
            audience = app.hosts[host] = HostVisitors(app, host)
        return audience

    def _make_room(self, newcomer: HostVisitors) -> bool:
        """Remove a visit of the app and host with most; False if the new visit is theirs."""
        app = max(self._apps.values(), key=_visit_count)
        # With a difference of one, two apps would displace each other for ever.
        if newcomer.app.visits + 1 >= app.visits:
            app = newcomer.app
        largest = max(app.hosts.values(), key=_visit_count)
        if app is newcomer.app and newcomer.visits + 1 >= largest.visits:
            return False
        second = min(largest.wheel)
        here = largest.wheel[second]
        visit, page = here.pop(), here.pop()
        if not here:
            del largest.wheel[second]
        assert isinstance(page, ActivePage) and isinstance(visit, int)
        self._remove(page, visit)
        self.displaced += 1
        return True

    def _place(self, page: ActivePage, visit: int, second: int) -> None:
        audience = page.audience
        here = audience.wheel.get(second)
        if here is None:
            here = audience.wheel[second] = []
            self._due.setdefault(second, []).append(audience)
        here.extend((page, visit))

    def _turn(self, page: ActivePage, visit: int, last: int) -> None:
        seen = page.seen[visit]
        if seen > last:
            self._place(page, visit, seen)
        else:
            self._remove(page, visit)

    def _remove(self, page: ActivePage, visit: int) -> None:
        audience = page.audience
        self.visits -= 1
        audience.visits -= 1
        audience.app.visits -= 1
        del page.seen[visit]
        if not page.seen:
            del audience.pages[page.path]
            audience.titles.pop(page.path, None)

    def _forget_empty(self, audience: HostVisitors) -> None:
        app = audience.app
        if not audience.visits and app.hosts.get(audience.host) is audience:
            del app.hosts[audience.host]
            if not app.hosts:
                self._apps.pop(app.app, None)

"""Active visitors: the sessions with a pageview or heartbeat on a page in the last minute.

They are held only in memory, up to a limit. A visit is an entry in its page's dictionary, and in
its host's timer wheel at the second of its first sighting. When that second expires, the visit is
removed, or moved to its last sighting. A heartbeat therefore updates only one dictionary entry.

The limit is shared fairly: when it is reached, a new visit displaces one of the largest app and its
largest host; it is rejected if that is its own host.
"""

from collections.abc import Callable
from time import monotonic

from domain.audience.toppages_format import MAX_PATH_LENGTH, MAX_TITLE_LENGTH, TopPagesReading

# A visitor is active for this long after a pageview or heartbeat.
ACTIVE_SECONDS = 60.0
# Maximum visits in total, and pages per host.
MAX_VISITS, MAX_PAGES_PER_HOST = 500_000, 10_000
# Visits checked per `sweep`, so that the event loop is not blocked.
SWEEP_STEP_VISITS = 5_000


class ActivePage:
    """A page; `seen` maps the hash of each session to the second of its last sighting."""

    __slots__ = ("audience", "path", "seen")

    def __init__(self, audience: "HostVisitors", path: str) -> None:
        self.audience = audience
        self.path = path
        self.seen: dict[int, int] = {}


class HostVisitors:
    """The pages with visitors of a host of an app."""

    __slots__ = ("app", "host", "pages", "titles", "visits", "wheel")

    def __init__(self, app: "AppVisitors", host: str) -> None:
        self.app = app
        self.host = host
        self.visits = 0
        self.pages: dict[str, ActivePage] = {}
        self.titles: dict[str, str] = {}
        # Per second, alternating pages and sessions: tuples would burden the garbage collector.
        self.wheel: dict[int, list[ActivePage | int]] = {}


class AppVisitors:
    """The hosts with visitors of an app."""

    __slots__ = ("app", "hosts", "visits")

    def __init__(self, app: int) -> None:
        self.app = app
        self.visits = 0
        self.hosts: dict[str, HostVisitors] = {}


def _visit_count(of: "HostVisitors | AppVisitors") -> int:
    return of.visits


class ActiveVisitors:
    """Active visitors of all apps; for use on a single event loop."""

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
        self.turned_away = 0  # sightings rejected because of a limit
        self.displaced = 0  # visits removed in favor of a smaller app or host
        self._most, self._most_pages = visits, pages
        self._clock = clock
        self._apps: dict[int, AppVisitors] = {}
        # For each second, the hosts with visits in their wheel.
        self._due: dict[int, list[HostVisitors]] = {}

    def see(
        self, app: int, host: str, path: str, session: str, *, ago: float = 0.0, title: str = ""
    ) -> None:
        """Record a sighting, `ago` seconds ago, of a session on a page of an app's host."""
        if ago >= self.stay or len(path) > MAX_PATH_LENGTH:
            return
        second = int(self._clock() - max(ago, 0.0))
        audience = self._audience(app, host)
        page = audience.pages.get(path)
        visit = hash(session)
        seen = None if page is None else page.seen.get(visit)
        if seen is None:
            full = page is None and len(audience.pages) >= self._most_pages
            if full or (self.visits >= self._most and not self._displace_visit(audience)):
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
        """Remove some expired visits; return whether more may remain."""
        last = int(self._clock() - self.stay)
        remaining = SWEEP_STEP_VISITS
        for second in [each for each in self._due if each <= last]:
            audiences = self._due[second]
            while audiences and remaining:
                entries = audiences[-1].wheel.get(second, [])
                while entries and remaining:
                    remaining -= 1
                    visit, page = entries.pop(), entries.pop()
                    assert isinstance(page, ActivePage) and isinstance(visit, int)
                    self._expire_or_move(page, visit, last)
                if not entries:
                    audience = audiences.pop()
                    audience.wheel.pop(second, None)
                    self._forget_empty(audience)
            if not audiences:
                del self._due[second]
        return not remaining

    def reading(self, app: int, host: str) -> TopPagesReading:
        """Return the number of visitors on each page of an app's host."""
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

    def _displace_visit(self, newcomer: HostVisitors) -> bool:
        """Remove a visit of the app and host with most; False if the new visit is theirs."""
        app = max(self._apps.values(), key=_visit_count)
        # With a difference of one, two apps would displace each other forever.
        if newcomer.app.visits + 1 >= app.visits:
            app = newcomer.app
        largest = max(app.hosts.values(), key=_visit_count)
        if app is newcomer.app and newcomer.visits + 1 >= largest.visits:
            return False
        second = min(largest.wheel)
        entries = largest.wheel[second]
        visit, page = entries.pop(), entries.pop()
        if not entries:
            del largest.wheel[second]
        assert isinstance(page, ActivePage) and isinstance(visit, int)
        self._remove(page, visit)
        self.displaced += 1
        return True

    def _place(self, page: ActivePage, visit: int, second: int) -> None:
        audience = page.audience
        entries = audience.wheel.get(second)
        if entries is None:
            entries = audience.wheel[second] = []
            self._due.setdefault(second, []).append(audience)
        entries.extend((page, visit))

    def _expire_or_move(self, page: ActivePage, visit: int, last: int) -> None:
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

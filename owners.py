"""The owner's pages put together: their parts from the running program, routes, pulse."""

import os
import platform
import sqlite3
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from handlers.admin import condition, login, overview, users
from handlers.admin.login import Invitation
from handlers.admin.overview import Board, Chart
from loops.pulse import Pulse, Reading
from rules import words
from store.logins import Logins

if TYPE_CHECKING:
    from server import Marquee

CHARTS = (
    Chart("events", "Events", "a second"),
    Chart("wait", "Until an event is on disk", "ms, 99 of 100", 1000.0),
    Chart("commits", "Commits", "a second"),
    Chart("pages", "Banner pages", "a second"),
    Chart("hits", "Found in memory", "% of look-ups", 100.0),
    Chart("lag", "Views behind the log", "events"),
)


class Owners:
    """What the owner's pages have of their own."""

    def __init__(self, marquee: "Marquee", invitation: str | None) -> None:
        """`invitation` is the token of the first user's link, if there is no user yet."""
        self._marquee = marquee
        self._began = monotonic()
        self.logins = Logins(marquee.database)
        self.invitation = Invitation(invitation)
        self.pulse = Pulse(self._reading)
        self.board = Board(marquee.pages, self.pulse, CHARTS)

    def routes(self) -> list[Any]:
        """All that stands at `/admin/`."""
        marquee = self._marquee
        database = marquee.database
        return [
            *overview.routes(self.board, marquee.readiness, self._glance),
            *login.routes(database, self.logins, self.invitation),
            *users.routes(database, self.logins),
            *condition.routes(marquee.readiness, marquee.figures, self._facts),
        ]

    def _reading(self) -> Reading:
        marquee = self._marquee
        views = sum(lane.statuses[200] for lane in marquee.lanes if lane.name == "campaign page")
        caches = (marquee.images.cache, marquee.apps.cache)
        hits, loads = (sum(getattr(it, name) for it in caches) for name in ("hits", "loads"))
        share = self._share(hits, loads)
        return Reading(
            {
                "events": marquee.log.counts.stored,
                "commits": marquee.database.commits,
                "pages": views,
            },
            {"wait": marquee.log.waits.take(0.99), "hits": share, "lag": marquee.views.lag},
        )

    _seen = (0, 0)

    def _share(self, hits: int, loads: int) -> float | None:
        """What part of the look-ups since last asked was in memory."""
        before, self._seen = self._seen, (hits, loads)
        new, asked = hits - before[0], hits - before[0] + loads - before[1]
        return new / asked if asked else None

    def _glance(self) -> dict[str, Any]:
        marquee = self._marquee
        counts, book = marquee.log.counts, marquee.rotation.book
        hints = []
        if not book.campaigns:
            hints.append(("/admin/campaigns/upload", "Upload a campaign folder"))
        facts = [
            ("Campaigns", "/admin/campaigns", f"{len(book.campaigns):,}"),
            ("Events stored", "/admin/events", f"{counts.stored:,}"),
            ("Events rejected", "/admin/rejects", f"{counts.rejected:,}"),
            ("Running for", "", words.seconds(monotonic() - self._began)),
        ]
        return {"hints": hints, "facts": facts}

    def _facts(self) -> dict[str, str]:
        marquee = self._marquee
        path = Path(marquee.data)
        sizes = {
            name: (path / name).stat().st_size if (path / name).exists() else 0
            for name in ("marquee.db", "views.db")
        }
        return {
            "Running for": words.seconds(monotonic() - self._began),
            "Data folder": str(path.resolve()),
            "Size": ", ".join(f"{name} {words.size(size)}" for name, size in sizes.items()),
            "Time zone": marquee.settings.tz,
            "Python": platform.python_version(),
            "SQLite": sqlite3.sqlite_version,
            "Process": str(os.getpid()),
        }

"""The owner's pages put together: their parts from the running program, routes, pulse."""

import asyncio
import os
import platform
import sqlite3
import sys
from functools import partial
from pathlib import Path
from time import monotonic, time_ns
from typing import TYPE_CHECKING, Any

from figures import figures
from handlers.admin import (
    apps,
    audience,
    campaigns,
    condition,
    event_rules,
    events,
    login,
    overview,
    rejects,
    stories,
    uploads,
    users,
)
from handlers.admin.login import Invitation
from handlers.admin.overview import Board, Chart
from loops.pulse import Pulse, Reading
from loops.uploads import Progress, Uploads
from rules import words
from rules.attempts import Attempts
from rules.days import day_at
from settings import ONE_FILE
from store.child import importing
from store.logins import Logins
from store.outcome import Result
from store.uploads import Upload, clear
from store.usage import Usage

if TYPE_CHECKING:
    from server import Marquee

# This program once more: in one file it is what runs; else Python is, with server.py beside this.
BESIDE = [] if ONE_FILE else [str(Path(__file__).with_name("server.py"))]
CHARTS = (
    Chart("events", "Events", "a second"),
    Chart("wait", "Until an event is on disk", "ms, 99 of 100", 1000.0),
    Chart("commits", "Commits", "a second"),
    Chart("pages", "Banner pages", "a second"),
    Chart("hits", "Found in memory", "% of look-ups", 100.0),
    Chart("visitors", "Visitors of watched hosts", "now"),
    Chart("lag", "Views behind the log", "events"),
)


class Owners:
    """What the owner's pages have of their own."""

    def __init__(self, marquee: "Marquee", salt: bytes, invitation: str | None) -> None:
        """`invitation` is the token of the first user's link, if there is no user yet."""
        self._marquee = marquee
        self._began = monotonic()
        self.logins = Logins(marquee.database)
        self.invitation = Invitation(invitation)
        self.attempts = Attempts(salt=salt)
        self.pulse = Pulse(self._reading)
        charts = [
            each._replace(live_unit=self._now) if each.name == "visitors" else each
            for each in CHARTS
        ]
        self.board = Board(marquee.pages, self.pulse, charts, self._rising)
        self.usage = Usage(marquee.views)
        self.uploads = Uploads(self._import)

    def routes(self) -> list[Any]:
        """All that stands at `/admin/`."""
        marquee = self._marquee
        database = marquee.database
        return [
            *overview.routes(self.board, marquee.readiness, self._glance),
            *login.routes(database, self.logins, self.invitation, self.attempts),
            *users.routes(database, self.logins, self.attempts),
            *campaigns.routes(lambda: marquee.rotation.book, marquee.present, marquee.rank),
            *uploads.routes(database, self.uploads, marquee.data, marquee.settings.max_upload),
            *stories.routes(database, self.usage),
            *audience.routes(database, marquee.sampler, marquee.settings.rising_score),
            *apps.routes(database),
            *events.routes(database, marquee.asked, marquee.changes),
            *event_rules.routes(database, marquee.rules, marquee.asked),
            *rejects.routes(database, marquee.replays),
            *condition.routes(marquee.readiness, partial(figures, marquee), self._facts),
        ]

    async def start(self) -> None:
        """Clear away what uploads left behind that were cut off; read the known addresses."""
        self.attempts.trust(await self.logins.known_addresses())
        await asyncio.to_thread(clear, self._marquee.data)

    async def stop(self) -> None:
        """End what would not end by itself: who watches, and what is being imported."""
        self.pulse.close()
        await self.uploads.close()

    async def _import(self, upload: Upload, source: str, progress: Progress) -> Result:
        # By the very command, in a process of its own: what serves has no time to parse.
        words = ["import", str(upload.folder), "--source", source, "--json", "--progress"]
        settings = self._marquee.settings
        words += ["--data", str(self._marquee.data.resolve())]
        words += ["--log-level", settings.log_level, "--log-format", settings.log_format]
        return await importing([sys.executable, *BESIDE, *words], progress)

    def _reading(self) -> Reading:
        marquee = self._marquee
        views = sum(lane.statuses[200] for lane in marquee.lanes if lane.name == "campaign page")
        caches = (marquee.images.cache, marquee.apps.cache, marquee.shelves.cache)
        hits, loads = (sum(getattr(it, name) for it in caches) for name in ("hits", "loads"))
        share = self._share(hits, loads)
        visitors = sum(map(audience.visitors, marquee.sampler.watches))
        return Reading(
            {
                "events": marquee.log.counts.stored,
                "commits": marquee.database.commits,
                "pages": views,
            },
            {
                "wait": marquee.log.waits.take(0.99),
                "hits": share,
                "visitors": visitors,
                "lag": marquee.views.lag,
            },
        )

    _seen = (0, 0)

    def _share(self, hits: int, loads: int) -> float | None:
        """What part of the look-ups since last asked was in memory."""
        before, self._seen = self._seen, (hits, loads)
        new, asked = hits - before[0], hits - before[0] + loads - before[1]
        return new / asked if asked else None

    def _rising(self) -> list[audience.Rising]:
        marquee = self._marquee
        return audience.rising(marquee.sampler, marquee.settings.rising_score)

    def _now(self) -> str:
        return audience.now(self._marquee.sampler)

    async def _glance(self) -> dict[str, Any]:
        marquee = self._marquee
        counts, book = marquee.log.counts, marquee.rotation.book
        users = await self.usage.users(day_at(time_ns() // 1000))
        hints = []
        if not book.campaigns:
            hints.append(("/admin/campaigns/upload", "Upload a campaign folder"))
        facts = [
            ("Campaigns", "/admin/campaigns", f"{len(book.campaigns):,}"),
            ("Events stored", "/admin/events", f"{counts.stored:,}"),
            ("Events rejected", "/admin/rejects", f"{counts.rejected:,}"),
            ("Users of stories today", "/admin/stories", f"{sum(users.values()):,}"),
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

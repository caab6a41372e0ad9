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

from app.metrics import all_metrics
from app.settings import IS_SINGLE_FILE
from background.admin.dashboard_sampler import DashboardReading, DashboardSampler
from background.banners.upload_worker import ProgressCallback, UploadWorker
from domain.admin.login_throttle import LoginThrottle
from domain.common import formatting
from domain.common.days import day_from_micros
from handlers.admin import (
    apps,
    audience,
    campaigns,
    events,
    health,
    login,
    overview,
    rejected_events,
    schemas,
    stories,
    uploads,
    users,
)
from handlers.admin.login import SetupInvitation
from handlers.admin.overview import DashboardChart, DashboardRenderer
from imports.import_process import run_import_process
from imports.import_report import ImportReport
from imports.upload_folder import UploadFolder, remove_stale_uploads
from store.sqlite.admin.login_sessions import LoginSessions
from store.sqlite.stories.story_stats import StoryStats

if TYPE_CHECKING:
    from server import Marquee

# This program once more: in one file it is what runs; else Python is, with server.py beside this.
SERVER_SCRIPT_ARGUMENTS = [] if IS_SINGLE_FILE else [str(Path(__file__).parents[1] / "server.py")]
DASHBOARD_CHARTS = (
    DashboardChart("events", "Events", "a second"),
    DashboardChart("wait", "Until an event is on disk", "ms, 99 of 100", 1000.0),
    DashboardChart("commits", "Commits", "a second"),
    DashboardChart("pages", "Banner pages", "a second"),
    DashboardChart("hits", "Found in memory", "% of look-ups", 100.0),
    DashboardChart("visitors", "Visitors of watched hosts", "now"),
    DashboardChart("lag", "Views behind the log", "events"),
)


class AdminFeature:
    """What the owner's pages have of their own."""

    def __init__(self, marquee: "Marquee", salt: bytes, invitation: str | None) -> None:
        """`invitation` is the token of the first user's link, if there is no user yet."""
        self._marquee = marquee
        self._began = monotonic()
        self.logins = LoginSessions(marquee.database)
        self.invitation = SetupInvitation(invitation)
        self.attempts = LoginThrottle(salt=salt)
        self.pulse = DashboardSampler(self._reading)
        charts = [
            each._replace(live_unit=self._now) if each.name == "visitors" else each
            for each in DASHBOARD_CHARTS
        ]
        self.board = DashboardRenderer(marquee.pages, self.pulse, charts, self._rising)
        self.usage = StoryStats(marquee.views)
        self.uploads = UploadWorker(self._import)

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
            *schemas.routes(database, marquee.rules, marquee.asked),
            *rejected_events.routes(database, marquee.replays),
            *health.routes(marquee.readiness, partial(all_metrics, marquee), self._facts),
        ]

    async def start(self) -> None:
        """Clear away what uploads left behind that were cut off; read the known addresses."""
        self.attempts.trust(await self.logins.known_addresses())
        await asyncio.to_thread(remove_stale_uploads, self._marquee.data)

    async def stop(self) -> None:
        """End what would not end by itself: who watches, and what is being imported."""
        self.pulse.close()
        await self.uploads.close()

    async def _import(
        self, upload: UploadFolder, source: str, progress: ProgressCallback
    ) -> ImportReport:
        # By the very command, in a process of its own: what serves has no time to parse.
        words = ["import", str(upload.folder), "--source", source, "--json", "--progress"]
        settings = self._marquee.settings
        words += ["--data", str(self._marquee.data.resolve())]
        words += ["--log-level", settings.log_level, "--log-format", settings.log_format]
        return await run_import_process(
            [sys.executable, *SERVER_SCRIPT_ARGUMENTS, *words], progress
        )

    def _reading(self) -> DashboardReading:
        marquee = self._marquee
        views = sum(lane.statuses[200] for lane in marquee.lanes if lane.name == "campaign page")
        caches = (marquee.images.cache, marquee.apps.cache, marquee.shelves.cache)
        hits, loads = (sum(getattr(it, name) for it in caches) for name in ("hits", "loads"))
        share = self._share(hits, loads)
        visitors = sum(map(audience.visitor_count, marquee.sampler.watches))
        return DashboardReading(
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

    def _rising(self) -> list[audience.RisingPageRow]:
        marquee = self._marquee
        return audience.rising_pages(marquee.sampler, marquee.settings.rising_score)

    def _now(self) -> str:
        return audience.visitors_unit(self._marquee.sampler)

    async def _glance(self) -> dict[str, Any]:
        marquee = self._marquee
        counts, book = marquee.log.counts, marquee.rotation.book
        users = await self.usage.users(day_from_micros(time_ns() // 1000))
        hints = []
        if not book.campaigns:
            hints.append(("/admin/campaigns/upload", "Upload a campaign folder"))
        facts = [
            ("Campaigns", "/admin/campaigns", f"{len(book.campaigns):,}"),
            ("Events stored", "/admin/events", f"{counts.stored:,}"),
            ("Events rejected", "/admin/rejected-events", f"{counts.rejected:,}"),
            ("Users of stories today", "/admin/stories", f"{sum(users.values()):,}"),
            ("Running for", "", formatting.format_duration(monotonic() - self._began)),
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
            "Running for": formatting.format_duration(monotonic() - self._began),
            "Data folder": str(path.resolve()),
            "Size": ", ".join(
                f"{name} {formatting.format_size(size)}" for name, size in sizes.items()
            ),
            "Time zone": marquee.settings.tz,
            "Python": platform.python_version(),
            "SQLite": sqlite3.sqlite_version,
            "Process": str(os.getpid()),
        }

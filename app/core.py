"""What features share: settings, stores, limits, templates, and each other's contributions."""

import asyncio
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, time
from typing import Any

from tornado.httpserver import HTTPServer

from app.feature import Feature
from app.settings import PROGRAM_COMMAND, Settings
from background.events.retention_worker import RetentionTask
from demo.demo_data import create_demo_user, is_empty, load_demo_data
from domain.common.clock_state import ClockState
from handlers.common.base_handler import StaticAssetHandler
from handlers.common.rate_limits import RequestRateLimits
from handlers.common.responses import PROJECT_ROOT, PageTemplates
from handlers.operations.health import ReadinessReport
from handlers.operations.metrics import MetricSample
from httpserver import FastRoute, MemoryBudget, Server
from store.sqlite.admin.apps import NewApp
from store.sqlite.admin.login_sessions import LoginSessions
from store.sqlite.admin.token_authenticator import TokenAuthenticator
from store.sqlite.admin.users import has_users
from store.sqlite.core.clock_record import load_clock_state
from store.sqlite.core.data_folder import DATABASE_FILE, IMAGES_FOLDER, PROJECTIONS_FILE
from store.sqlite.core.data_loss import last_loss
from store.sqlite.core.database import Database
from store.sqlite.core.installation_salt import read_salt
from store.sqlite.events.event_log import EventLog
from store.sqlite.events.event_schemas import EventSchemaStore
from store.sqlite.projections.projections import Projections

STATIC_SETTINGS: dict[str, Any] = {
    "static_path": str(PROJECT_ROOT / "static"),
    "static_url_prefix": "/static/",
}


@dataclass(kw_only=True)
class Core:
    """What features share; `open` makes one. This process alone holds the data folder."""

    settings: Settings
    data: Path
    database: Database
    event_log: EventLog
    schemas: EventSchemaStore
    projections: Projections
    installation_salt: bytes
    clock_state: ClockState
    # When acknowledged events were found to be lost (µs since 1970), None if never.
    events_lost_at: int | None
    # The token of the link that creates the first user, None if there is a user.
    setup_token: str | None
    # The apps and the user's password that `--sample` created at this start.
    demo_apps: Sequence[NewApp] = ()
    demo_password: str | None = None

    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    features: Sequence[Feature] = ()
    # Those of all features, in their order, once they are built.
    fast_routes: list[FastRoute] = field(default_factory=list)
    retention_steps: list[RetentionTask] = field(default_factory=list)
    cleanup_steps: list[RetentionTask] = field(default_factory=list)
    # The responses of the control plane, by route name and status.
    responses: Counter[tuple[str, int]] = field(default_factory=Counter)
    # The server of the public address, None before it listens.
    http_server: Server | HTTPServer | None = None

    def __post_init__(self) -> None:
        self.started_at = monotonic()
        self.apps = TokenAuthenticator(self.database)
        self.logins = LoginSessions(self.database)
        self.rate_limits = RequestRateLimits(*self.settings.rate_limits())
        self.memory_budget = MemoryBudget(self.settings.held_bytes)
        self.pages = PageTemplates(
            lambda name: StaticAssetHandler.make_static_url(STATIC_SETTINGS, name),
            f"{PROGRAM_COMMAND} user create NAME --data DIR",
        )

    @classmethod
    async def open(cls, settings: Settings, opened: AsyncExitStack) -> "Core":
        """Open the stores in the data folder, and fill an empty one if `--sample` is set.

        `opened` closes them.
        """
        data = Path(settings.data)
        database = await Database.open(data / DATABASE_FILE)
        opened.push_async_callback(database.close)
        demo_apps: Sequence[NewApp] = ()
        demo_password = None
        if settings.sample and await is_empty(database):
            demo_apps = await load_demo_data(database, data / IMAGES_FOLDER)
            demo_password = await create_demo_user(database)
        setup_token = None if await has_users(database) else secrets.token_urlsafe(24)
        event_log = await EventLog.open(
            database, queue_bytes=settings.queue_bytes, queue_age=settings.queue_seconds
        )
        schemas = await EventSchemaStore.open(database)
        projections = await Projections.open(database, data / PROJECTIONS_FILE)
        opened.push_async_callback(projections.close)
        return cls(
            settings=settings,
            data=data,
            database=database,
            event_log=event_log,
            schemas=schemas,
            projections=projections,
            installation_salt=await read_salt(database),
            clock_state=await load_clock_state(database, time()),
            events_lost_at=await database.read_internal(last_loss),
            setup_token=setup_token,
            demo_apps=demo_apps,
            demo_password=demo_password,
        )

    def build(self, builders: Iterable[Callable[["Core"], Feature]]) -> None:
        """Build the features; their contributions are complete after the last one."""
        self.features = [build(self) for build in builders]
        for feature in self.features:
            self.fast_routes += feature.fast_routes
            self.retention_steps += feature.retention_steps
            self.cleanup_steps += feature.cleanup_steps

    def readiness(self) -> ReadinessReport:
        """Return the report of `/readyz`."""
        checks = {
            name: holds()
            for feature in self.features
            for name, holds in feature.readiness_checks.items()
        }
        notes = [note for feature in self.features for note in feature.readiness_notes()]
        return ReadinessReport(checks, notes)

    def metrics(self) -> Iterable[MetricSample]:
        """Return the samples of all features, read now."""
        for feature in self.features:
            yield from feature.metrics()

    def request_counts(self) -> Counter[tuple[str, int]]:
        """Return the number of responses by route name and status."""
        counts = self.responses.copy()
        for route in self.fast_routes:
            for status, count in route.statuses.items():
                counts[route.name, status] += count
        return counts

    async def import_published(self) -> None:
        """Have all features take in a published import."""
        for feature in self.features:
            await feature.import_published()

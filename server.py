"""Marquee: banners, stories, events, rising pages and daily users from one process.

The one place where things are put together: settings, wiring, the choice of a command.
"""

import asyncio
import contextlib
import ctypes
import gc
import logging
import os
import secrets
import signal
import socket
import ssl
import sys
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from random import Random
from time import time
from typing import Any

try:
    import uvloop
except ModuleNotFoundError as error:
    install = "run `make install`, then: .venv/bin/python server.py"
    sys.exit(f"marquee: this Python has no {error.name}: {install}")
from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler

from app import logging_setup
from app.admin import AdminFeature
from app.listeners import base_url, bind_sockets, load_tls_context, start_server
from app.metrics import all_metrics
from app.sd_notify import SystemdNotifier
from app.settings import PROGRAM_COMMAND, SettingError, Settings, command_line, service_links
from app.startup_message import startup_message
from background.audience.host_poller import MAX_POLLED_HOSTS, HostPoller
from background.audience.toppages_client import (
    REQUEST_TIMEOUT_SECONDS,
    LocalToppagesSource,
    UpstreamToppagesClient,
)
from background.audience.visitor_tracker import VisitorTracker
from background.banners.impression_writer import ImpressionWriter
from background.banners.slot_scheduler import SlotScheduler
from background.common.sse_hub import MAX_LISTENERS as MOST_LISTENERS
from background.common.sse_hub import SseHub
from background.events.projection_worker import REST_RATIO, ProjectionWorker
from background.events.retention_worker import RetentionWorker
from commands import console, options
from commands.parser import build_parser
from demo import demo_traffic
from demo.demo_data import create_demo_user, is_empty, load_demo_data
from demo.traffic_player import TrafficPlayer
from domain.audience.beacon import BeaconPayload
from domain.banners.ranking import Ranking, rank_banners
from domain.banners.slots import SlotPeriod, current_or_next_period, period_at
from domain.common.clock_state import UNKNOWN_CLOCK, ClockState
from domain.common.formatting import escape_for_terminal
from domain.common.timestamp import format_timestamp
from handlers.admin.admin_page import UnknownRouteHandler
from handlers.audience import beacon, host_audience, increasing_concurrents, live_page, toppages
from handlers.banners import banner_image, campaign_page, candidates, conversions
from handlers.common import access_log
from handlers.common.audience_base import AudienceContext
from handlers.common.base_handler import NotFoundHandler, StaticAssetHandler
from handlers.common.ingest import map_store_error
from handlers.common.ingest import now_micros as micros
from handlers.common.rate_limits import RateLimitedApplication, RequestRateLimits
from handlers.common.responses import PROJECT_ROOT, PageTemplates, problem_response
from handlers.common.trailing_slash import fast_route_with_slash, route_with_slash
from handlers.events import (
    event_detail,
    event_export,
    event_ingest,
    event_schemas,
    events,
    rejected_events,
)
from handlers.events.event_ingest_stream import EventStreamContext
from handlers.openapi import docs_page as docs
from handlers.operations import control_socket, health, home, metrics
from handlers.stories import story_events, story_list, story_stats
from httpserver import (
    FastRoute,
    MemoryBudget,
    Server,
    ServerLimits,
    bind_unix,
    inherited_sockets,
    tornado_rules,
)
from store.api.errors import StoreError
from store.cache.active_visitors import ActiveVisitors
from store.sqlite.admin.apps import APPS_CHANGED, NewApp, TokenAuthenticator
from store.sqlite.admin.users import has_users
from store.sqlite.audience.audience_history import AudienceHistory
from store.sqlite.audience.pageview_reader import PageviewReader
from store.sqlite.audience.site_registry import SiteRegistry
from store.sqlite.banners.campaign_stats import (
    CampaignStats,
    load_campaign_stats,
    load_live_stats,
    read_impressions,
)
from store.sqlite.banners.image_store import ImageStore
from store.sqlite.banners.impressions import add_impressions
from store.sqlite.core.clock_record import load_clock_state, save_clock_state
from store.sqlite.core.data_folder import (
    CONTROL_SOCKET,
    DATABASE_FILE,
    IMAGES_FOLDER,
    PROJECTIONS_FILE,
)
from store.sqlite.core.data_folder import prepare_data_folder as prepare_folder
from store.sqlite.core.data_loss import last_loss
from store.sqlite.core.database import Database
from store.sqlite.core.folder_lock import FolderLock
from store.sqlite.core.installation_salt import read_salt
from store.sqlite.core.integrity_check import SAFE_SQLITE_VERSION, SQLITE_VERSION
from store.sqlite.events.click_log import ClickLog
from store.sqlite.events.event_log import EventLog
from store.sqlite.events.event_mutations import EventMutations
from store.sqlite.events.event_queries import EventQueries
from store.sqlite.events.event_retention import EventRetention
from store.sqlite.events.event_schemas import EventSchemaStore
from store.sqlite.events.rejected_event_replay import RejectedEventReplayer
from store.sqlite.imports.import_staging import ImportStaging
from store.sqlite.projections.projections import Projections
from store.sqlite.stories.story_cache import BatchedStoryReader, StoryCache
from store.sqlite.stories.story_event_types import StoryEventTypes
from store.sqlite.stories.story_stats import StoryStats

LOG = logging.getLogger("marquee")
STATIC: dict[str, Any] = {
    "static_path": str(PROJECT_ROOT / "static"),
    "static_url_prefix": "/static/",
}
# Of malloc.h: allocations of so many bytes are given back to the system when they are freed.
M_MMAP_THRESHOLD, LARGE = -3, 131_072
# Commands at once: a person types them.
COMMANDERS = 100


def now() -> datetime:
    """This moment, in UTC."""
    return datetime.now(UTC)


def prepare(
    pages: PageTemplates,
    book: CampaignStats,
    period: SlotPeriod,
    before: campaign_page.SlotPlan | None,
) -> campaign_page.SlotPlan:
    """What all campaigns show in a period, ready to be sent; from `before` what is the same."""
    stages: dict[str, campaign_page.CampaignRotation] = {}
    for campaign in book.campaigns:
        known = None if before is None else before.stages.get(str(campaign))
        found = ranking(book, campaign, period)
        stages[str(campaign)] = campaign_page.CampaignRotation.make(pages, campaign, found, known)
    return campaign_page.SlotPlan(period.slot, stages, frozenset(book.banners), book.targets)


def ranking(book: CampaignStats, campaign: int, period: SlotPeriod) -> Ranking:
    """A campaign's ranking; its random fill is one draw a period, also after a restart."""
    return rank_banners(
        book.counted(period.slot, campaign),
        book.campaigns[campaign],
        book.banners,
        Random(f"{period.start.isoformat()} {campaign}"),
        slot_banners=book.imported(period.slot, campaign),
    )


class Marquee:
    """The running program, from the settings to the sockets."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        data: Path,
        log: EventLog,
        rules: EventSchemaStore,
        views: Projections,
        salt: bytes,
        invitation: str | None = None,
        trust: ClockState = UNKNOWN_CLOCK,
        loss: int | None = None,
    ) -> None:
        """`database` is open, with this `salt`; this process alone holds the folder `data`.

        `invitation` is the token of the link by which the first user is made, `trust` what was
        known of the clock before; `loss` is when events were found to be lost (µs).
        """
        self.loss = loss
        self.settings = settings
        self.database = database
        self.data = data
        self.zone = settings.zone()
        self.ending = asyncio.Event()
        self.status = 0
        self.room = MemoryBudget(settings.held_bytes)
        self.exports = MemoryBudget()
        self.answered: Counter[tuple[str, int]] = Counter()
        self.pages = PageTemplates(
            lambda name: StaticAssetHandler.make_static_url(STATIC, name),
            f"{PROGRAM_COMMAND} user create NAME --data DIR",
        )
        self.apps = TokenAuthenticator(database)
        self.log = log
        self.rules = rules
        self.views = views
        self.folding = ProjectionWorker(views.step, crowded=lambda: log.crowded, mend=views.mend)
        self.rates = RequestRateLimits(*settings.rates())
        self.events = event_ingest.EventIngest(self.apps, log, rules, limit=self.rates.per_token)
        database.watch(APPS_CHANGED, rules.reload)
        self.asked = EventQueries(database, views)
        self.replays = RejectedEventReplayer(database, log, rules)
        self.shelves = StoryCache(database, story_list.PreparedStories, micros)
        self.stories = story_list.AppStories(BatchedStoryReader(database, micros), self.shelves)
        self.story_events = story_events.StoryEventIngest(
            self.shelves, log, salt, StoryEventTypes(views)
        )
        self.changes = EventMutations(database, log, views)
        self.retention = EventRetention(database, views, settings.retention_days)
        self.images = ImageStore(database, data / IMAGES_FOLDER, settings.image_cache)
        self.campaigns = campaign_page.CampaignPages(self.pages, ClickLog(log).record)
        self.impressions = ImpressionWriter(
            lambda: self.campaigns.programme.views(),
            lambda counts: add_impressions(database, counts),
        )
        self.rotation: SlotScheduler[CampaignStats, campaign_page.SlotPlan] = SlotScheduler(
            self._book,
            lambda book, period, before: prepare(self.pages, book, period, before),
            self._show,
            zone=self.zone,
            clock=now,
            renew=self._with_live if settings.live_figures else None,
        )
        self.sites = SiteRegistry(database)
        database.watch(APPS_CHANGED, self.sites.refresh)
        self.presence = ActiveVisitors(settings.visit_seconds)
        pageviews = PageviewReader(database, self.sites, self.presence)
        self.visits = VisitorTracker(self.sites.refresh, pageviews.step, self.presence.sweep)
        self.source = self._source()
        self.audiences = AudienceHistory(database, self.source.name, settings.audience_days)
        self.upkeep = RetentionWorker(
            (self.retention.once, self.audiences.sweep),
            (self.changes.clean,),
            trust=trust,
            note=partial(save_clock_state, database),
        )
        self.sampler = HostPoller(
            self.source,
            self.audiences.keep,
            self.audiences.other_days,
            period=settings.reading_seconds,
        )
        self.feeds = SseHub()
        self.beacon = beacon.BeaconIngest(self.sites, self.presence, self.log)
        self.staging = ImportStaging(database, data / IMAGES_FOLDER)
        self.control = control_socket.ControlService(
            database,
            self.staging,
            self._published,
            partial(views.rebuild, rest=REST_RATIO),
            EventQueries(database, views, internal=True),
            self.replays,
        )
        self.lanes = self._lanes()
        self.owners = AdminFeature(self, salt, invitation)
        self.listener: Server | HTTPServer | None = None
        self.servers: list[Server | HTTPServer] = []
        self.loops: list[asyncio.Task[None]] = []

    async def start(
        self, sockets: Sequence[socket.socket], tls: ssl.SSLContext | None = None
    ) -> None:
        """Warm up, then listen: on `sockets` for the world, in the data folder for commands."""
        await self.rotation.reload()
        await self.visits.once()
        watched = await self.audiences.watched(MAX_POLLED_HOSTS)
        self.source.trust(watched)
        self.sampler.resume(watched)
        playing = self._playing()
        if self.played:
            await self.sampler.ask(demo_traffic.DEMO_TOKEN, demo_traffic.DEMO_HOST)
        await self.owners.start()
        for loop in (
            *playing,
            self.rotation.run,
            self.impressions.run,
            self.folding.run,
            self.upkeep.run,
            self.visits.run,
            self.sampler.run,
            self.owners.pulse.run,
            self._watch,
            self.staging.clear,
        ):
            self.loops.append(asyncio.create_task(loop()))
            self.loops[-1].add_done_callback(self._ended)
        commanding = Server(
            self._commanding(),
            limits=ServerLimits(
                connections=COMMANDERS, idle_seconds=control_socket.IMPORT_IDLE_TIMEOUT_SECONDS
            ),
        )
        await commanding.listen([bind_unix(self.data / CONTROL_SOCKET)])
        self.servers.append(commanding)
        self.listener = await start_server(
            self.settings, self.application(), self.lanes, self.room, sockets, tls
        )
        self.servers.append(self.listener)

    async def stop(self) -> None:
        """Answer what is in flight, write what is in memory."""
        self.feeds.close()
        await self.owners.stop()
        await self.control.close()
        for server in reversed(self.servers):
            if isinstance(server, Server):
                await server.drain(self.settings.drain_seconds)
            else:
                server.stop()
                await server.close_all_connections()
        for loop in self.loops:
            loop.cancel()
        await asyncio.gather(*self.loops, return_exceptions=True)
        await self.source.close()
        await self.sampler.close()
        await self.impressions.once()
        await self.log.drain()

    def end(self) -> None:
        """Ask for the end; asked again, end at once."""
        if self.ending.is_set():
            os._exit(1)
        LOG.info("stopping: answering what is in flight (a second signal ends it at once)")
        self.ending.set()

    def readiness(self) -> health.ReadinessReport:
        """What `/readyz` says."""
        checks = {
            "migrated": True,  # or the database would not be open
            "warm": self.rotation.ready,
            "writer": self.database.failed is None,
            "projections": not (self.views.trouble or self.folding.failing),
            "taking": not self.ending.is_set(),
        }
        notes = []
        if SQLITE_VERSION < SAFE_SQLITE_VERSION:
            version = ".".join(map(str, SQLITE_VERSION))
            notes.append(
                f"SQLite {version} can harm a database that two connections write "
                "(mended in 3.51.3); one connection alone writes here, so keep other programs out"
            )
        if self.database.held_back:
            notes.append(
                f"marquee.db-wal has {self.database.wal_bytes // 1_000_000} MB: some program has "
                "been reading marquee.db for long; it is emptied when that one ends"
            )
        if self.database.lost:
            notes.append(f"at the start, {self.database.lost} commits in marquee.db-wal were gone")
        elif self.loss is not None:
            notes.append(
                f"on {format_timestamp(self.loss)[:10]}, acknowledged events were found to be gone "
                f"from {DATABASE_FILE} (a damaged or removed {DATABASE_FILE}-wal, or an older copy "
                "put back)"
            )
        if trouble := self.views.trouble:
            notes.append(f"events cannot be looked up: {trouble}")
        if failing := self.folding.failing:
            notes.append(f"projection update failed: {failing}")
        if failing := self.impressions.failing:
            notes.append(f"cannot flush impressions; retrying: {failing}")
        notes += filter(None, (self.upkeep.doubt, self.upkeep.failing))
        return health.ReadinessReport(checks, notes)

    def _show(self, programme: campaign_page.SlotPlan) -> None:
        self.impressions.collect()
        self.campaigns.show(programme)

    async def _published(self) -> None:
        self.images.forget()
        await self.rotation.reload()

    async def _book(self) -> CampaignStats:
        found = await load_campaign_stats(self.database)
        return await self._with_live(found) if self.settings.live_figures else found

    async def _with_live(self, found: CampaignStats) -> CampaignStats:
        """The book with what happened here by now; the same one if that is in it."""
        figures = await load_live_stats(self.views.read_internal)
        return found if figures == found.live else replace(found, live=figures)

    def present(self) -> int:
        """The slot now."""
        return period_at(now(), self.zone).slot

    async def rank(self, campaign: int, slot: int) -> Ranking | None:
        """What a campaign shows in a slot, with the figures of this moment; None if unknown."""
        book = self.rotation.book
        if campaign not in book.campaigns:
            return None
        period = current_or_next_period(slot, now(), self.zone)
        found = await asyncio.to_thread(ranking, book, campaign, period)
        # Clicks and revenue are those that the order follows from; views change none.
        shown = await read_impressions(self.database, slot, campaign)
        candidates = (
            replace(each, figures=replace(each.figures, impressions=shown.get(each.banner, 0)))
            for each in found.candidates
        )
        return replace(found, candidates=tuple(candidates))

    def _lanes(self) -> list[FastRoute]:
        banner = banner_image.BannerImages(
            self.pages, lambda: self.campaigns.programme.banners, self.images.picture
        )
        lanes = [
            *self.campaigns.lanes(),
            *banner.lanes(),
            *self.stories.lanes(),
            *self.story_events.lanes(),
            *self.events.fast_routes(),
            *increasing_concurrents.IncreasingConcurrents(self.sampler).lanes(),
            *toppages.TopPages(self.sites, self.presence).lanes(),
            *self.beacon.lanes(),
            *health.fast_routes(),
        ]
        for lane in lanes:
            fast_route_with_slash(lane)
            lane.refusal = map_store_error
            self.rates.limit_fast_route(lane)
            if self.settings.access_log:
                access_log.log_fast_route(lane)
        return lanes

    @property
    def played(self) -> bool:
        """Whether an audience is played: with a sample, if its app is there, and is looked at."""
        site = self.sites.known(demo_traffic.DEMO_TOKEN)
        wanted = self.settings.sample and self.settings.traffic and not self.settings.upstream
        return wanted and site is not None and demo_traffic.DEMO_HOST in site.hosts

    def _playing(self) -> Iterable[Callable[[], Coroutine[Any, Any, None]]]:
        site = self.sites.known(demo_traffic.DEMO_TOKEN)
        if not self.played or site is None:
            return ()

        def take(sign: BeaconPayload) -> None:
            self.sampler.look(
                demo_traffic.DEMO_TOKEN, demo_traffic.DEMO_HOST
            )  # so that its page has a history
            if self.log.room(0) and (stored := self.beacon.keep(sign, site)):
                stored.add_done_callback(lambda done: done.exception())

        audience = demo_traffic.DemoTraffic(Random())
        if not self.presence.reading(site.app, demo_traffic.DEMO_HOST).visitors:
            # It has been there for a while, or all of its pages would rise.
            for ago in range(demo_traffic.WARM_UP_SECONDS, 0, -1):
                for sign in audience.step():
                    self.presence.see(
                        site.app, sign.host, sign.path, sign.session, ago=ago, title=sign.title
                    )
        return (TrafficPlayer(audience.step, take).run,)

    def _source(self) -> LocalToppagesSource | UpstreamToppagesClient:
        """Where the audience is read."""
        settings = self.settings
        if not (upstream := settings.source()):
            return LocalToppagesSource(self.sites, self.presence)
        period = settings.reading_seconds
        deadline = min(REQUEST_TIMEOUT_SECONDS, 0.8 * period)
        return UpstreamToppagesClient(
            upstream, settings.upstream_version, period=period, deadline=deadline
        )

    def application(self) -> Application:
        """The control plane, in which every lane is mounted too."""
        listeners = MemoryBudget(MOST_LISTENERS)
        watched = AudienceContext(self.sampler, self.feeds, listeners, self.settings.rising_score)
        counted = metrics.MetricsCollector(self.lanes, self._routes, partial(all_metrics, self))
        routes = [
            (r"/", home.HomeHandler, {"pages": self.pages}),
            (
                r"/api/v1/campaigns/(\d{1,19})/candidates",
                candidates.CandidatesHandler,
                {"present": self.present, "rank": self.rank},
            ),
            (
                r"/api/v1/conversions",
                conversions.ConversionsHandler,
                {"database": self.database, "log": self.log},
            ),
            *events.routes(
                self.asked,
                self.changes,
                EventStreamContext(
                    ingest=self.events.ingest,
                    log=self.log,
                    schemas=self.rules,
                    max_stream_bytes=self.settings.max_batch,
                    max_item_bytes=self.settings.max_body,
                    memory_budget=self.room,
                ),
            ),
            *event_export.routes(self.asked, self.exports),
            *story_stats.routes(StoryStats(self.views, public=True), self.shelves),
            *event_detail.routes(self.asked, self.changes, self.apps, self.rules),
            *rejected_events.routes(self.database, self.replays),
            *event_schemas.routes(self.rules, self.asked),
            *host_audience.routes(watched, self.audiences),
            *live_page.routes(watched, self.pages),
            *self.owners.routes(),
            (r"/readyz", health.ReadinessHandler, {"readiness": self.readiness}),
            (r"/metrics", metrics.MetricsHandler, {"metrics": counted}),
            *docs.routes(self.pages),
            (r"/static/(.*)", StaticAssetHandler, {"path": STATIC["static_path"]}),
        ]
        return RateLimitedApplication(
            tornado_rules(
                self.lanes,
                map(route_with_slash, routes),
                NotFoundHandler,
                error=problem_response,
                room=self.room,
            ),
            default_handler_class=UnknownRouteHandler,
            log_function=self._answered,
            cross_origin_protection=True,
            proxied=bool(self.settings.trusted()),
            pages=self.pages,
            authenticate=self.apps.authenticate,
            rates=self.rates,
            owner=self.owners.logins.who,
        )

    def _commanding(self) -> Application:
        """What commands speak to, on the owner's socket."""
        ready = (r"/readyz", health.ReadinessHandler, {"readiness": self.readiness})
        return Application([*self.control.routes(), ready], log_function=lambda _: None)

    def _routes(self) -> Iterable[tuple[str, int, int]]:
        return [(route, status, count) for (route, status), count in self.answered.items()]

    def _answered(self, handler: RequestHandler) -> None:
        self.answered[type(handler).__name__, handler.get_status()] += 1
        if self.settings.access_log:
            access_log.log_handler(handler)

    def _ended(self, loop: asyncio.Task[None]) -> None:
        """A loop that fails ends the program, which its supervisor starts anew."""
        if not loop.cancelled() and (error := loop.exception()) and not self.ending.is_set():
            LOG.critical("stopping, as a loop has failed", exc_info=error)
            self.status = 1
            self.end()

    async def _watch(self) -> None:
        """See to the WAL; end, to be started anew, when the database can no longer be trusted."""
        while self.database.failed is None:
            await asyncio.sleep(0.5)
            await self.database.tend()
        LOG.critical("%s; stopping, as nothing more would be kept", self.database.failed)
        self.status = 1
        self.end()


async def serve(settings: Settings, as_json: bool = False) -> int:
    """Serve until told to end; the exit status."""
    # SQLite's thread asks for the interpreter after each statement; a busy loop would make it
    # wait for 5 ms each time (63 rows in a commit: 17-50 ms, so 2-5).
    sys.setswitchinterval(0.0005)
    # Else the C library, once it has seen large bodies, keeps in small pieces what they leave.
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE)
    data = Path(settings.data)
    # Before anything is kept: what cannot be served with or listened on is told at once.
    tls = load_tls_context(settings)
    sockets = inherited_sockets() or bind_sockets(settings)
    supervisor = SystemdNotifier(os.environ, os.getpid())
    starting = asyncio.create_task(supervisor.start())
    with FolderLock(data):
        prepare_folder(data)
        async with AsyncExitStack() as opened:
            database = await Database.open(data / DATABASE_FILE)
            opened.push_async_callback(database.close)
            made: list[NewApp] = []
            password = None
            if settings.sample and await is_empty(database):
                made = await load_demo_data(database, data / IMAGES_FOLDER)
                password = await create_demo_user(database)
            nobody = not await has_users(database)
            invitation = secrets.token_urlsafe(24) if nobody else None
            log = await EventLog.open(
                database, queue_bytes=settings.queue_bytes, queue_age=settings.queue_seconds
            )
            rules = await EventSchemaStore.open(database)
            views = await Projections.open(database, data / PROJECTIONS_FILE)
            opened.push_async_callback(views.close)
            marquee = Marquee(
                *(
                    settings,
                    database,
                    data,
                    log,
                    rules,
                    views,
                    await read_salt(database),
                    invitation,
                ),
                await load_clock_state(database, time()),
                await database.read_internal(last_loss),
            )
            loop = asyncio.get_running_loop()
            for name in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(name, marquee.end)
            try:
                await marquee.start(sockets, tls)
                # What is here now stays: it is not worth looking through again, and what a request
                # leaves behind is mostly freed by its count.
                gc.collect()
                gc.freeze()
                gc.set_threshold(20_000, 20, 50)
                print(
                    startup_message(settings, sockets, marquee, made, password, as_json), flush=True
                )
                starting.cancel()
                watched = asyncio.create_task(supervisor.watch())
                supervisor.ready(f"serving on {base_url(settings, sockets)}")
                await marquee.ending.wait()
                supervisor.stopping()
            finally:
                await marquee.stop()
            watched.cancel()
    return marquee.status


def main(words: Sequence[str]) -> int:
    """Do what the words say; the exit status.

    0 done, 1 could not be done, 2 wrong words, 130 interrupted by Ctrl-C, 141 the reader of the
    output left.
    """
    return console.run_command(partial(_main, words))


def _main(words: Sequence[str]) -> int:
    if not words or (words[0].startswith("-") and words[0] not in ("-h", "--help")):
        words = ["serve", *words]
    arguments = build_parser().parse_args(words)
    settings = Settings()  # until they are known
    try:
        settings = options.parse_settings(arguments)
        logging_setup.configure_logging(settings.log_level, settings.log_format)
        if arguments.command == "serve" and (linked := service_links(os.environ)):
            LOG.info(
                "ignored service link variables, which are not settings: %s", ", ".join(linked)
            )
        if arguments.command != "serve":
            status: int = arguments.run(arguments, settings)
            return status
        make = uvloop.new_event_loop if settings.loop == "uvloop" else asyncio.new_event_loop
        with asyncio.Runner(loop_factory=make) as runner:
            return runner.run(serve(settings, arguments.json))
    except SettingError as error:
        print(f"marquee: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        raise  # an error of the output, which `console.run_command` handles
    except (StoreError, OSError) as error:
        print(f"marquee: {escape_for_terminal(str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("marquee: interrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    except Exception as error:  # a disk that has changed what it holds can lead to any
        LOG.critical("it cannot go on", exc_info=error)
        doctor = command_line("doctor", settings.data)
        words = f"it cannot go on ({error}); `{doctor}` looks the data folder over"
        print(f"marquee: {words}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

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

import console
import logs
from commands import options
from commands.parser import parser
from figures import figures
from greeting import where
from handlers import (
    access,
    audience,
    banners,
    beacon,
    campaigns,
    candidates,
    control,
    conversions,
    event_rules,
    events,
    health,
    home,
    increasing,
    live_page,
    metrics,
    one_event,
    queries,
    rejects,
    stories,
    story_events,
    streams,
    toppages,
    usage,
)
from handlers.admin.page import UnknownAddress
from handlers.answers import ROOT, Pages, problem
from handlers.base import Missing, Static
from handlers.docs import page as docs
from handlers.rates import Limited, Rates
from handlers.taking import now as micros
from handlers.taking import unavailable
from handlers.trailing_slash import lane_with_slash, route_with_slash
from handlers.watching import Audience
from listening import bound, certificate, listen, root
from loops.feeds import MOST as MOST_LISTENERS
from loops.feeds import Feeds
from loops.folding import REST, Folding
from loops.impressions import Impressions
from loops.playing import Playing
from loops.rotation import Rotation
from loops.sampler import MOST, Sampler
from loops.upkeep import Upkeep
from loops.visits import Visits
from owners import Owners
from rules import played
from rules.beacon import Sign
from rules.ranking import Ranking, rank
from rules.slots import Period, period_at, period_of
from rules.timestamp import text
from rules.trust import UNKNOWN, Trust
from rules.words import inert
from sample import fill, make_owner, pristine
from settings import PROGRAM, SettingError, Settings, call, service_links
from store.apps import APPS, Apps, NewApp
from store.audience import Audiences
from store.campaigns import Book, book, impressions, live
from store.changes import Changes
from store.clicks import Clicks
from store.data_folder import DATABASE, IMAGES, SOCKET, VIEWS
from store.data_folder import prepare as prepare_folder
from store.database import Database
from store.errors import StoreError
from store.event_rules import EventRules
from store.events import Events
from store.images import Images
from store.impressions import add as add_impressions
from store.lock import Lock
from store.log import Log
from store.losses import last_loss
from store.pageviews import Pageviews
from store.presence import Presence
from store.replaying import Replays
from store.retention import Retention
from store.salt import salt
from store.shelves import Reads, Shelves
from store.sites import Sites
from store.soundness import SQLITE, UNHARMED
from store.staging import Staging
from store.story_types import StoryTypes
from store.trust import note_trust, trust_in_clock
from store.upstream import DEADLINE, Own, Upstream
from store.usage import Usage
from store.users import any_user
from store.views import Views
from supervisor import Supervisor
from wire import Lane, Limits, Room, Server, bind_unix, inherited, mount

LOG = logging.getLogger("marquee")
STATIC: dict[str, Any] = {
    "static_path": str(ROOT / "static"),
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
    pages: Pages, book: Book, period: Period, before: campaigns.Programme | None
) -> campaigns.Programme:
    """What all campaigns show in a period, ready to be sent; from `before` what is the same."""
    stages: dict[str, campaigns.Stage] = {}
    for campaign in book.campaigns:
        known = None if before is None else before.stages.get(str(campaign))
        found = ranking(book, campaign, period)
        stages[str(campaign)] = campaigns.Stage.make(pages, campaign, found, known)
    return campaigns.Programme(period.slot, stages, frozenset(book.banners), book.targets)


def ranking(book: Book, campaign: int, period: Period) -> Ranking:
    """A campaign's ranking; its random fill is one draw a period, also after a restart."""
    return rank(
        book.counted(period.slot, campaign),
        book.campaigns[campaign],
        book.banners,
        Random(f"{period.start.isoformat()} {campaign}"),
        slot_banners=book.imported(period.slot, campaign),
    )


class Address(queries.Listed, streams.Streamed):
    """`/events`, where events are asked for and, in large batches, taken."""

    def initialize(self, **parts: Any) -> None:
        """The parts of both."""
        queries.Listed.initialize(self, **parts)
        streams.Streamed.initialize(self, **parts)


class Marquee:
    """The running program, from the settings to the sockets."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        data: Path,
        log: Log,
        rules: EventRules,
        views: Views,
        salt: bytes,
        invitation: str | None = None,
        trust: Trust = UNKNOWN,
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
        self.room = Room(settings.held_bytes)
        self.exports = Room()
        self.answered: Counter[tuple[str, int]] = Counter()
        self.pages = Pages(
            lambda name: Static.make_static_url(STATIC, name),
            f"{PROGRAM} user create NAME --data DIR",
        )
        self.apps = Apps(database)
        self.log = log
        self.rules = rules
        self.views = views
        self.folding = Folding(views.step, crowded=lambda: log.crowded, mend=views.mend)
        self.rates = Rates(*settings.rates())
        self.events = events.Events(self.apps, log, rules, limit=self.rates.token)
        database.watch(APPS, rules.reload)
        self.asked = Events(database, views)
        self.replays = Replays(database, log, rules)
        self.shelves = Shelves(database, stories.Ready, micros)
        self.stories = stories.Stories(Reads(database, micros), self.shelves)
        self.story_events = story_events.StoryEvents(self.shelves, log, salt, StoryTypes(views))
        self.changes = Changes(database, log, views)
        self.retention = Retention(database, views, settings.retention_days)
        self.images = Images(database, data / IMAGES, settings.image_cache)
        self.campaigns = campaigns.Campaigns(self.pages, Clicks(log).record)
        self.impressions = Impressions(
            lambda: self.campaigns.programme.views(),
            lambda counts: add_impressions(database, counts),
        )
        self.rotation: Rotation[Book, campaigns.Programme] = Rotation(
            self._book,
            lambda book, period, before: prepare(self.pages, book, period, before),
            self._show,
            zone=self.zone,
            clock=now,
            renew=self._with_live if settings.live_figures else None,
        )
        self.sites = Sites(database)
        database.watch(APPS, self.sites.refresh)
        self.presence = Presence(settings.visit_seconds)
        pageviews = Pageviews(database, self.sites, self.presence)
        self.visits = Visits(self.sites.refresh, pageviews.step, self.presence.sweep)
        self.source = self._source()
        self.audiences = Audiences(database, self.source.name, settings.audience_days)
        self.upkeep = Upkeep(
            (self.retention.once, self.audiences.sweep),
            (self.changes.clean,),
            trust=trust,
            note=partial(note_trust, database),
        )
        self.sampler = Sampler(
            self.source,
            self.audiences.keep,
            self.audiences.other_days,
            period=settings.reading_seconds,
        )
        self.feeds = Feeds()
        self.beacon = beacon.Beacon(self.sites, self.presence, self.log)
        self.staging = Staging(database, data / IMAGES)
        self.control = control.Control(
            database,
            self.staging,
            self._published,
            partial(views.rebuild, rest=REST),
            Events(database, views, internal=True),
            self.replays,
        )
        self.lanes = self._lanes()
        self.owners = Owners(self, salt, invitation)
        self.listener: Server | HTTPServer | None = None
        self.servers: list[Server | HTTPServer] = []
        self.loops: list[asyncio.Task[None]] = []

    async def start(
        self, sockets: Sequence[socket.socket], tls: ssl.SSLContext | None = None
    ) -> None:
        """Warm up, then listen: on `sockets` for the world, in the data folder for commands."""
        await self.rotation.reload()
        await self.visits.once()
        watched = await self.audiences.watched(MOST)
        self.source.trust(watched)
        self.sampler.resume(watched)
        playing = self._playing()
        if self.played:
            await self.sampler.ask(played.TOKEN, played.HOST)
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
            limits=Limits(connections=COMMANDERS, idle_seconds=control.PATIENCE),
        )
        await commanding.listen([bind_unix(self.data / SOCKET)])
        self.servers.append(commanding)
        self.listener = await listen(
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

    def readiness(self) -> health.Readiness:
        """What `/readyz` says."""
        checks = {
            "migrated": True,  # or the database would not be open
            "warm": self.rotation.ready,
            "writer": self.database.failed is None,
            "projections": not (self.views.trouble or self.folding.failing),
            "taking": not self.ending.is_set(),
        }
        notes = []
        if SQLITE < UNHARMED:
            version = ".".join(map(str, SQLITE))
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
                f"on {text(self.loss)[:10]}, acknowledged events were found to be gone from "
                f"{DATABASE} (a damaged or removed {DATABASE}-wal, or an older copy put back)"
            )
        if trouble := self.views.trouble:
            notes.append(f"events cannot be looked up: {trouble}")
        if failing := self.folding.failing:
            notes.append(f"projection update failed: {failing}")
        if failing := self.impressions.failing:
            notes.append(f"cannot flush impressions; retrying: {failing}")
        notes += filter(None, (self.upkeep.doubt, self.upkeep.failing))
        return health.Readiness(checks, notes)

    def _show(self, programme: campaigns.Programme) -> None:
        self.impressions.collect()
        self.campaigns.show(programme)

    async def _published(self) -> None:
        self.images.forget()
        await self.rotation.reload()

    async def _book(self) -> Book:
        found = await book(self.database)
        return await self._with_live(found) if self.settings.live_figures else found

    async def _with_live(self, found: Book) -> Book:
        """The book with what happened here by now; the same one if that is in it."""
        figures = await live(self.views.read_internal)
        return found if figures == found.live else replace(found, live=figures)

    def present(self) -> int:
        """The slot now."""
        return period_at(now(), self.zone).slot

    async def rank(self, campaign: int, slot: int) -> Ranking | None:
        """What a campaign shows in a slot, with the figures of this moment; None if unknown."""
        book = self.rotation.book
        if campaign not in book.campaigns:
            return None
        period = period_of(slot, now(), self.zone)
        found = await asyncio.to_thread(ranking, book, campaign, period)
        # Clicks and revenue are those that the order follows from; views change none.
        shown = await impressions(self.database, slot, campaign)
        candidates = (
            replace(each, figures=replace(each.figures, impressions=shown.get(each.banner, 0)))
            for each in found.candidates
        )
        return replace(found, candidates=tuple(candidates))

    def _lanes(self) -> list[Lane]:
        banner = banners.Banners(
            self.pages, lambda: self.campaigns.programme.banners, self.images.picture
        )
        lanes = [
            *self.campaigns.lanes(),
            *banner.lanes(),
            *self.stories.lanes(),
            *self.story_events.lanes(),
            *self.events.lanes(),
            *increasing.Increasing(self.sampler).lanes(),
            *toppages.TopPages(self.sites, self.presence).lanes(),
            *self.beacon.lanes(),
            *health.lanes(),
        ]
        for lane in lanes:
            lane_with_slash(lane)
            lane.refusal = unavailable
            self.rates.limit_lane(lane)
            if self.settings.access_log:
                access.log_lane(lane)
        return lanes

    @property
    def played(self) -> bool:
        """Whether an audience is played: with a sample, if its app is there, and is looked at."""
        site = self.sites.known(played.TOKEN)
        wanted = self.settings.sample and self.settings.traffic and not self.settings.upstream
        return wanted and site is not None and played.HOST in site.hosts

    def _playing(self) -> Iterable[Callable[[], Coroutine[Any, Any, None]]]:
        site = self.sites.known(played.TOKEN)
        if not self.played or site is None:
            return ()

        def take(sign: Sign) -> None:
            self.sampler.look(played.TOKEN, played.HOST)  # so that its page has a history
            if self.log.room(0) and (stored := self.beacon.keep(sign, site)):
                stored.add_done_callback(lambda done: done.exception())

        audience = played.Played(Random())
        if not self.presence.reading(site.app, played.HOST).visitors:
            # It has been there for a while, or all of its pages would rise.
            for ago in range(played.WARM, 0, -1):
                for sign in audience.step():
                    self.presence.see(
                        site.app, sign.host, sign.path, sign.session, ago=ago, title=sign.title
                    )
        return (Playing(audience.step, take).run,)

    def _source(self) -> Own | Upstream:
        """Where the audience is read."""
        settings = self.settings
        if not (upstream := settings.source()):
            return Own(self.sites, self.presence)
        period = settings.reading_seconds
        deadline = min(DEADLINE, 0.8 * period)
        return Upstream(upstream, settings.upstream_version, period=period, deadline=deadline)

    def application(self) -> Application:
        """The control plane, in which every lane is mounted too."""
        listeners = Room(MOST_LISTENERS)
        watched = Audience(self.sampler, self.feeds, listeners, self.settings.rising_score)
        counted = metrics.Metrics(self.lanes, self._routes, partial(figures, self))
        routes = [
            (r"/", home.Home, {"pages": self.pages}),
            (
                r"/api/v1/campaigns/(\d{1,19})/candidates",
                candidates.Candidates,
                {"present": self.present, "rank": self.rank},
            ),
            (
                r"/api/v1/conversions",
                conversions.Conversions,
                {"database": self.database, "log": self.log},
            ),
            (
                events.PATTERN,
                Address,
                {
                    "events": self.asked,
                    "changes": self.changes,
                    "take": self.events.take,
                    "log": self.log,
                    "rules": self.rules,
                    "most": self.settings.max_batch,
                    "largest": self.settings.max_body,
                    "room": self.room,
                },
            ),
            *queries.routes(self.asked, self.exports),
            *usage.routes(Usage(self.views, public=True), self.shelves),
            *one_event.routes(self.asked, self.changes, self.apps, self.rules),
            *rejects.routes(self.database, self.replays),
            *event_rules.routes(self.rules, self.asked),
            *audience.routes(watched, self.audiences),
            *live_page.routes(watched, self.pages),
            *self.owners.routes(),
            (r"/readyz", health.Ready, {"readiness": self.readiness}),
            (r"/metrics", metrics.Exposition, {"metrics": counted}),
            *docs.routes(self.pages),
            (r"/static/(.*)", Static, {"path": STATIC["static_path"]}),
        ]
        return Limited(
            mount(
                self.lanes,
                map(route_with_slash, routes),
                Missing,
                error=problem,
                room=self.room,
            ),
            default_handler_class=UnknownAddress,
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
        ready = (r"/readyz", health.Ready, {"readiness": self.readiness})
        return Application([*self.control.routes(), ready], log_function=lambda _: None)

    def _routes(self) -> Iterable[tuple[str, int, int]]:
        return [(route, status, count) for (route, status), count in self.answered.items()]

    def _answered(self, handler: RequestHandler) -> None:
        self.answered[type(handler).__name__, handler.get_status()] += 1
        if self.settings.access_log:
            access.log_handler(handler)

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
    tls = certificate(settings)
    sockets = inherited() or bound(settings)
    supervisor = Supervisor(os.environ, os.getpid())
    starting = asyncio.create_task(supervisor.start())
    with Lock(data):
        prepare_folder(data)
        async with AsyncExitStack() as opened:
            database = await Database.open(data / DATABASE)
            opened.push_async_callback(database.close)
            made: list[NewApp] = []
            password = None
            if settings.sample and await pristine(database):
                made = await fill(database, data / IMAGES)
                password = await make_owner(database)
            nobody = not await any_user(database)
            invitation = secrets.token_urlsafe(24) if nobody else None
            log = await Log.open(
                database, queue_bytes=settings.queue_bytes, queue_age=settings.queue_seconds
            )
            rules = await EventRules.open(database)
            views = await Views.open(database, data / VIEWS)
            opened.push_async_callback(views.close)
            marquee = Marquee(
                *(settings, database, data, log, rules, views, await salt(database), invitation),
                await trust_in_clock(database, time()),
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
                print(where(settings, sockets, marquee, made, password, as_json), flush=True)
                starting.cancel()
                watched = asyncio.create_task(supervisor.watch())
                supervisor.ready(f"serving on {root(settings, sockets)}")
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
    return console.run(partial(_main, words))


def _main(words: Sequence[str]) -> int:
    if not words or (words[0].startswith("-") and words[0] not in ("-h", "--help")):
        words = ["serve", *words]
    arguments = parser().parse_args(words)
    settings = Settings()  # until they are known
    try:
        settings = options.settings(arguments)
        logs.start(settings.log_level, settings.log_format)
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
        raise  # an error of the output, which `console.run` handles
    except (StoreError, OSError) as error:
        print(f"marquee: {inert(str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("marquee: interrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    except Exception as error:  # a disk that has changed what it holds can lead to any
        LOG.critical("it cannot go on", exc_info=error)
        doctor = call("doctor", settings.data)
        words = f"it cannot go on ({error}); `{doctor}` looks the data folder over"
        print(f"marquee: {words}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

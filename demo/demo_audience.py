"""Sends demo traffic to this server's own beacon, so that live pages have something to show."""

import asyncio
from random import Random

from background.audience.host_poller import HostPoller
from demo.demo_traffic import DEMO_HOST, DEMO_TOKEN, WARM_UP_SECONDS, DemoTraffic
from domain.audience.beacon import BeaconPayload
from handlers.audience.beacon import BeaconIngest
from store.cache.active_visitors import ActiveVisitors
from store.sqlite.audience.site_registry import AppSite, SiteRegistry
from store.sqlite.events.event_log import EventLog


class DemoAudience:
    """Sends the demo traffic; idle if the demo app was removed."""

    def __init__(
        self,
        sites: SiteRegistry,
        visitors: ActiveVisitors,
        poller: HostPoller,
        ingest: BeaconIngest,
        log: EventLog,
        rng: Random,
    ) -> None:
        self._sites = sites
        self._visitors = visitors
        self._poller = poller
        self._ingest = ingest
        self._log = log
        self._traffic = DemoTraffic(rng)
        self._site: AppSite | None = None

    @property
    def is_playing(self) -> bool:
        """Whether `start` found the demo app."""
        return self._site is not None

    async def start(self) -> None:
        """Add visitors of the last minutes; otherwise all pages would count as rising at first."""
        site = self._sites.get_cached(DEMO_TOKEN)
        if site is None or DEMO_HOST not in site.hosts:
            return
        self._site = site
        if not self._visitors.reading(site.app, DEMO_HOST).visitors:
            for ago in range(WARM_UP_SECONDS, 0, -1):
                for beacon in self._traffic.step():
                    self._visitors.see(
                        site.app,
                        beacon.host,
                        beacon.path,
                        beacon.session,
                        ago=ago,
                        title=beacon.title,
                    )
        await self._poller.ask(DEMO_TOKEN, DEMO_HOST)

    async def run(self) -> None:
        """Send the traffic of each second until cancelled."""
        while self._site is not None:
            for beacon in self._traffic.step():
                self._send(beacon, self._site)
            await asyncio.sleep(1)

    def _send(self, beacon: BeaconPayload, site: AppSite) -> None:
        # As if requested: hosts that nobody requests are read once an hour.
        self._poller.look(DEMO_TOKEN, DEMO_HOST)
        if self._log.has_room(0) and (stored := self._ingest.record(beacon, site)):
            stored.add_done_callback(lambda done: done.exception())

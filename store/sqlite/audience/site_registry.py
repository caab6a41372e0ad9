"""Apps by public token, with the hosts that they list, in memory."""

import asyncio
from typing import NamedTuple

import msgspec

from domain.common import hosts
from store.sqlite.core.database import Database
from store.sqlite.core.paging import TableScan, read_all_rows

APP_SCAN = TableScan("app", ("id",), "id, public_token, hosts")


class AppSite(NamedTuple):
    """An app and its hosts."""

    app: int
    hosts: frozenset[str]

    def matching_host(self, host: str) -> str | None:
        """Return the app's own entry for a host, in canonical form; None if it lists none."""
        return hosts.matching_host(host, self.hosts)


class SiteRegistry:
    """All apps as of the last refresh."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._by_token: dict[str, AppSite] = {}
        self._by_app: dict[int, AppSite] = {}
        self._refreshing: asyncio.Task[None] | None = None

    def get_cached(self, token: str) -> AppSite | None:
        """Return the app of a public token as of the last refresh."""
        return self._by_token.get(token)

    def matching_host(self, app: int, host: str) -> str | None:
        """Return an app's own entry for a host, in canonical form; None if it lists none."""
        site = self._by_app.get(app)
        return None if site is None else site.matching_host(host)

    @property
    def has_hosts(self) -> bool:
        """Whether any app lists a host."""
        return any(site.hosts for site in self._by_app.values())

    async def get(self, token: str) -> AppSite | None:
        """Return the app of a public token; refresh once if it is unknown."""
        site = self._by_token.get(token)
        if site is None:
            await self.refresh()
            site = self._by_token.get(token)
        return site

    async def refresh(self) -> None:
        """Read all apps; concurrent calls share one read."""
        if self._refreshing is None:
            self._refreshing = asyncio.create_task(self._read())
        await asyncio.shield(self._refreshing)

    async def _read(self) -> None:
        try:
            rows = await read_all_rows(self._database.read_internal, APP_SCAN)
        finally:
            self._refreshing = None
        self._by_token = {
            token: AppSite(app, frozenset(msgspec.json.decode(hosts))) for app, token, hosts in rows
        }
        self._by_app = {site.app: site for site in self._by_token.values()}

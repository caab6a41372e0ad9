"""The apps as the world knows them: by their public tokens, with the hosts that they list."""

import asyncio
from typing import NamedTuple

import msgspec

from domain.common import hosts
from store.sqlite.core.database import Database
from store.sqlite.core.paging import TableScan, read_all_rows

APP_SCAN = TableScan("app", ("id",), "id, public_token, hosts")


class AppSite(NamedTuple):
    """An app, and its hosts."""

    app: int
    hosts: frozenset[str]

    def listed(self, host: str) -> str | None:
        """Return the app's own entry for a host, in canonical form; None if it lists none."""
        return hosts.matching_host(host, self.hosts)


class SiteRegistry:
    """All apps, in memory; as they were when last refreshed."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._by_token: dict[str, AppSite] = {}
        self._by_app: dict[int, AppSite] = {}
        self._refreshing: asyncio.Task[None] | None = None

    def known(self, token: str) -> AppSite | None:
        """The app of a public token, if it is known already."""
        return self._by_token.get(token)

    def listed(self, app: int, host: str) -> str | None:
        """Return an app's own entry for a host, in canonical form; None if it lists none."""
        site = self._by_app.get(app)
        return None if site is None else site.listed(host)

    @property
    def listing(self) -> bool:
        """Whether any app lists a host."""
        return any(site.hosts for site in self._by_app.values())

    async def find(self, token: str) -> AppSite | None:
        """The app of a public token; one that is not known is looked for."""
        site = self._by_token.get(token)
        if site is None:
            await self.refresh()
            site = self._by_token.get(token)
        return site

    async def refresh(self) -> None:
        """Read them anew; those who ask meanwhile wait for the same reading."""
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

"""The apps as the world knows them: by their public tokens, with the hosts that they list."""

import asyncio
from typing import NamedTuple

import msgspec

from rules import hosts
from store.database import Database
from store.paging import Table, all_rows

APPS = Table("app", ("id",), "id, public_token, hosts")


class Site(NamedTuple):
    """An app, and its hosts."""

    app: int
    hosts: frozenset[str]

    def listed(self, host: str) -> str | None:
        """Return the app's own entry for a host, in canonical form; None if it lists none."""
        return hosts.listed(host, self.hosts)


class Sites:
    """All apps, in memory; as they were when last refreshed."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._by_token: dict[str, Site] = {}
        self._by_app: dict[int, Site] = {}
        self._refreshing: asyncio.Task[None] | None = None

    def known(self, token: str) -> Site | None:
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

    async def find(self, token: str) -> Site | None:
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
            rows = await all_rows(self._database.read_internal, APPS)
        finally:
            self._refreshing = None
        self._by_token = {
            token: Site(app, frozenset(msgspec.json.decode(hosts))) for app, token, hosts in rows
        }
        self._by_app = {site.app: site for site in self._by_token.values()}

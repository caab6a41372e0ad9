"""An event log with its projections, queries and mutations."""

from pathlib import Path
from typing import Any

from store.sqlite.core.database import Database
from store.sqlite.events.event_log import EventLog
from store.sqlite.events.event_mutations import EventMutations
from store.sqlite.events.event_queries import EventQueries
from store.sqlite.events.event_records import EventFilter
from store.sqlite.projections.projections import Projections


class OpenEventStore:
    """Opens the store of a folder for an `async with` block."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def __aenter__(self) -> "OpenEventStore":
        self.database = await Database.open(self.folder / "marquee.db")
        self.log = await EventLog.open(self.database)
        self.projections = await Projections.open(self.database, self.folder / "views.db")
        self.events = EventQueries(self.database, self.projections)
        self.mutations = EventMutations(self.database, self.log, self.projections)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.projections.close()
        await self.database.close()

    async def append(self, *rows: Any) -> list[int]:
        """Append rows and return their ids."""
        return [number for number, _ in await self.log.append(rows)]

    async def find_ids(self, **filters: Any) -> list[int]:
        page = await self.events.find(EventFilter(**filters), limit=1_000)
        return [int(event.id) for event in page.events]

    async def projection_counts(self) -> Any:
        """Return the counts per minute and the live counts after projections have caught up."""
        await self.projections.catch_up()
        await self.projections.step(0)
        return await self.projections.read(
            lambda it: [
                it.execute(
                    "SELECT minute, app, source, category, name, events FROM minute "
                    "JOIN kind ON kind.id = kind WHERE events ORDER BY 1, 2, 3, 4, 5"
                ).fetchall(),
                it.execute("SELECT * FROM live").fetchall(),
            ]
        )

"""The store of a data folder, for commands: our own, or that of the server which runs there."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol, TypeVar

from store import remote
from store.commands import Command
from store.data_folder import DATABASE, IMAGES, SOCKET, VIEWS, prepare
from store.database import Database
from store.errors import StoreBusy, StoreError
from store.event_rules import EventRules
from store.events import Events
from store.exporting import Export
from store.intake import Intake
from store.lock import LOCK, Lock
from store.log import Log
from store.replaying import Replayed, Replays
from store.staging import Staging
from store.views import Rebuilt, Views

LOG = logging.getLogger("marquee.desk")
R = TypeVar("R")
Told = Callable[[int], object]

# Seconds for which a folder that is in use is waited for: a server may be about to listen.
PATIENCE = 5.0
LOOK = 0.1


class Desk(Protocol):
    """Where commands are done."""

    async def ask(self, command: Command[R]) -> R:
        """What the command answers; raises a `StoreError`."""

    def intake(self) -> Intake:
        """Where an import goes."""

    async def rebuild(self, told: Told) -> Rebuilt:
        """Make the views anew; `told` hears how many events are in them by then."""

    def export(self, wanted: Export) -> AsyncIterator[bytes]:
        """Events as a stream."""

    async def replay(self, number: int) -> Replayed:
        """Take a reject again."""


class OwnDesk:
    """The desk of a database in this process."""

    def __init__(self, database: Database, folder: Path) -> None:
        self._database = database
        self._staging = Staging(database, folder / IMAGES)
        self._views = folder / VIEWS
        self._replays: Replays | None = None

    async def ask(self, command: Command[R]) -> R:
        """See `Desk`."""
        return await command.run(self._database)

    def intake(self) -> Intake:
        """See `Desk`."""
        return self._staging

    async def rebuild(self, told: Told) -> Rebuilt:
        """See `Desk`."""
        views = await Views.open(self._database, self._views)
        try:
            return await views.rebuild(told)
        finally:
            await views.close()

    async def export(self, wanted: Export) -> AsyncIterator[bytes]:
        """See `Desk`."""
        views = await Views.open(self._database, self._views)
        try:
            await views.catch_up()
            async for piece in wanted.pieces(Events(self._database, views, internal=True)):
                yield piece
        finally:
            await views.close()

    async def replay(self, number: int) -> Replayed:
        """See `Desk`."""
        if self._replays is None:
            log, rules = await Log.open(self._database), await EventRules.open(self._database)
            self._replays = Replays(self._database, log, rules)
        return await self._replays.told(number)


class RemoteDesk:
    """The desk of a running server."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def ask(self, command: Command[R]) -> R:
        """See `Desk`."""
        return await remote.ask(self._path, command)

    def intake(self) -> Intake:
        """See `Desk`."""
        return remote.RemoteStaging(self._path)

    async def rebuild(self, told: Told) -> Rebuilt:
        """See `Desk`."""
        return await remote.rebuild(self._path, told)

    def export(self, wanted: Export) -> AsyncIterator[bytes]:
        """See `Desk`."""
        return remote.export(self._path, wanted)

    async def replay(self, number: int) -> Replayed:
        """See `Desk`."""
        return await remote.replay(self._path, number)


@asynccontextmanager
async def desk(
    folder: Path, *, begins: bool = False, patience: float = PATIENCE
) -> AsyncIterator[Desk]:
    """The desk of a data folder; an installation is made there if it is missing, and this `begins`.

    Raises `StoreBusy`, naming who holds the folder, if that process takes no commands, and
    `StoreError` if there is no installation, or the folder can't be used.
    """
    missing = StoreError(f"there is no installation in {folder}: name yours with --data")
    try:
        there = any((folder / name).exists() for name in (DATABASE, LOCK))
    except OSError as error:
        raise StoreError(f"{folder} cannot be used: {error.strerror}") from error
    if not (begins or there):
        raise missing
    lock = await _lock(folder, patience)
    if lock is None:
        yield RemoteDesk(folder / SOCKET)
        return
    with lock:
        prepare(folder)
        if not (folder / DATABASE).exists():
            if not begins:
                raise missing
            LOG.warning("created a new installation in %s", folder.absolute())
        database = await Database.open(folder / DATABASE)
        try:
            yield OwnDesk(database, folder)
        finally:
            await database.close()


async def _lock(folder: Path, patience: float) -> Lock | None:
    """The folder's lock, None if a server that takes commands has it."""
    clock = asyncio.get_running_loop().time
    end = clock() + patience
    while True:
        try:
            return Lock(folder)
        except StoreBusy:
            if remote.answers(folder / SOCKET):
                return None
            if clock() >= end:
                raise
        await asyncio.sleep(LOOK)

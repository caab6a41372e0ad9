"""The store of a data folder, for commands: our own, or that of the server which runs there."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol, TypeVar

from commands import control_client
from store.api.errors import StoreBusy, StoreError
from store.api.import_session import ImportSession
from store.sqlite.core.command import AdminCommand
from store.sqlite.core.data_folder import (
    CONTROL_SOCKET,
    DATABASE_FILE,
    IMAGES_FOLDER,
    PROJECTIONS_FILE,
    prepare_data_folder,
)
from store.sqlite.core.database import Database
from store.sqlite.core.folder_lock import LOCK_FILE, FolderLock
from store.sqlite.events.event_export import EventExport
from store.sqlite.events.event_log import EventLog
from store.sqlite.events.event_queries import EventQueries
from store.sqlite.events.event_schemas import EventSchemaStore
from store.sqlite.events.rejected_event_replay import RejectedEventReplayer, ReplayResult
from store.sqlite.imports.import_staging import ImportStaging
from store.sqlite.projections.projections import Projections, RebuildReport

LOG = logging.getLogger("marquee.desk")
R = TypeVar("R")
RebuildProgress = Callable[[int], object]

# Seconds for which a folder that is in use is waited for: a server may be about to listen.
LOCK_TIMEOUT_SECONDS = 5.0
LOCK_POLL_SECONDS = 0.1


class AdminBackend(Protocol):
    """Where commands are done."""

    async def ask(self, command: AdminCommand[R]) -> R:
        """What the command answers; raises a `StoreError`."""

    def intake(self) -> ImportSession:
        """Where an import goes."""

    async def rebuild(self, told: RebuildProgress) -> RebuildReport:
        """Make the views anew; `told` hears how many events are in them by then."""

    def export(self, wanted: EventExport) -> AsyncIterator[bytes]:
        """Events as a stream."""

    async def replay(self, number: int) -> ReplayResult:
        """Take a reject again."""


class LocalAdminBackend:
    """The desk of a database in this process."""

    def __init__(self, database: Database, folder: Path) -> None:
        self._database = database
        self._staging = ImportStaging(database, folder / IMAGES_FOLDER)
        self._views = folder / PROJECTIONS_FILE
        self._replays: RejectedEventReplayer | None = None

    async def ask(self, command: AdminCommand[R]) -> R:
        """See `Desk`."""
        return await command.run(self._database)

    def intake(self) -> ImportSession:
        """See `Desk`."""
        return self._staging

    async def rebuild(self, told: RebuildProgress) -> RebuildReport:
        """See `Desk`."""
        views = await Projections.open(self._database, self._views)
        try:
            return await views.rebuild(told)
        finally:
            await views.close()

    async def export(self, wanted: EventExport) -> AsyncIterator[bytes]:
        """See `Desk`."""
        views = await Projections.open(self._database, self._views)
        try:
            await views.catch_up()
            async for piece in wanted.pieces(EventQueries(self._database, views, internal=True)):
                yield piece
        finally:
            await views.close()

    async def replay(self, number: int) -> ReplayResult:
        """See `Desk`."""
        if self._replays is None:
            log, rules = (
                await EventLog.open(self._database),
                await EventSchemaStore.open(self._database),
            )
            self._replays = RejectedEventReplayer(self._database, log, rules)
        return await self._replays.told(number)


class RemoteAdminBackend:
    """The desk of a running server."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def ask(self, command: AdminCommand[R]) -> R:
        """See `Desk`."""
        return await control_client.run_command(self._path, command)

    def intake(self) -> ImportSession:
        """See `Desk`."""
        return control_client.RemoteImportSession(self._path)

    async def rebuild(self, told: RebuildProgress) -> RebuildReport:
        """See `Desk`."""
        return await control_client.rebuild_projections(self._path, told)

    def export(self, wanted: EventExport) -> AsyncIterator[bytes]:
        """See `Desk`."""
        return control_client.export_events(self._path, wanted)

    async def replay(self, number: int) -> ReplayResult:
        """See `Desk`."""
        return await control_client.replay_rejected_event(self._path, number)


@asynccontextmanager
async def open_admin_backend(
    folder: Path, *, begins: bool = False, patience: float = LOCK_TIMEOUT_SECONDS
) -> AsyncIterator[AdminBackend]:
    """The desk of a data folder; an installation is made there if it is missing, and this `begins`.

    Raises `StoreBusy`, naming who holds the folder, if that process takes no commands, and
    `StoreError` if there is no installation, or the folder can't be used.
    """
    missing = StoreError(f"there is no installation in {folder}: name yours with --data")
    try:
        there = any((folder / name).exists() for name in (DATABASE_FILE, LOCK_FILE))
    except OSError as error:
        raise StoreError(f"{folder} cannot be used: {error.strerror}") from error
    if not (begins or there):
        raise missing
    lock = await _acquire_lock(folder, patience)
    if lock is None:
        yield RemoteAdminBackend(folder / CONTROL_SOCKET)
        return
    with lock:
        prepare_data_folder(folder)
        if not (folder / DATABASE_FILE).exists():
            if not begins:
                raise missing
            LOG.warning("created a new installation in %s", folder.absolute())
        database = await Database.open(folder / DATABASE_FILE)
        try:
            yield LocalAdminBackend(database, folder)
        finally:
            await database.close()


async def _acquire_lock(folder: Path, patience: float) -> FolderLock | None:
    """The folder's lock, None if a server that takes commands has it."""
    clock = asyncio.get_running_loop().time
    end = clock() + patience
    while True:
        try:
            return FolderLock(folder)
        except StoreBusy:
            if control_client.is_server_running(folder / CONTROL_SOCKET):
                return None
            if clock() >= end:
                raise
        await asyncio.sleep(LOCK_POLL_SECONDS)

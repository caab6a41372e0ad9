"""Backends of commands: the data folder in this process, or a server's control socket."""

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

LOG = logging.getLogger("marquee.commands")
R = TypeVar("R")
RebuildProgress = Callable[[int], object]

# Seconds to wait for a locked folder: a starting server locks it before it listens.
LOCK_TIMEOUT_SECONDS = 5.0
LOCK_POLL_SECONDS = 0.1


class AdminBackend(Protocol):
    """Runs commands, imports and exports on a data folder."""

    async def run_command(self, command: AdminCommand[R]) -> R:
        """Run a command and return its result; raise `StoreError` if it fails."""

    def import_session(self) -> ImportSession:
        """Return a session for one import."""

    async def rebuild_projections(self, on_progress: RebuildProgress) -> RebuildReport:
        """Rebuild the projections; call `on_progress` with the number of processed events."""

    def export_events(self, export: EventExport) -> AsyncIterator[bytes]:
        """Stream the events of an export in its format."""

    async def replay_rejected_event(self, number: int) -> ReplayResult:
        """Revalidate a rejected event and store it if it is valid now."""


class LocalAdminBackend:
    """The backend that opens the database in this process."""

    def __init__(self, database: Database, folder: Path) -> None:
        self._database = database
        self._staging = ImportStaging(database, folder / IMAGES_FOLDER)
        self._projections_file = folder / PROJECTIONS_FILE
        self._replayer: RejectedEventReplayer | None = None

    async def run_command(self, command: AdminCommand[R]) -> R:
        """Implement `AdminBackend`."""
        return await command.run(self._database)

    def import_session(self) -> ImportSession:
        """Implement `AdminBackend`."""
        return self._staging

    async def rebuild_projections(self, on_progress: RebuildProgress) -> RebuildReport:
        """Implement `AdminBackend`."""
        projections = await Projections.open(self._database, self._projections_file)
        try:
            return await projections.rebuild(on_progress)
        finally:
            await projections.close()

    async def export_events(self, export: EventExport) -> AsyncIterator[bytes]:
        """Implement `AdminBackend`."""
        projections = await Projections.open(self._database, self._projections_file)
        try:
            await projections.catch_up()
            queries = EventQueries(self._database, projections, internal=True)
            async for chunk in export.chunks(queries):
                yield chunk
        finally:
            await projections.close()

    async def replay_rejected_event(self, number: int) -> ReplayResult:
        """Implement `AdminBackend`."""
        if self._replayer is None:
            log = await EventLog.open(self._database)
            schemas = await EventSchemaStore.open(self._database)
            self._replayer = RejectedEventReplayer(self._database, log, schemas)
        return await self._replayer.try_replay(number)


class RemoteAdminBackend:
    """The backend that calls a running server through its control socket."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def run_command(self, command: AdminCommand[R]) -> R:
        """Implement `AdminBackend`."""
        return await control_client.run_command(self._path, command)

    def import_session(self) -> ImportSession:
        """Implement `AdminBackend`."""
        return control_client.RemoteImportSession(self._path)

    async def rebuild_projections(self, on_progress: RebuildProgress) -> RebuildReport:
        """Implement `AdminBackend`."""
        return await control_client.rebuild_projections(self._path, on_progress)

    def export_events(self, export: EventExport) -> AsyncIterator[bytes]:
        """Implement `AdminBackend`."""
        return control_client.export_events(self._path, export)

    async def replay_rejected_event(self, number: int) -> ReplayResult:
        """Implement `AdminBackend`."""
        return await control_client.replay_rejected_event(self._path, number)


@asynccontextmanager
async def open_admin_backend(
    folder: Path, *, create: bool = False, lock_timeout: float = LOCK_TIMEOUT_SECONDS
) -> AsyncIterator[AdminBackend]:
    """Open the backend of a data folder; with `create`, create a missing installation.

    Raises `StoreBusy` with the process id if another process than a server has the folder locked,
    and `StoreError` if there is no installation or the folder cannot be used.
    """
    missing = StoreError(f"there is no installation in {folder}: name yours with --data")
    try:
        exists = any((folder / name).exists() for name in (DATABASE_FILE, LOCK_FILE))
    except OSError as error:
        raise StoreError(f"{folder} cannot be used: {error.strerror}") from error
    if not (create or exists):
        raise missing
    lock = await _acquire_lock(folder, lock_timeout)
    if lock is None:
        yield RemoteAdminBackend(folder / CONTROL_SOCKET)
        return
    with lock:
        prepare_data_folder(folder)
        if not (folder / DATABASE_FILE).exists():
            if not create:
                raise missing
            LOG.warning("created an installation folder=%s", folder.absolute())
        database = await Database.open(folder / DATABASE_FILE)
        try:
            yield LocalAdminBackend(database, folder)
        finally:
            await database.close()


async def _acquire_lock(folder: Path, lock_timeout: float) -> FolderLock | None:
    """Return the folder's lock; None if a server with a control socket holds it."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + lock_timeout
    while True:
        try:
            return FolderLock(folder)
        except StoreBusy:
            if control_client.is_server_running(folder / CONTROL_SOCKET):
                return None
            if clock() >= deadline:
                raise
        await asyncio.sleep(LOCK_POLL_SECONDS)

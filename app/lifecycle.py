"""Start, run and stop the server process."""

import asyncio
import contextlib
import ctypes
import gc
import logging
import os
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from tornado.httpserver import HTTPServer

from app.core import Core
from app.feature import Feature
from app.http_application import (
    build_application,
    build_control_application,
    prepare_fast_routes,
)
from app.listeners import (
    base_url,
    bind_sockets,
    load_tls_context,
    start_control_server,
    start_server,
)
from app.sd_notify import SystemdNotifier
from app.settings import Settings
from app.startup_message import print_startup_message
from httpserver import Server, inherited_sockets
from store.sqlite.core.data_folder import prepare_data_folder
from store.sqlite.core.folder_lock import FolderLock

LOG = logging.getLogger("marquee")
# malloc.h: larger allocations are returned to the system when they are freed.
M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES = -3, 131_072
DATABASE_CHECK_INTERVAL_SECONDS = 0.5


def build(core: Core, builders: Iterable[Callable[[Core], Feature]]) -> None:
    """Build the features, and complete their fast routes."""
    core.build(builders)
    prepare_fast_routes(core)


async def serve(
    settings: Settings, builders: Iterable[Callable[[Core], Feature]], as_json: bool = False
) -> int:
    """Serve until a signal or a fatal error; return the exit status."""
    _tune_runtime()
    data = Path(settings.data)
    # Before anything is written: an invalid certificate or address fails at once.
    tls = load_tls_context(settings)
    sockets = inherited_sockets() or bind_sockets(settings)
    supervisor = SystemdNotifier(os.environ, os.getpid())
    starting = asyncio.create_task(supervisor.start())
    with FolderLock(data):
        prepare_data_folder(data)
        async with AsyncExitStack() as opened:
            core = await Core.open(settings, opened)
            build(core, builders)
            lifecycle = Lifecycle(core)
            loop = asyncio.get_running_loop()
            for name in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(name, lifecycle.request_stop)
            try:
                await lifecycle.start(sockets, tls)
                _freeze_garbage_collector()
                print_startup_message(core, sockets, as_json)
                starting.cancel()
                watchdog = asyncio.create_task(supervisor.watch())
                supervisor.ready(f"serving on {base_url(settings, sockets)}")
                await core.stopping.wait()
                supervisor.stopping()
            finally:
                await lifecycle.stop()
            watchdog.cancel()
    return lifecycle.exit_status


def _tune_runtime() -> None:
    # SQLite's thread needs the interpreter lock after each statement. With the default interval a
    # busy event loop makes it wait 5 ms each time: a commit of 63 rows took 17-50 ms, now 2-5.
    sys.setswitchinterval(0.0005)
    # Otherwise malloc raises its threshold after large bodies, and keeps the fragments they leave.
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES)


def _freeze_garbage_collector() -> None:
    # Objects that exist after the start stay: later collections need not traverse them. Requests
    # leave few cycles; reference counts free the rest, so collections can be rare.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


class Lifecycle:
    """Starts and stops the features, their workers, and the listeners."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._servers: list[Server | HTTPServer] = []
        self._workers: list[asyncio.Task[None]] = []
        self.exit_status = 0

    async def start(
        self, sockets: Sequence[socket.socket], tls: ssl.SSLContext | None = None
    ) -> None:
        """Start the features and their workers, then listen on the control socket and `sockets`."""
        core = self._core
        for feature in core.features:
            await feature.start()
        workers = [worker for feature in core.features for worker in feature.workers]
        for worker in (*workers, self._watch_database):
            task = asyncio.create_task(worker())
            task.add_done_callback(self._worker_ended)
            self._workers.append(task)
        self._servers.append(await start_control_server(core.data, build_control_application(core)))
        core.http_server = await start_server(
            core.settings,
            build_application(core),
            core.fast_routes,
            core.memory_budget,
            sockets,
            tls,
        )
        self._servers.append(core.http_server)

    async def stop(self) -> None:
        """Complete the requests in flight, and write what is in memory."""
        core = self._core
        for feature in core.features:
            await feature.close()
        for server in reversed(self._servers):
            if isinstance(server, Server):
                await server.drain(core.settings.drain_seconds)
            else:
                server.stop()
                await server.close_all_connections()
        for task in self._workers:
            task.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        for feature in reversed(core.features):
            await feature.stop()
        await core.event_log.drain()

    def request_stop(self) -> None:
        """Begin to stop; a second call ends the process at once."""
        if self._core.stopping.is_set():
            os._exit(1)
        LOG.info("stopping: completing requests in flight (a second signal ends the process)")
        self._core.stopping.set()

    def _worker_ended(self, task: asyncio.Task[None]) -> None:
        """Stop if a worker failed, so that the supervisor restarts the process."""
        error = None if task.cancelled() else task.exception()
        if error and not self._core.stopping.is_set():
            LOG.critical("worker failed; stopping", exc_info=error)
            self.exit_status = 1
            self.request_stop()

    async def _watch_database(self) -> None:
        """Maintain the WAL; stop with status 1 once the database cannot be written safely."""
        database = self._core.database
        while database.failed is None:
            await asyncio.sleep(DATABASE_CHECK_INTERVAL_SECONDS)
            await database.tend()
        LOG.critical("database failed; stopping error=%s", database.failed)
        self.exit_status = 1
        self.request_stop()

"""pytest-tornado fixtures: the control plane on the event loop of the test, in an empty folder."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop
from tornado.web import Application

from app import lifecycle
from app.core import Core
from app.http_application import build_application
from app.settings import Settings
from server import FEATURES


@pytest.fixture
def io_loop() -> Iterator[IOLoop]:
    """Replace pytest-tornado's fixture, which calls deprecated methods of Tornado."""
    loop = IOLoop(make_current=False)
    asyncio.set_event_loop(loop.asyncio_loop)
    yield loop
    asyncio.set_event_loop(None)
    loop.close(all_fds=True)


@asynccontextmanager
async def started_core(data: Path) -> AsyncIterator[Core]:
    """Start the features without their workers."""
    async with AsyncExitStack() as opened:
        core = await Core.open(Settings(data=str(data)), opened)
        lifecycle.build(core, FEATURES)
        for feature in core.features:
            await feature.start()
        yield core
        for feature in core.features:
            await feature.close()
        for feature in reversed(core.features):
            await feature.stop()
        await core.event_log.drain()


@pytest.fixture
def app(io_loop: IOLoop, tmp_path: Path) -> Iterator[Application]:
    """Return the application of the public address; pytest-tornado serves it for `http_client`."""
    running = started_core(tmp_path)
    core = io_loop.run_sync(running.__aenter__)
    yield build_application(core)
    io_loop.run_sync(lambda: running.__aexit__(None, None, None))

"""HTTP servers on an event loop in a thread of its own."""

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import uvloop
from tornado.httpserver import HTTPServer

from httpserver import FastRoute, Server, ServerLimits, bind_tcp
from tests.support.httpserver.raw_client import RawClient, build_get

LOOP_FACTORIES: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "uvloop": uvloop.new_event_loop,
    "asyncio": asyncio.new_event_loop,
}


class RunningServer:
    """A server on the event loop of a `ServerThread`."""

    def __init__(self, thread: "ServerThread", server: Server | HTTPServer, address: Any) -> None:
        self.thread = thread
        self.server = server
        self.address = address

    def connect(self, **options: Any) -> RawClient:
        return RawClient(self.address, **options)

    def ping(self, path: str = "/fast/hello") -> None:
        """Wait until the loop has done its earlier work, by a request on a new connection."""
        with self.connect() as client:
            assert client.request(build_get(path, "Connection: close")).status == 200

    def stop(self) -> None:
        self.thread.run(self._stop())

    async def _stop(self) -> None:
        if isinstance(self.server, Server):
            self.server.close()
        else:
            self.server.stop()
            await self.server.close_all_connections()
        await asyncio.sleep(0)


class ServerThread:
    """An event loop in a thread; it collects the errors that no task handled."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.loop_errors: list[dict[str, Any]] = []
        self.loop = LOOP_FACTORIES[kind]()
        self.loop.set_exception_handler(lambda _, error: self.loop_errors.append(error))
        self.thread = threading.Thread(target=self._run_loop, name=f"server {kind}", daemon=True)
        self.thread.start()
        self.servers: list[RunningServer] = []

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def run(self, task: Coroutine[Any, Any, Any], seconds: float = 240) -> Any:
        return asyncio.run_coroutine_threadsafe(task, self.loop).result(seconds)

    def serve(
        self,
        application: Any,
        fast_routes: Sequence[FastRoute] = (),
        *,
        sockets: Sequence[socket.socket] = (),
        tls: Any = None,
        limits: ServerLimits | None = None,
        **options: Any,
    ) -> RunningServer:
        """Start Marquee's HTTP server on a free port of 127.0.0.1, or on `sockets`."""

        async def start() -> Server:
            server = Server(application, fast_routes, limits=limits or ServerLimits(), **options)
            await server.listen(listening, tls=tls)
            return server

        listening = list(sockets) or bind_tcp("127.0.0.1", 0, 512)
        running = RunningServer(self, self.run(start()), listening[0].getsockname())
        self.servers.append(running)
        return running

    def serve_tornado(self, application: Any, **options: Any) -> RunningServer:
        """Start Tornado's HTTP server on a free port of 127.0.0.1."""

        async def start() -> HTTPServer:
            server = HTTPServer(application, **options)
            server.add_sockets(listening)
            return server

        listening = bind_tcp("127.0.0.1", 0, 512)
        running = RunningServer(self, self.run(start()), listening[0].getsockname())
        self.servers.append(running)
        return running

    def assert_no_loop_errors(self) -> None:
        errors, self.loop_errors = self.loop_errors, []
        assert not errors

    def close(self) -> None:
        for running in self.servers:
            running.stop()
        self.run(self._finish_tasks())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(60)
        assert not self.thread.is_alive()
        self.loop.close()

    async def _finish_tasks(self) -> None:
        """Wait until the servers' tasks have ended; raise AssertionError for those that do not."""
        this_task = asyncio.current_task()
        for _ in range(1_000):
            tasks = [task for task in asyncio.all_tasks() if task is not this_task]
            if not tasks:
                return
            await asyncio.sleep(0.02)
        raise AssertionError(f"tasks outlive their server: {tasks}")

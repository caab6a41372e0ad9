"""HTTP servers in threads of their own, and the errors that reach their event loops."""

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
    """One running server and how to reach it."""

    def __init__(self, stage: "ServerThread", server: Server | HTTPServer, address: Any) -> None:
        self.thread = stage
        self.server = server
        self.address = address

    def connect(self, **options: Any) -> RawClient:
        return RawClient(self.address, **options)

    def ping(self, path: str = "/fast/hello") -> None:
        """Ask on a fresh connection: what the loop had to do before is then done."""
        with self.connect() as peer:
            assert peer.request(build_get(path, "Connection: close")).status == 200

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
    """An event loop in a thread of its own, on which servers run."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.loop_errors: list[dict[str, Any]] = []
        self.loop = LOOP_FACTORIES[kind]()
        self.loop.set_exception_handler(lambda _, fault: self.loop_errors.append(fault))
        self.thread = threading.Thread(target=self._run_loop, name=f"stage {kind}", daemon=True)
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
        lanes: Sequence[FastRoute] = (),
        *,
        sockets: Sequence[socket.socket] = (),
        tls: Any = None,
        limits: ServerLimits | None = None,
        **options: Any,
    ) -> RunningServer:
        """A wire server on a free port of 127.0.0.1, or on `sockets`."""

        async def start() -> Server:
            server = Server(application, lanes, limits=limits or ServerLimits(), **options)
            await server.listen(listening, tls=tls)
            return server

        listening = list(sockets) or bind_tcp("127.0.0.1", 0, 512)
        served = RunningServer(self, self.run(start()), listening[0].getsockname())
        self.servers.append(served)
        return served

    def serve_tornado(self, application: Any, **options: Any) -> RunningServer:
        """The same application on Tornado's own server."""

        async def start() -> HTTPServer:
            server = HTTPServer(application, **options)
            server.add_sockets(listening)
            return server

        listening = bind_tcp("127.0.0.1", 0, 512)
        served = RunningServer(self, self.run(start()), listening[0].getsockname())
        self.servers.append(served)
        return served

    def assert_no_loop_errors(self) -> None:
        """Nothing may have escaped to the loop."""
        faults, self.loop_errors = self.loop_errors, []
        assert not faults

    def close(self) -> None:
        for served in self.servers:
            served.stop()
        self.run(self._finish_tasks())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(60)
        assert not self.thread.is_alive()
        self.loop.close()

    async def _finish_tasks(self) -> None:
        """Let what the servers left behind come to its end, and name what does not."""
        me = asyncio.current_task()
        for _ in range(1_000):
            left = [task for task in asyncio.all_tasks() if task is not me]
            if not left:
                return
            await asyncio.sleep(0.02)
        raise AssertionError(f"tasks that outlive their server: {left}")

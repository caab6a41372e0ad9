"""HTTP servers in threads of their own, and the errors that reach their event loops."""

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import uvloop
from tornado.httpserver import HTTPServer

from httpserver import FastRoute, Server, ServerLimits, bind_tcp
from tests.support.httpserver.raw_client import Peer, get

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "uvloop": uvloop.new_event_loop,
    "asyncio": asyncio.new_event_loop,
}


class Served:
    """One running server and how to reach it."""

    def __init__(self, stage: "Stage", server: Server | HTTPServer, address: Any) -> None:
        self.stage = stage
        self.server = server
        self.address = address

    def peer(self, **options: Any) -> Peer:
        return Peer(self.address, **options)

    def ping(self, path: str = "/lane/hello") -> None:
        """Ask on a fresh connection: what the loop had to do before is then done."""
        with self.peer() as peer:
            assert peer.ask(get(path, "Connection: close")).status == 200

    def stop(self) -> None:
        self.stage.run(self._stop())

    async def _stop(self) -> None:
        if isinstance(self.server, Server):
            self.server.close()
        else:
            self.server.stop()
            await self.server.close_all_connections()
        await asyncio.sleep(0)


class Stage:
    """An event loop in a thread of its own, on which servers run."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.faults: list[dict[str, Any]] = []
        self.loop = LOOPS[kind]()
        self.loop.set_exception_handler(lambda _, fault: self.faults.append(fault))
        self.thread = threading.Thread(target=self._turn, name=f"stage {kind}", daemon=True)
        self.thread.start()
        self.served: list[Served] = []

    def _turn(self) -> None:
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
    ) -> Served:
        """A wire server on a free port of 127.0.0.1, or on `sockets`."""

        async def start() -> Server:
            server = Server(application, lanes, limits=limits or ServerLimits(), **options)
            await server.listen(listening, tls=tls)
            return server

        listening = list(sockets) or bind_tcp("127.0.0.1", 0, 512)
        served = Served(self, self.run(start()), listening[0].getsockname())
        self.served.append(served)
        return served

    def serve_tornado(self, application: Any, **options: Any) -> Served:
        """The same application on Tornado's own server."""

        async def start() -> HTTPServer:
            server = HTTPServer(application, **options)
            server.add_sockets(listening)
            return server

        listening = bind_tcp("127.0.0.1", 0, 512)
        served = Served(self, self.run(start()), listening[0].getsockname())
        self.served.append(served)
        return served

    def check(self) -> None:
        """Nothing may have escaped to the loop."""
        faults, self.faults = self.faults, []
        assert not faults

    def close(self) -> None:
        for served in self.served:
            served.stop()
        self.run(self._rest())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(60)
        assert not self.thread.is_alive()
        self.loop.close()

    async def _rest(self) -> None:
        """Let what the servers left behind come to its end, and name what does not."""
        me = asyncio.current_task()
        for _ in range(1_000):
            left = [task for task in asyncio.all_tasks() if task is not me]
            if not left:
                return
            await asyncio.sleep(0.02)
        raise AssertionError(f"tasks that outlive their server: {left}")

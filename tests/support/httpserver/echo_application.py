"""An application on both planes that answers with what it was asked: /lane/… and /app/…."""

import asyncio
from typing import Any

from tornado.web import Application, RequestHandler

from httpserver import FastRoute, Request, Response

# Requests that no client meant to send: they stand inside bodies, extensions and trailers.
SMUGGLED: list[str] = []
HELLO = Response(200, [("Content-Type", "text/plain")], b"hello")


def told(method: str, uri: str, host: str, body: bytes) -> bytes:
    """What an echo answers: all that framing could have got wrong."""
    return f"{method} {uri}\n{host}\n".encode("latin-1") + body


def echo(request: Request) -> Response:
    uri = request.path + (f"?{request.query.decode('latin-1')}" if request.query else "")
    return Response(200, (), told(request.method, uri, request.host, request.body))


async def late(request: Request) -> Response:
    """Answer after as many milliseconds as the path says."""
    await asyncio.sleep(int(request.params[0]) / 1000)
    return Response(200, (), f"late {request.params[0]}".encode())


def smuggled(request: Request) -> Response:
    SMUGGLED.append(request.path)
    return HELLO


class Echo(RequestHandler):
    def answer(self, *_: str) -> None:
        asked = self.request
        self.finish(told(asked.method or "", asked.uri or "", asked.host, asked.body))

    get = post = put = delete = patch = options = answer  # type: ignore[assignment]


class Late(RequestHandler):
    async def get(self, milliseconds: str) -> None:
        await asyncio.sleep(int(milliseconds) / 1000)
        self.finish(f"late {milliseconds}")


def silent(_: Any) -> None:
    """No access log."""


LANES = [
    FastRoute("GET", r"/lane/hello", lambda _: HELLO),
    FastRoute("GET", r"/lane/echo", echo, takes_body=True),
    FastRoute("POST", r"/lane/echo", echo),
    FastRoute("GET", r"/lane/late/(\d+)", late),
    FastRoute("GET", r"/smuggled", smuggled),
]


def application(**settings: Any) -> Application:
    routes = [
        (r"/app/echo", Echo),
        (r"/app/late/(\d+)", Late),
    ]
    return Application(routes, log_function=silent, **settings)

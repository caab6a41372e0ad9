"""Fast routes (/fast/…) and Tornado handlers (/app/…) that echo the request."""

import asyncio
from typing import Any

from tornado.web import Application, RequestHandler

from httpserver import FastRoute, Request, Response

# Paths of requests hidden in bodies, chunk extensions and trailers, if the server executes them.
SMUGGLED_PATHS: list[str] = []
HELLO_RESPONSE = Response(200, [("Content-Type", "text/plain")], b"hello")


def echo_body(method: str, uri: str, host: str, body: bytes) -> bytes:
    """Return the body of an echo response: all that wrong framing could change."""
    return f"{method} {uri}\n{host}\n".encode("latin-1") + body


def echo_response(request: Request) -> Response:
    uri = request.path + (f"?{request.query.decode('latin-1')}" if request.query else "")
    return Response(200, (), echo_body(request.method, uri, request.host, request.body))


async def delayed_response(request: Request) -> Response:
    """Respond after the milliseconds in the path."""
    await asyncio.sleep(int(request.params[0]) / 1000)
    return Response(200, (), f"late {request.params[0]}".encode())


def record_smuggled(request: Request) -> Response:
    SMUGGLED_PATHS.append(request.path)
    return HELLO_RESPONSE


class EchoHandler(RequestHandler):
    def echo(self, *_: str) -> None:
        request = self.request
        self.finish(echo_body(request.method or "", request.uri or "", request.host, request.body))

    get = post = put = delete = patch = options = echo


class DelayHandler(RequestHandler):
    async def get(self, milliseconds: str) -> None:
        await asyncio.sleep(int(milliseconds) / 1000)
        self.finish(f"late {milliseconds}")


def no_access_log(_: Any) -> None:
    """Log no requests."""


FAST_ROUTES = [
    FastRoute("GET", r"/fast/hello", lambda _: HELLO_RESPONSE),
    FastRoute("GET", r"/fast/echo", echo_response, takes_body=True),
    FastRoute("POST", r"/fast/echo", echo_response),
    FastRoute("GET", r"/fast/late/(\d+)", delayed_response),
    FastRoute("GET", r"/smuggled", record_smuggled),
]


def echo_application(**settings: Any) -> Application:
    routes = [
        (r"/app/echo", EchoHandler),
        (r"/app/late/(\d+)", DelayHandler),
    ]
    return Application(routes, log_function=no_access_log, **settings)

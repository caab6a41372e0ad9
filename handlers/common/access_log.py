"""Access log: one line per request, with the path but not the query, which may hold secrets."""

import asyncio
import logging
import re
from collections.abc import Awaitable
from time import perf_counter

from tornado.web import RequestHandler

from handlers.common.base_handler import request_id
from httpserver import FastRoute, Request, Response

LOG = logging.getLogger("marquee.access")
# Paths that contain a public token, which the log replaces by an ellipsis.
PUBLIC_TOKEN_PATTERN = re.compile(r"^(/api/v1/(?:beacon|stories/cached|stories|event|dau)/)[^/]+")


def log_fast_route(route: FastRoute) -> None:
    """Wrap a fast route so that each request is logged when its response is ready."""
    call, admit = route.handler, route.check_admission

    def logged(request: Request) -> Response | Awaitable[Response]:
        started = perf_counter()
        return _log_when_ready(request, call(request), started)

    def logged_admission(
        request: Request, size: int, fits: bool
    ) -> Response | Awaitable[Response] | None:
        assert admit is not None
        started = perf_counter()
        response = admit(request, size, fits)
        return None if response is None else _log_when_ready(request, response, started)

    route.handler = logged
    if admit is not None:
        route.check_admission = logged_admission


def _log_when_ready(
    request: Request, response: Response | Awaitable[Response], started: float
) -> Response | Awaitable[Response]:
    if isinstance(response, Response):
        _log_request(request, response.status, started)
        return response
    future = asyncio.ensure_future(response)
    future.add_done_callback(lambda done: _log_request(request, _status_of(done), started))
    return future


def log_handler(handler: RequestHandler) -> None:
    """Log a request that a Tornado handler finished."""
    request = handler.request
    milliseconds = request.request_time() * 1000
    fields = (request.remote_ip, request.method, request.path, request_id(request))
    _write_log_line(*fields, handler.get_status(), milliseconds)


def _log_request(request: Request, status: int, started: float) -> None:
    milliseconds = (perf_counter() - started) * 1000
    fields = (request.client_address, request.method, request.path, request.request_id)
    _write_log_line(*fields, status, milliseconds)


def _write_log_line(
    remote: str | None,
    method: str | None,
    path: str,
    identifier: str | None,
    status: int,
    milliseconds: float,
) -> None:
    path = PUBLIC_TOKEN_PATTERN.sub(r"\1…", path)
    LOG.info(
        "%s %s %s %d %.1f ms %s", remote, method, path, status, milliseconds, identifier or "-"
    )


def _status_of(done: "asyncio.Future[Response]") -> int:
    return 500 if done.cancelled() or done.exception() else done.result().status

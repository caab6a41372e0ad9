"""The access log: a line a request, with its path alone, as a query may hold what is secret."""

import asyncio
import logging
import re
from collections.abc import Awaitable
from time import perf_counter

from tornado.web import RequestHandler

from handlers.common.base_handler import request_id
from httpserver import FastRoute, Request, Response

LOG = logging.getLogger("marquee.access")
# Public tokens that stand in paths.
PUBLIC_TOKEN_PATTERN = re.compile(r"^(/api/v1/(?:beacon|stories/cached|stories|event|dau)/)[^/]+")


def log_fast_route(lane: FastRoute) -> None:
    """Have the lane's requests logged when they are answered; costs nothing for other lanes."""
    call, admit = lane.call, lane.admit

    def logged(request: Request) -> Response | Awaitable[Response]:
        began = perf_counter()
        return _log_when_answered(request, call(request), began)

    def logged_admission(
        request: Request, size: int, fits: bool
    ) -> Response | Awaitable[Response] | None:
        assert admit is not None
        began = perf_counter()
        answer = admit(request, size, fits)
        return None if answer is None else _log_when_answered(request, answer, began)

    lane.call = logged
    if admit is not None:
        lane.admit = logged_admission


def _log_when_answered(
    request: Request, answer: Response | Awaitable[Response], began: float
) -> Response | Awaitable[Response]:
    if isinstance(answer, Response):
        _log_request(request, answer.status, began)
        return answer
    future = asyncio.ensure_future(answer)
    future.add_done_callback(lambda done: _log_request(request, _status_of(done), began))
    return future


def log_handler(handler: RequestHandler) -> None:
    """Log a request of the control plane."""
    request = handler.request
    milliseconds = request.request_time() * 1000
    about = (request.remote_ip, request.method, request.path, request_id(request))
    _write_log_line(*about, handler.get_status(), milliseconds)


def _log_request(request: Request, status: int, began: float) -> None:
    milliseconds = (perf_counter() - began) * 1000
    about = (request.remote, request.method, request.path, request.request_id)
    _write_log_line(*about, status, milliseconds)


def _write_log_line(
    remote: str | None,
    method: str | None,
    path: str,
    identifier: str | None,
    status: int,
    milliseconds: float,
) -> None:
    path = PUBLIC_TOKEN_PATTERN.sub(r"\1…", path)
    about = (remote, method, path, status, milliseconds, identifier or "-")
    LOG.info("%s %s %s %d %.1f ms %s", *about)


def _status_of(done: "asyncio.Future[Response]") -> int:
    return 500 if done.cancelled() or done.exception() else done.result().status

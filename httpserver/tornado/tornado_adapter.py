"""Lanes on a plain Tornado application, which must answer there as they do on the wire."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerConnectionDelegate,
    HTTPServerRequest,
)
from tornado.routing import Matcher, Rule, URLSpec
from tornado.web import HTTPError, RequestHandler

from httpserver.fast_routes import FastRoute
from httpserver.limits import ServerLimits
from httpserver.memory_budget import MemoryBudget, MemoryReservation, reservation_owners
from httpserver.messages import Request, Response
from httpserver.protocol.body_admission import BodyRejection, check_body_admission
from httpserver.protocol.error_responses import problem_response, with_retry_header
from httpserver.protocol.peers import Peer
from httpserver.protocol.request_framing import HTTP_METHODS
from httpserver.tornado.request_normalizer import get_request_id, send_response

log = logging.getLogger("wire")


def tornado_rules(
    lanes: Sequence[FastRoute],
    routes: Iterable[Any],
    base: type[RequestHandler],
    *,
    error: Callable[[int, str], Response] = problem_response,
    body_limit: int | None = None,
    room: MemoryBudget | None = None,
) -> list[Any]:
    """Rules for a `tornado.web.Application` with the lanes among the routes.

    `routes` are its own: (pattern, handler, ...) or `URLSpec`. Every path of a lane gets a
    handler too, for the methods that no lane takes: that of the route with the same pattern, or
    one made of `base`. It and each route's handler answer OPTIONS, and 405 with `Allow`, for all
    methods that the path has, by lane or handler; what has GET has HEAD. `error`,
    `body_limit` and `room` are the server's. The handlers' `route_name` is that of the route
    or lane.
    """
    limit = body_limit or ServerLimits().body
    room = room or MemoryBudget()
    methods: dict[str, list[str]] = {}
    for lane in lanes:
        methods.setdefault(lane.pattern, []).append(lane.method)
    rules: list[Any] = [
        Rule(_FastRouteMatcher(lane, limit), _FastRouteApplication(lane, error, limit, room))
        for lane in lanes
    ]
    ruled = [_add_route_methods(route, methods) for route in routes]
    names = {lane.pattern: lane.name for lane in lanes}
    rules += [
        (pattern, _add_allow_handling(base, taken, (), names[pattern]))
        for pattern, taken in methods.items()
    ]
    return rules + ruled


def _add_route_methods(route: Any, methods: dict[str, list[str]]) -> Any:
    """The route, whose handler knows the lanes' methods; takes its pattern out of `methods`."""
    if isinstance(route, URLSpec):
        route = (route.regex.pattern, route.handler_class, route.kwargs, route.name)
    pattern, handler, *more = route
    if not isinstance(pattern, str) or not isinstance(handler, type):
        return route
    taken = methods.pop(pattern.removesuffix("$"), []) + methods.pop(pattern, [])
    own = [each for each in HTTP_METHODS if _implements(handler, each)]
    name = more[1] if len(more) > 1 and more[1] else pattern
    return (pattern, _add_allow_handling(handler, taken, own, name), *more)


def _implements(handler: type[RequestHandler], method: str) -> bool:
    name = method.lower()
    return getattr(handler, name, None) is not getattr(RequestHandler, name)


def _add_allow_handling(
    handler: type[RequestHandler], taken: Sequence[str], own: Sequence[str], name: str
) -> type[RequestHandler]:
    members: dict[str, Any] = {"__module__": handler.__module__, "route_name": name}
    if "GET" in own and "HEAD" not in own:  # RFC 9110 9.1: a server has both
        own = [*own, "HEAD"]
        members["head"] = handler.get
    methods = {"OPTIONS", *taken, *own} | ({"HEAD"} if "GET" in taken else set())
    members["allow"] = ", ".join(each for each in HTTP_METHODS if each in methods)
    members["own"] = frozenset(own)
    members["body_methods"] = frozenset(own) & getattr(handler, "body_methods", frozenset(own))
    return type(handler.__name__, (_AllowMethodsHandler, handler), members)


class _AllowMethodsHandler(RequestHandler):
    """Answers for the methods that its path does not have, and OPTIONS."""

    allow: str
    own: frozenset[str]

    def prepare(self) -> Awaitable[None] | None:
        method = self.request.method or ""
        if method in self.own:
            return super().prepare()
        if method != "OPTIONS":
            raise HTTPError(405)
        self.set_status(204)
        self.set_header("Allow", self.allow)
        self.finish()
        return None

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        if status_code == 405:
            self.set_header("Allow", self.allow)
        super().write_error(status_code, **kwargs)


class _FastRouteMatcher(Matcher):
    """Matches what the lane answers on the wire."""

    def __init__(self, lane: FastRoute, limit: int) -> None:
        self._lane = lane
        self._limit = limit if lane.body_limit is None else lane.body_limit
        self._methods = (lane.method, "HEAD") if lane.method == "GET" else (lane.method,)

    def match(self, request: HTTPServerRequest) -> dict[str, Any] | None:
        found = request.method in self._methods and self._lane.match(_uri_path(request.uri or ""))
        if not found or (self._lane.larger and self._is_larger(request.headers)):
            return None
        return {}

    def _is_larger(self, headers: HTTPHeaders) -> bool:
        length = headers.get("Content-Length", "0")
        return "Transfer-Encoding" in headers or not length.isdigit() or int(length) > self._limit


def _uri_path(uri: str) -> str:
    return uri.partition("?")[0]


class _FastRouteApplication(HTTPServerConnectionDelegate):
    def __init__(
        self, lane: FastRoute, error: Callable[[int, str], Response], limit: int, room: MemoryBudget
    ) -> None:
        self.lane = lane
        self.error = error
        self.room = room
        self.limit = limit if lane.body_limit is None else lane.body_limit

    def start_request(
        self, server_conn: object, request_conn: HTTPConnection
    ) -> HTTPMessageDelegate:
        return _FastRouteRequest(self, request_conn)


class _FastRouteRequest(HTTPMessageDelegate):
    """One request to a lane."""

    def __init__(self, target: _FastRouteApplication, connection: HTTPConnection) -> None:
        self._target = target
        self._connection = connection
        self._line: Any = None
        self._headers = HTTPHeaders()
        self._body = bytearray()
        self._answered = False
        self._share = MemoryReservation(target.room)
        self._turned_away: BodyRejection = None

    def headers_received(self, start_line: Any, headers: HTTPHeaders) -> None:
        self._line = start_line
        self._headers = headers
        length = headers.get("Content-Length", "0")
        size = int(length) if length.isdigit() else 0
        if size > self._target.limit:
            self._too_large()
        elif self._target.lane.takes_body and (size or "Transfer-Encoding" in headers):
            context = self._connection.context  # type: ignore[attr-defined]
            self._share.assign(reservation_owners(context.remote_ip, headers.get("Authorization")))
            self._turn_away(size, self._share.fits(size))

    def _turn_away(self, size: int, fits: bool) -> None:
        self._turned_away = check_body_admission(
            self._target.lane,
            self._request(),
            size,
            fits,
            failed=self._failed,
            error=self._erroneous,
        )

    def on_connection_close(self) -> None:
        self._share.hold(0)

    def data_received(self, chunk: bytes) -> None:
        if self._turned_away is not None or not self._target.lane.takes_body:
            return
        self._body += chunk
        if not self._share.hold(len(self._body)):
            size = len(self._body)
            self._body.clear()
            self._share.hold(0)
            self._turn_away(size, False)
        if len(self._body) > self._target.limit and not self._answered:
            self._too_large()

    def finish(self) -> None:
        answer: Response | Awaitable[Response] | None = self._turned_away
        try:
            if answer is None:
                answer = self._target.lane.call(self._request())
            if isinstance(answer, Response):
                self._answer(answer)
            else:
                asyncio.ensure_future(answer).add_done_callback(self._late)
        except Exception as error:
            self._answer(self._failed(error))

    def _late(self, future: "asyncio.Future[Response]") -> None:
        try:
            response = future.result()
        except (Exception, asyncio.CancelledError) as error:
            response = self._failed(error)
        self._answer(response)

    def _failed(self, error: BaseException) -> Response:
        if refusal := self._target.lane.refusal(error):
            return with_retry_header(self._target.error(refusal.status, refusal.detail))
        log.error("%s raised", self._target.lane, exc_info=error)
        return self._target.error(500, "The server could not answer this request.")

    def _erroneous(self, status: int, detail: str) -> Response:
        return with_retry_header(self._target.error(status, detail))

    def _request(self) -> Request:
        line = self._line
        match = self._target.lane.match(_uri_path(line.path))
        assert match is not None
        # The wire keeps a head's bytes; here they are put together again.
        fields = "".join(f"\r\n{name}: {value}" for name, value in self._headers.get_all())
        context = self._connection.context  # type: ignore[attr-defined]
        return Request(
            line.method,
            line.path.encode("latin-1"),
            _uri_path(line.path),
            match.groups(""),
            self._headers.get("Host", ""),
            fields.encode("latin-1") + b"\r\n\r\n",
            bytes(self._body),
            Peer(context.remote_ip, context.protocol == "https"),
        )

    def _too_large(self) -> None:
        self._body.clear()
        detail = f"The body may have {self._target.limit} bytes: send less at a time."
        self._answer(self._target.error(413, detail))

    def _answer(self, response: Response) -> None:
        self._answered = True
        self._share.hold(0)
        self._target.lane.statuses[response.status] += 1
        send_response(self._connection, self._line.method, response, get_request_id(self._headers))

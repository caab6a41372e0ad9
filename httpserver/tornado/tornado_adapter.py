"""Fast routes on a plain Tornado application, for tests that compare both servers."""

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

from httpserver.body_admission import BodyRejection, check_body_admission
from httpserver.error_responses import problem_response, with_retry_header
from httpserver.fast_routes import FastRoute
from httpserver.limits import ServerLimits
from httpserver.memory_budget import MemoryBudget, MemoryReservation, reservation_owners
from httpserver.messages import Request, Response
from httpserver.protocol.peers import Peer
from httpserver.protocol.request_framing import HTTP_METHODS
from httpserver.tornado.request_normalizer import get_request_id, send_response

log = logging.getLogger("httpserver")


def tornado_rules(
    fast_routes: Sequence[FastRoute],
    routes: Iterable[Any],
    default_handler: type[RequestHandler],
    *,
    error_response: Callable[[int, str], Response] = problem_response,
    body_limit: int | None = None,
    memory_budget: MemoryBudget | None = None,
) -> list[Any]:
    """Return rules for a `tornado.web.Application` with fast routes and ordinary `routes`.

    `routes` are `URLSpec`s or (pattern, handler, ...). The path of a fast route also gets a Tornado
    handler for other methods: that of the route with the same pattern, else `default_handler`.
    Handlers respond to OPTIONS, and with 405, by listing the methods of both in `Allow`; GET
    implies HEAD. Their `route_name` is the name of the route. `error_response`, `body_limit` in
    bytes and `memory_budget` are as for `Server`.
    """
    limit = body_limit or ServerLimits().body_bytes
    budget = memory_budget or MemoryBudget()
    methods: dict[str, list[str]] = {}
    for route in fast_routes:
        methods.setdefault(route.pattern, []).append(route.method)
    fast_rules: list[Any] = [
        Rule(
            _FastRouteMatcher(route, limit),
            _FastRouteApplication(route, error_response, limit, budget),
        )
        for route in fast_routes
    ]
    rules = [_add_route_methods(route, methods) for route in routes]
    names = {route.pattern: route.name for route in fast_routes}
    default_rules = [
        (pattern, _add_allow_handling(default_handler, fast_methods, (), names[pattern]))
        for pattern, fast_methods in methods.items()
    ]
    return fast_rules + default_rules + rules


def _add_route_methods(route: Any, methods: dict[str, list[str]]) -> Any:
    """Return `route` with a handler that knows the fast routes' methods of the same path.

    Remove that path from `methods`.
    """
    if isinstance(route, URLSpec):
        route = (route.regex.pattern, route.handler_class, route.kwargs, route.name)
    pattern, handler, *more = route
    if not isinstance(pattern, str) or not isinstance(handler, type):
        return route
    fast_methods = methods.pop(pattern.removesuffix("$"), []) + methods.pop(pattern, [])
    own_methods = [each for each in HTTP_METHODS if _implements(handler, each)]
    name = more[1] if len(more) > 1 and more[1] else pattern
    return (pattern, _add_allow_handling(handler, fast_methods, own_methods, name), *more)


def _implements(handler: type[RequestHandler], method: str) -> bool:
    name = method.lower()
    return getattr(handler, name, None) is not getattr(RequestHandler, name)


def _add_allow_handling(
    handler: type[RequestHandler],
    fast_methods: Sequence[str],
    own_methods: Sequence[str],
    name: str,
) -> type[RequestHandler]:
    own = list(own_methods)
    members: dict[str, Any] = {"__module__": handler.__module__, "route_name": name}
    if "GET" in own and "HEAD" not in own:  # required by RFC 9110, section 9.1
        own.append("HEAD")
        members["head"] = handler.get
    methods = {"OPTIONS", *fast_methods, *own} | ({"HEAD"} if "GET" in fast_methods else set())
    members["allow"] = ", ".join(each for each in HTTP_METHODS if each in methods)
    members["own_methods"] = frozenset(own)
    members["body_methods"] = frozenset(own) & getattr(handler, "body_methods", frozenset(own))
    return type(handler.__name__, (_AllowMethodsHandler, handler), members)


class _AllowMethodsHandler(RequestHandler):
    """Responds to OPTIONS, and with 405 to methods that its path does not support."""

    allow: str
    own_methods: frozenset[str]

    def prepare(self) -> Awaitable[None] | None:
        method = self.request.method or ""
        if method in self.own_methods:
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
    """Matches the requests that `Server` passes to the fast route."""

    def __init__(self, route: FastRoute, limit: int) -> None:
        self._route = route
        self._limit = limit if route.body_limit is None else route.body_limit
        self._methods = (route.method, "HEAD") if route.method == "GET" else (route.method,)

    def match(self, request: HTTPServerRequest) -> dict[str, Any] | None:
        path = _uri_path(request.uri or "")
        matches = request.method in self._methods and self._route.match(path)
        if not matches or (self._route.larger_to_application and self._is_larger(request.headers)):
            return None
        return {}

    def _is_larger(self, headers: HTTPHeaders) -> bool:
        length = headers.get("Content-Length", "0")
        return "Transfer-Encoding" in headers or not length.isdigit() or int(length) > self._limit


def _uri_path(uri: str) -> str:
    return uri.partition("?")[0]


class _FastRouteApplication(HTTPServerConnectionDelegate):
    def __init__(
        self,
        route: FastRoute,
        error_response: Callable[[int, str], Response],
        limit: int,
        memory_budget: MemoryBudget,
    ) -> None:
        self.route = route
        self.error_response = error_response
        self.memory_budget = memory_budget
        self.body_limit = limit if route.body_limit is None else route.body_limit

    def start_request(
        self, server_conn: object, request_conn: HTTPConnection
    ) -> HTTPMessageDelegate:
        return _FastRouteRequest(self, request_conn)


class _FastRouteRequest(HTTPMessageDelegate):
    """One request to a fast route."""

    def __init__(self, target: _FastRouteApplication, connection: HTTPConnection) -> None:
        self._target = target
        self._connection = connection
        self._start_line: Any = None
        self._headers = HTTPHeaders()
        self._body = bytearray()
        self._responded = False
        self._reservation = MemoryReservation(target.memory_budget)
        self._rejection: BodyRejection = None

    def headers_received(self, start_line: Any, headers: HTTPHeaders) -> None:
        self._start_line = start_line
        self._headers = headers
        length = headers.get("Content-Length", "0")
        size = int(length) if length.isdigit() else 0
        if size > self._target.body_limit:
            self._reject_too_large()
        elif self._target.route.takes_body and (size or "Transfer-Encoding" in headers):
            context = self._connection.context  # type: ignore[attr-defined]
            authorization = headers.get("Authorization")
            self._reservation.change_owners(reservation_owners(context.remote_ip, authorization))
            self._check_admission(size, self._reservation.fits(size))

    def _check_admission(self, size: int, fits: bool) -> None:
        self._rejection = check_body_admission(
            self._target.route,
            self._request(),
            size,
            fits,
            exception_response=self._exception_response,
            error_response=self._error_response,
        )

    def on_connection_close(self) -> None:
        self._reservation.resize(0)

    def data_received(self, chunk: bytes) -> None:
        if self._rejection is not None or not self._target.route.takes_body:
            return
        self._body += chunk
        if not self._reservation.resize(len(self._body)):
            size = len(self._body)
            self._body.clear()
            self._reservation.resize(0)
            self._check_admission(size, False)
        if len(self._body) > self._target.body_limit and not self._responded:
            self._reject_too_large()

    def finish(self) -> None:
        result: Response | Awaitable[Response] | None = self._rejection
        try:
            if result is None:
                result = self._target.route.handler(self._request())
            if isinstance(result, Response):
                self._send_response(result)
            else:
                asyncio.ensure_future(result).add_done_callback(self._on_response)
        except Exception as error:
            self._send_response(self._exception_response(error))

    def _on_response(self, future: "asyncio.Future[Response]") -> None:
        try:
            response = future.result()
        except (Exception, asyncio.CancelledError) as error:
            response = self._exception_response(error)
        self._send_response(response)

    def _exception_response(self, error: BaseException) -> Response:
        if refusal := self._target.route.error_to_refusal(error):
            return with_retry_header(self._target.error_response(refusal.status, refusal.detail))
        log.error("fast route raised route=%s", self._target.route.name, exc_info=error)
        return self._target.error_response(500, "The server could not process this request.")

    def _error_response(self, status: int, detail: str) -> Response:
        return with_retry_header(self._target.error_response(status, detail))

    def _request(self) -> Request:
        line = self._start_line
        match = self._target.route.match(_uri_path(line.path))
        assert match is not None
        # Tornado does not keep the bytes of a head.
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

    def _reject_too_large(self) -> None:
        self._body.clear()
        detail = f"The body is larger than {self._target.body_limit} bytes: send less at a time."
        self._send_response(self._target.error_response(413, detail))

    def _send_response(self, response: Response) -> None:
        self._responded = True
        self._reservation.resize(0)
        self._target.route.statuses[response.status] += 1
        request_id = get_request_id(self._headers)
        send_response(self._connection, self._start_line.method, response, request_id)

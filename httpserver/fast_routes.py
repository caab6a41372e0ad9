"""Fast routes: handlers called straight from the parser, without Tornado."""

import re
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable

from httpserver.bounded_memo import BoundedMemo
from httpserver.messages import Request, Response
from httpserver.refusal import RequestRefusal

AdmissionCheck = Callable[[Request, int, bool], Response | Awaitable[Response] | None]


class FastRoute:
    """A handler function for a method and a path.

    - `pattern`: regular expression for the whole path (not percent-decoded); its groups become
      `Request.params`. A route for GET serves HEAD too.
    - `body_limit`: bytes; None for the server's `body_bytes`. Larger bodies get a 413.
    - `larger_to_application`: pass larger and chunked bodies to the Tornado application instead.
    - `takes_body`: False discards request bodies; the default for GET.
    - `check_admission`: called after the head if the body is large or incomplete, with the request
      (without body), the body's size (0 if chunked), and whether it fits into the memory budget.
      A response rejects the request, whose body is then discarded. Called again, with False, if
      the budget runs out while the body arrives.
    - `name`: label in logs and metrics. `statuses` counts the responses by status.

    `error_to_refusal` maps an exception of the handler to the refusal to send; None means a bug,
    which is logged and answered with 500.
    """

    __slots__ = (
        "body_limit",
        "check_admission",
        "error_to_refusal",
        "handler",
        "larger_to_application",
        "match",
        "method",
        "name",
        "pattern",
        "statuses",
        "takes_body",
    )

    def __init__(
        self,
        method: str,
        pattern: str,
        handler: Callable[[Request], Response | Awaitable[Response]],
        *,
        body_limit: int | None = None,
        larger_to_application: bool = False,
        check_admission: AdmissionCheck | None = None,
        takes_body: bool | None = None,
        name: str | None = None,
    ) -> None:
        self.method = method
        self.set_pattern(pattern)
        self.handler = handler
        self.body_limit = body_limit
        self.larger_to_application = larger_to_application
        self.check_admission = check_admission
        self.takes_body = method != "GET" if takes_body is None else takes_body
        self.name = name or f"{method} {pattern}"
        self.error_to_refusal: Callable[[BaseException], RequestRefusal | None] = _as_refusal
        self.statuses: defaultdict[int, int] = defaultdict(int)

    def set_pattern(self, pattern: str) -> None:
        """Replace the pattern of the paths that this route serves."""
        self.pattern = pattern
        self.match = re.compile(pattern).fullmatch

    def __repr__(self) -> str:
        return f"<FastRoute {self.name}>"


def _as_refusal(error: BaseException) -> RequestRefusal | None:
    return error if isinstance(error, RequestRefusal) else None


class RouteMatch:
    """A parsed request line with its fast route; `route` is None for the application."""

    __slots__ = (
        "authority",
        "has_plain_response",
        "http_minor",
        "is_get",
        "method",
        "params",
        "path",
        "route",
        "target",
    )

    def __init__(
        self,
        method: str,
        target: bytes,
        http_minor: int,
        path: str,
        route: FastRoute | None,
        params: tuple[str, ...],
        authority: str | None,
    ) -> None:
        self.method = method
        self.target = target
        self.http_minor = http_minor
        self.path = path
        self.route = route
        self.params = params
        # The host of an absolute target, which overrides Host (RFC 9112, section 3.2.2).
        self.authority = authority
        self.is_get = method == "GET"
        # The response has a body and needs no Connection field to keep the connection open.
        self.has_plain_response = http_minor == 1 and method != "HEAD"


class FastRouteTable:
    """The fast routes of a server; the first match wins."""

    def __init__(self, routes: Iterable[FastRoute]) -> None:
        self._by_method: dict[str, list[FastRoute]] = {}
        for route in routes:
            self._by_method.setdefault(route.method, []).append(route)
        if "GET" in self._by_method:
            self._by_method.setdefault("HEAD", []).extend(self._by_method["GET"])
        self._matches: BoundedMemo[tuple[str, str], tuple[FastRoute | None, tuple[str, ...]]] = (
            BoundedMemo()
        )

    def find(self, method: str, path: str) -> tuple[FastRoute | None, tuple[str, ...]]:
        """Return the route for `path` and its parameters, or (None, ())."""
        match = self._matches.get((method, path))
        if match is None:
            match = self._search(method, path)
            self._matches.store((method, path), match, len(path))
        return match

    def _search(self, method: str, path: str) -> tuple[FastRoute | None, tuple[str, ...]]:
        for route in self._by_method.get(method, ()):
            if match := route.match(path):
                return route, match.groups("")
        return None, ()

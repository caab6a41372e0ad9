"""Lanes: functions that answer a method and a path straight from the wire."""

import re
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable

from httpserver.messages import Request, Response
from httpserver.refusal import RequestRefusal

# So many ways through the lanes are remembered; past that, all are forgotten at once.
_MAX_CACHED_PATHS = 8_192
_MAX_CACHED_PATH_LENGTH = 512

AdmissionCheck = Callable[[Request, int, bool], Response | Awaitable[Response] | None]


class FastRoute:
    """A function under a method and a path.

    `pattern` is a regular expression for the whole path (not percent-decoded); its groups become
    the request's `params`. A lane for GET answers HEAD too. `body_limit` is in bytes, None for
    the server's; a request with a larger one is refused or, where the lane says `larger`, goes to
    the application, as does one in chunks, whose size nobody knows yet. `statuses` counts answers
    by status.

    `admit` is asked at the end of a head whose body is large or still to come: by the request, so
    far without its body, the body's bytes (0 if it comes in chunks), and whether this server has
    room for them. Its answer turns the request away, whose body is then read past and held
    nowhere; None takes it, if there is room. It is asked again, without room, if there is none any
    more for a body that has begun to arrive.

    A lane that does not take a body (`takes_body`; by default, one for GET) gets an empty one:
    what a client sends is read past.

    `refusal` tells the refusal that an error of the lane means, None for a fault of the program.
    """

    __slots__ = (
        "admit",
        "body_limit",
        "call",
        "larger",
        "match",
        "method",
        "name",
        "pattern",
        "refusal",
        "statuses",
        "takes_body",
    )

    def __init__(
        self,
        method: str,
        pattern: str,
        call: Callable[[Request], Response | Awaitable[Response]],
        *,
        body_limit: int | None = None,
        larger: bool = False,
        admit: AdmissionCheck | None = None,
        takes_body: bool | None = None,
        name: str | None = None,
    ) -> None:
        self.method = method
        self.match_all(pattern)
        self.call = call
        self.body_limit = body_limit
        self.larger = larger
        self.admit = admit
        self.takes_body = method != "GET" if takes_body is None else takes_body
        self.name = name or f"{method} {pattern}"
        self.refusal: Callable[[BaseException], RequestRefusal | None] = _as_refusal
        self.statuses: defaultdict[int, int] = defaultdict(int)

    def match_all(self, pattern: str) -> None:
        """Answer the paths that match `pattern`, instead of those before."""
        self.pattern = pattern
        self.match = re.compile(pattern).fullmatch

    def __repr__(self) -> str:
        return f"<Lane {self.name}>"


def _as_refusal(error: BaseException) -> RequestRefusal | None:
    return error if isinstance(error, RequestRefusal) else None


class RouteMatch:
    """Where a request line leads: to a lane with its parameters, or (None) to the application."""

    __slots__ = (
        "authority",
        "lane",
        "method",
        "minor",
        "params",
        "path",
        "quick",
        "target",
        "usual",
    )

    def __init__(
        self,
        method: str,
        target: bytes,
        minor: int,
        path: str,
        lane: FastRoute | None,
        params: tuple[str, ...],
        authority: str | None,
    ) -> None:
        self.method = method
        self.target = target
        self.minor = minor
        self.path = path
        self.lane = lane
        self.params = params
        # Of an absolute target; it stands above Host (RFC 9112, 3.2.2).
        self.authority = authority
        # Its requests have no body, and its answers do.
        self.quick = method == "GET"
        # Its answers have the form that nearly all have.
        self.usual = minor == 1 and method != "HEAD"


class FastRouteTable:
    """All lanes of a server; the first that matches answers."""

    def __init__(self, lanes: Iterable[FastRoute]) -> None:
        self._by_method: dict[str, list[FastRoute]] = {}
        for lane in lanes:
            self._by_method.setdefault(lane.method, []).append(lane)
        if "GET" in self._by_method:
            self._by_method.setdefault("HEAD", []).extend(self._by_method["GET"])
        self._found: dict[tuple[str, str], tuple[FastRoute | None, tuple[str, ...]]] = {}

    def find(self, method: str, path: str) -> tuple[FastRoute | None, tuple[str, ...]]:
        """The lane for `path`, and its parameters; (None, ()) if there is none."""
        found = self._found.get((method, path))
        if found is None:
            found = self._search(method, path)
            if len(path) <= _MAX_CACHED_PATH_LENGTH:
                if len(self._found) >= _MAX_CACHED_PATHS:
                    self._found.clear()
                self._found[method, path] = found
        return found

    def _search(self, method: str, path: str) -> tuple[FastRoute | None, tuple[str, ...]]:
        for lane in self._by_method.get(method, ()):
            if match := lane.match(path):
                return lane, match.groups("")
        return None, ()

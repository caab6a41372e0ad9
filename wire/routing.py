"""Where requests lead: to a lane, or to the application; found once for each kind of request."""

from collections.abc import Iterable

from wire.framing import Framing, framing, host_name, origin, request_line
from wire.lanes import Lane
from wire.messages import Request, Response
from wire.refusal import Refusal

# So many of each kind are remembered, the short ones; past that, all are forgotten at once.
_REMEMBERED = 8_192
_LONGEST = 512
_ALLOW = ("Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")


class Way:
    """Where a request line leads: to a lane with its parameters, or (None) to the application."""

    __slots__ = ("authority", "lane", "method", "minor", "params", "path", "quick", "target")

    def __init__(
        self,
        method: str,
        target: bytes,
        minor: int,
        path: str,
        lane: Lane | None,
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


class Routing:
    """The ways of all requests; of several lanes that match, the first answers.

    `ways` holds those known, by request line; `framings` what is known of special lines, for
    HTTP/1.0 and HTTP/1.1.
    """

    def __init__(self, lanes: Iterable[Lane]) -> None:
        self._by_method: dict[str, list[Lane]] = {}
        for lane in (*lanes, Lane("OPTIONS", r"\*", _anything)):
            self._by_method.setdefault(lane.method, []).append(lane)
        if "GET" in self._by_method:
            self._by_method.setdefault("HEAD", []).extend(self._by_method["GET"])
        self._found: dict[tuple[str, str], tuple[Lane | None, tuple[str, ...]]] = {}
        self.ways: dict[bytes, Way] = {}
        self.framings: tuple[dict[tuple[bytes, ...], Framing], ...] = ({}, {})

    def way(self, head: bytes) -> Way:
        """Where this head's request line leads; raises `Refusal`."""
        line = head[: head.find(b"\r\n")]
        method, raw, minor = request_line(line)
        target, authority = origin(method, raw)
        path = target.partition(b"?")[0].decode("ascii")
        lane, params = self.find(method, path)
        host = None if authority is None else host_name(authority)
        way = Way(method, target, minor, path, lane, params, host)
        if b"?" not in target and len(line) <= _LONGEST:
            if len(self.ways) >= _REMEMBERED:
                self.ways.clear()
            self.ways[line] = way
        return way

    def likely_way(self, head: bytes) -> Way | None:
        """Where this head's request line leads if it is right, which llhttp has yet to judge."""
        try:
            return self.way(head)
        except Refusal:
            return None

    def framing(self, lines: tuple[bytes, ...], minor: int) -> Framing:
        """What these special lines say; raises `Refusal`."""
        found = framing(lines, minor)
        if sum(map(len, lines)) <= _LONGEST:
            known = self.framings[minor]
            if len(known) >= _REMEMBERED:
                known.clear()
            known[lines] = found
        return found

    def find(self, method: str, path: str) -> tuple[Lane | None, tuple[str, ...]]:
        """The lane for `path`, and its parameters; (None, ()) if there is none."""
        found = self._found.get((method, path))
        if found is None:
            found = self._search(method, path)
            if len(path) <= _LONGEST:
                if len(self._found) >= _REMEMBERED:
                    self._found.clear()
                self._found[method, path] = found
        return found

    def _search(self, method: str, path: str) -> tuple[Lane | None, tuple[str, ...]]:
        for lane in self._by_method.get(method, ()):
            if match := lane.match(path):
                return lane, match.groups("")
        return None, ()


def _anything(request: Request) -> Response:
    """OPTIONS of the server itself (RFC 9110, 9.3.7)."""
    return Response(204, [_ALLOW])

"""Lanes: functions that answer a method and a path straight from the wire."""

import re
from collections import defaultdict
from collections.abc import Awaitable, Callable

from wire.messages import Request, Response


class Lane:
    """A function under a method and a path.

    `pattern` is a regular expression for the whole path (not percent-decoded); its groups become
    the request's `params`. A lane for GET answers HEAD too. `body_limit` is in bytes, None for
    the server's; a request with a larger one is refused or, where the lane says `larger`, goes to
    the application, as does one in chunks, whose size nobody knows yet. `statuses` counts answers
    by status.
    """

    __slots__ = ("body_limit", "call", "larger", "match", "method", "name", "pattern", "statuses")

    def __init__(
        self,
        method: str,
        pattern: str,
        call: Callable[[Request], Response | Awaitable[Response]],
        *,
        body_limit: int | None = None,
        larger: bool = False,
        name: str | None = None,
    ) -> None:
        self.method = method
        self.pattern = pattern
        self.match = re.compile(pattern).fullmatch
        self.call = call
        self.body_limit = body_limit
        self.larger = larger
        self.name = name or f"{method} {pattern}"
        self.statuses: defaultdict[int, int] = defaultdict(int)

    def __repr__(self) -> str:
        return f"<Lane {self.name}>"

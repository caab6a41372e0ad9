"""Whether the process turns, and whether it is ready for visitors."""

from collections.abc import Callable, Mapping

import msgspec

from handlers.answers import NO_STORE, SECURITY
from handlers.base import Handler
from wire import Lane, Request, Response

ALIVE = Response(
    200,
    [("Content-Type", "text/plain; charset=utf-8"), NO_STORE, *SECURITY],
    b"ok\n",
)


class Readiness(msgspec.Struct):
    """What has to hold before visitors may come, and what an owner should know."""

    checks: Mapping[str, bool]
    notes: list[str]

    @property
    def ready(self) -> bool:
        """Whether all of it holds."""
        return all(self.checks.values())


def _alive(_: Request) -> Response:
    return ALIVE


def lanes() -> list[Lane]:
    """`/healthz`: an answer means that the loop turns."""
    return [Lane("GET", r"/healthz", _alive, name="healthz")]


class Ready(Handler):
    """`/readyz`: 200 when ready, else 503, and why."""

    def initialize(self, readiness: Callable[[], Readiness]) -> None:
        """`readiness` tells how things are now."""
        self._readiness = readiness

    def get(self) -> None:
        """The checks by name, and notes."""
        now = self._readiness()
        self.set_status(200 if now.ready else 503)
        self.send_json({"ready": now.ready, "checks": now.checks, "notes": now.notes})

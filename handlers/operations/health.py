"""Whether the process turns, and whether it is ready for visitors."""

from collections.abc import Callable, Mapping

import msgspec

from handlers.common.base_handler import BaseHandler
from handlers.common.responses import NO_STORE, SECURITY_HEADERS
from httpserver import FastRoute, Request, Response

ALIVE_RESPONSE = Response(
    200,
    [("Content-Type", "text/plain; charset=utf-8"), NO_STORE, *SECURITY_HEADERS],
    b"ok\n",
)


class ReadinessReport(msgspec.Struct):
    """What has to hold before visitors may come, and what an owner should know."""

    checks: Mapping[str, bool]
    notes: list[str]

    @property
    def ready(self) -> bool:
        """Whether all of it holds."""
        return all(self.checks.values())


def _healthz(_: Request) -> Response:
    return ALIVE_RESPONSE


def fast_routes() -> list[FastRoute]:
    """`/healthz`: an answer means that the loop turns."""
    return [FastRoute("GET", r"/healthz", _healthz, name="healthz")]


class ReadinessHandler(BaseHandler):
    """`/readyz`: 200 when ready, else 503, and why."""

    def initialize(self, readiness: Callable[[], ReadinessReport]) -> None:
        """`readiness` tells how things are now."""
        self._readiness = readiness

    def get(self) -> None:
        """The checks by name, and notes."""
        now = self._readiness()
        self.set_status(200 if now.ready else 503)
        self.send_json({"ready": now.ready, "checks": now.checks, "notes": now.notes})

"""Liveness (`/healthz`) and readiness (`/readyz`)."""

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
    """The readiness checks by name, and notes for the operator."""

    checks: Mapping[str, bool]
    notes: list[str]

    @property
    def ready(self) -> bool:
        """Whether all checks pass."""
        return all(self.checks.values())


def _healthz(_: Request) -> Response:
    return ALIVE_RESPONSE


def fast_routes() -> list[FastRoute]:
    """Return the route of `/healthz`: a response means that the event loop runs."""
    return [FastRoute("GET", r"/healthz", _healthz, name="healthz")]


class ReadinessHandler(BaseHandler):
    """`GET /readyz`: 200 if all checks pass, else 503."""

    def initialize(self, readiness: Callable[[], ReadinessReport]) -> None:
        """`readiness` returns the current report."""
        self._readiness = readiness

    def get(self) -> None:
        """Send the checks and notes."""
        report = self._readiness()
        self.set_status(200 if report.ready else 503)
        self.send_json({"ready": report.ready, "checks": report.checks, "notes": report.notes})

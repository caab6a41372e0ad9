"""An app on a running server, as a client of the events API."""

import asyncio
import re
from itertools import count
from typing import Any

from commands import control_client
from store.sqlite.admin.apps import CreateApp
from store.sqlite.admin.tokens import CreateToken
from tests.support.server_process import MarqueeProcess, ServerResponse

EVENT_COUNTER = re.compile(r"^marquee_events_(\w+)_total (\S+)$", re.MULTILINE)


APP_NUMBERS = count()


class EventsApp:
    """A new app; requests carry its secret token unless another is given."""

    def __init__(self, server: MarqueeProcess, *, strict: bool = False) -> None:
        self.server = server
        created = self.run_command(CreateApp(f"app {next(APP_NUMBERS)}", strict=strict))
        self.id, self.secret_token = created.id, created.secret_token

    def run_command(self, command: Any) -> Any:
        """Run a command on the server's control socket."""
        return asyncio.run(control_client.run_command(self.server.data / "marquee.sock", command))

    def create_token(self, *scopes: str) -> str:
        return str(self.run_command(CreateToken(str(self.id), scopes)).secret_token)

    def request(
        self,
        path: str,
        method: str = "GET",
        body: bytes | None = None,
        *,
        token: str | None = None,
        **headers: str,
    ) -> ServerResponse:
        headers.setdefault("Authorization", f"Bearer {token or self.secret_token}")
        return self.server.request(path, method, body, **headers)

    def send(
        self, body: bytes, path: str = "/events", *, kind: str = "application/json", **options: Any
    ) -> ServerResponse:
        return self.request(path, "POST", body, Content_Type=kind, **options)

    def counts(self) -> dict[str, int]:
        """Return the server's event counters, by outcome."""
        metrics = self.server.request("/metrics").text
        counts = {name: int(float(value)) for name, value in EVENT_COUNTER.findall(metrics)}
        assert counts["received"] == sum(counts.values()) - counts["received"]
        return counts


def count_changes(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """Return the differences of counters that changed."""
    return {name: after[name] - before[name] for name in after if after[name] != before[name]}

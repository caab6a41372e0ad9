"""An app with tokens on a running server, and its calls of the events API."""

import asyncio
import re
from itertools import count

from commands import control_client
from store.sqlite.admin.apps import CreateApp
from store.sqlite.admin.tokens import CreateToken

EVENT_COUNTER = re.compile(r"^marquee_events_(\w+)_total (\S+)$", re.MULTILINE)


APP_NUMBERS = count()


class EventsApp:
    """An app of a server, with what it may do."""

    def __init__(self, server, *, strict=False):
        self.server = server
        made = self.command(CreateApp(f"app {next(APP_NUMBERS)}", strict=strict))
        self.id, self.secret_token = made.id, made.secret_token

    def command(self, command):
        return asyncio.run(control_client.run_command(self.server.data / "marquee.sock", command))

    def create_token(self, *scopes):
        """Another token."""
        return self.command(CreateToken(str(self.id), scopes)).secret_token

    def request(self, path, method="GET", sent=None, *, token=None, **headers):
        headers.setdefault("Authorization", f"Bearer {token or self.secret_token}")
        return self.server.request(path, method, sent, **headers)

    def send(self, sent, path="/events", *, kind="application/json", **more):
        return self.request(path, "POST", sent, Content_Type=kind, **more)

    def counts(self):
        text = self.server.request("/metrics").text
        found = {name: int(float(value)) for name, value in EVENT_COUNTER.findall(text)}
        assert found["received"] == sum(found.values()) - found["received"]
        return found


def count_changes(before, after):
    return {name: after[name] - before[name] for name in after if after[name] != before[name]}

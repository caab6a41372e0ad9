"""An app with tokens on a running server, and its calls of the events API."""

import asyncio
import re
from itertools import count

from commands import control_client
from store.sqlite.admin.apps import CreateApp
from store.sqlite.admin.tokens import CreateToken

COUNT = re.compile(r"^marquee_events_(\w+)_total (\S+)$", re.MULTILINE)


NAMES = count()


class App:
    """An app of a server, with what it may do."""

    def __init__(self, server, *, strict=False):
        self.server = server
        made = self.command(CreateApp(f"app {next(NAMES)}", strict=strict))
        self.id, self.secret_token = made.id, made.secret_token

    def command(self, command):
        return asyncio.run(control_client.run_command(self.server.data / "marquee.sock", command))

    def token(self, *scopes):
        """Another token."""
        return self.command(CreateToken(str(self.id), scopes)).secret_token

    def ask(self, path, method="GET", sent=None, *, token=None, **headers):
        headers.setdefault("Authorization", f"Bearer {token or self.secret_token}")
        return self.server.ask(path, method, sent, **headers)

    def send(self, sent, path="/events", *, kind="application/json", **more):
        return self.ask(path, "POST", sent, Content_Type=kind, **more)

    def counts(self):
        text = self.server.ask("/metrics").text
        found = {name: int(float(value)) for name, value in COUNT.findall(text)}
        assert found["received"] == sum(found.values()) - found["received"]
        return found


def gained(before, after):
    return {name: after[name] - before[name] for name in after if after[name] != before[name]}

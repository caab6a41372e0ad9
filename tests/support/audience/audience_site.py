"""A site whose visitors a Marquee counts: an app, its host, and signs of life."""

import json
import time
from typing import Any
from urllib.parse import urlencode

HOST = "www.example.com"


class AudienceSite:
    """An app made on a running server."""

    def __init__(self, run_command: Any, server: Any, name: str = "Site", host: str = HOST) -> None:
        self.server = server
        self.host = host
        words = ["--hosts", f"{host},shop.example.com", "--data", str(server.data), "--json"]
        made = json.loads(run_command("app", "create", name, *words).stdout)
        self.public_token = made["public_token"]
        self.secret_token = made["secret_token"]

    def send_beacon(self, session: str, path: str = "/", kind: str = "beat", **more: Any) -> Any:
        """One sign of life; header names with _ for -."""
        body = {"kind": kind, "session": session, "host": self.host, "path": path}
        fields = more.pop("fields", {"Origin": f"https://{self.host}"})
        return self.server.request(
            f"/api/v1/beacon/{more.pop('token', self.public_token)}",
            "POST",
            json.dumps(body | more).encode(),
            Content_Type="text/plain;charset=UTF-8",
            **fields,
        )

    def add_visitors(self, count: int, path: str = "/", name: str = "") -> None:
        """So many visitors on a page."""
        connection = self.server.connect()
        for number in range(count):
            body = {"kind": "beat", "session": f"{name}{number}", "host": self.host, "path": path}
            connection.request(
                "POST", f"/api/v1/beacon/{self.public_token}", json.dumps(body).encode()
            )
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 204
        connection.close()

    def get(self, path: str, /, *, server: Any = None, **query: Any) -> Any:
        """What is answered to a question with this site's key and host."""
        words = {"apikey": self.public_token, "host": self.host, **query}
        return (server or self.server).request(f"{path}?{urlencode(words)}")

    def get_increasing(self, server: Any = None) -> Any:
        return self.get("/api/v1.0/increasingconcurrents", server=server)

    def get_rising(self, server: Any = None, **query: Any) -> Any:
        return self.get(f"/api/v1/audience/{self.host}/rising", server=server, **query).json()


def wait_for(what: Any, seconds: float = 120.0) -> Any:
    """What `what` gives, as soon as that is something."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, f"not within {seconds} s: {found!r}"
        time.sleep(0.05)
    return found

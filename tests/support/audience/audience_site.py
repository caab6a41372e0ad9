"""A site whose visitors a server counts: an app, its host, and beacons of visitors."""

import json
import time
from typing import Any
from urllib.parse import urlencode

HOST = "www.example.com"


class AudienceSite:
    """An app created on a running server."""

    def __init__(self, run_command: Any, server: Any, name: str = "Site", host: str = HOST) -> None:
        self.server = server
        self.host = host
        options = ["--hosts", f"{host},shop.example.com", "--data", str(server.data), "--json"]
        created = json.loads(run_command("app", "create", name, *options).stdout)
        self.public_token = created["public_token"]
        self.secret_token = created["secret_token"]

    def send_beacon(self, session: str, path: str = "/", kind: str = "beat", **options: Any) -> Any:
        """Send a beacon; `fields` are headers with `_` for `-`, other options body members."""
        body = {"kind": kind, "session": session, "host": self.host, "path": path}
        fields = options.pop("fields", {"Origin": f"https://{self.host}"})
        return self.server.request(
            f"/api/v1/beacon/{options.pop('token', self.public_token)}",
            "POST",
            json.dumps(body | options).encode(),
            Content_Type="text/plain;charset=UTF-8",
            **fields,
        )

    def add_visitors(self, count: int, path: str = "/", name: str = "") -> None:
        """Send a beacon of each of `count` visitors of a page."""
        connection = self.server.connect()
        for number in range(count):
            body = {"kind": "beat", "session": f"{name}{number}", "host": self.host, "path": path}
            connection.request(
                "POST", f"/api/v1/beacon/{self.public_token}", json.dumps(body).encode()
            )
            response = connection.getresponse()
            response.read()
            assert response.status == 204
        connection.close()

    def get(self, path: str, /, *, server: Any = None, **query: Any) -> Any:
        """Send a GET request with this site's public token and host."""
        parameters = {"apikey": self.public_token, "host": self.host, **query}
        return (server or self.server).request(f"{path}?{urlencode(parameters)}")

    def get_increasing(self, server: Any = None) -> Any:
        return self.get("/api/v1.0/increasingconcurrents", server=server)

    def get_rising(self, server: Any = None, **query: Any) -> Any:
        return self.get(f"/api/v1/audience/{self.host}/rising", server=server, **query).json()


def wait_for(condition: Any, seconds: float = 120.0) -> Any:
    """Call `condition` until its result is true, and return the result."""
    end = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < end, f"not within {seconds} s: {result!r}"
        time.sleep(0.05)
    return result

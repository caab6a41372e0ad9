"""The pages that gain from a stock Tornado RequestHandler: the same bytes and headers."""

import asyncio
import json
import sys
from pathlib import Path

from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler


class Gains(RequestHandler):
    """Looks up what is ready by key and host, as ours does."""

    def initialize(self, ready: dict[tuple[str, str], tuple[dict[str, str], bytes]]) -> None:
        """Take what is ready: headers and body for each (key, host)."""
        self.ready = ready

    def compute_etag(self) -> None:
        """No ETag: it must not be stored, and hashing it would only cost this rival time."""

    def get(self) -> None:
        """Answer."""
        key, host = self.get_query_argument("apikey"), self.get_query_argument("host")
        headers, body = self.ready[key, host]
        for name, value in headers.items():
            self.set_header(name, value)
        self.write(body)


async def main(said: str, port: int) -> None:
    told = json.loads(Path(said).read_text("utf-8"))
    ready = {(told["key"], told["host"]): (told["headers"], told["body"].encode())}
    routes = [(r"/api/v1\.0/increasingconcurrents", Gains, {"ready": ready})]
    HTTPServer(Application(routes)).listen(port, "127.0.0.1", backlog=4096)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))

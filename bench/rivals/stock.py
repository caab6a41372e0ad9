"""The banner page as a stock Tornado RequestHandler: on Tornado's server or, unchanged, on ours."""

import asyncio
import random
import sys
from pathlib import Path

import uvloop
from page import Page, arguments
from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler


class Show(RequestHandler):
    """A banner other than the one that the cookie names."""

    def initialize(self, page: Page) -> None:
        """Take the page that all rivals serve."""
        self.page = page

    def compute_etag(self) -> None:
        """No ETag: the page must not be stored, and hashing it would only cost this rival time."""

    def get(self, campaign: str) -> None:
        """Answer with a banner, and say in a cookie which."""
        page = self.page
        if campaign != page.path.split("/")[2]:
            self.send_error(404)
            return
        count = len(page.bodies)
        index = random.randrange(count)
        last = self.get_cookie(page.cookie)
        if last in page.values and count > 1:
            index = (page.values.index(last) + random.randrange(1, count)) % count
        for name, value in page.headers:
            self.set_header(name, value)
        self.set_cookie(page.cookie, page.values[index], **page.attributes)
        self.write(page.bodies[index])


class Hello(RequestHandler):
    """The least that a handler can do."""

    def get(self) -> None:
        """Answer with a few bytes."""
        self.write(b"hello, world")


async def main(server: str) -> None:
    page, port = arguments()
    app = Application([(r"/campaigns/(\d+)/", Show, {"page": page}), (r"/hello", Hello)])
    if server == "wire":
        sys.path.insert(0, str(Path(__file__).parents[2]))
        import httpserver

        await httpserver.Server(app).listen(httpserver.bind_tcp("127.0.0.1", port, 4096))
    else:
        HTTPServer(app).listen(port, "127.0.0.1", backlog=4096)
    await asyncio.Event().wait()


if __name__ == "__main__":
    name, loop = sys.argv[3:] or ("tornado", "asyncio")
    (uvloop.run if loop == "uvloop" else asyncio.run)(main(name))

"""The limit: uvloop and httptools with constant bytes; it looks at nothing of the request."""

import asyncio
from email.utils import formatdate

import httptools
import uvloop
from page import Page, arguments


def constant(page: Page) -> bytes:
    """One answer with the head and body that every other server here sends."""
    body = page.bodies[0].encode()
    cookie = f"{page.cookie}={page.values[0]}; HttpOnly; Max-Age={page.attributes['max_age']}"
    headers = [
        *page.headers,
        ("Content-Length", str(len(body))),
        ("Date", formatdate(usegmt=True)),
        ("Set-Cookie", f"{cookie}; Path={page.attributes['path']}; SameSite=Lax"),
    ]
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return f"HTTP/1.1 200 OK\r\n{lines}\r\n".encode() + body


class Limit(asyncio.Protocol):
    """Writes the same bytes for each complete message."""

    answer = b""

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Take the connection."""
        self.transport = transport
        self.parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        """Take bytes."""
        self.parser.feed_data(data)

    def on_message_complete(self) -> None:
        """Answer; the parser calls this."""
        self.transport.write(self.answer)


async def main() -> None:
    page, port = arguments()
    Limit.answer = constant(page)
    server = await asyncio.get_running_loop().create_server(Limit, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())

"""Taking events as a stock Tornado handler does: aiosqlite, and a commit a request."""

import asyncio
import json
import sys

import aiosqlite
from log import INSERT, PRAGMAS, create, row
from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler


class Take(RequestHandler):
    """One event, or one on each line."""

    def initialize(self, database: aiosqlite.Connection, lock: asyncio.Lock) -> None:
        """Take the one connection, and what keeps its transactions apart."""
        self.database = database
        self.lock = lock

    async def post(self) -> None:
        """Answer when it is on disk."""
        lines = self.request.body.split(b"\n")
        events = [json.loads(line) for line in lines]
        rows = [row(event, json.dumps(event["data"])) for event in events]
        async with self.lock:
            await self.database.executemany(INSERT, rows)
            await self.database.commit()
        self.set_status(202)
        self.write({"results": [{"status": "accepted"}] * len(rows)})


async def main(path: str, port: int) -> None:
    create(path)
    database = await aiosqlite.connect(path)
    for pragma in PRAGMAS:
        await database.execute(pragma)
    parts = {"database": database, "lock": asyncio.Lock()}
    HTTPServer(Application([(r"/events", Take, parts)])).listen(port, "127.0.0.1", backlog=4096)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))

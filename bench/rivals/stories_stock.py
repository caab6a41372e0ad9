"""Stories as a stock Tornado handler gives them: aiosqlite, and cachetools before it."""

import asyncio
import json
import sys
import time
from typing import Any

import aiosqlite
from cachetools import TTLCache
from shelf import ASKED, KEPT, create
from tornado.httpserver import HTTPServer
from tornado.web import Application, HTTPError, RequestHandler

Answer = dict[str, Any]


class Fresh(RequestHandler):
    """Reads the database each time."""

    def initialize(self, database: aiosqlite.Connection, kept: TTLCache[str, Answer]) -> None:
        """Take what they share."""
        self.database = database
        self.kept = kept

    async def read(self, token: str) -> Answer:
        """An app's stories."""
        async with self.database.execute(ASKED, (token,)) as cursor:
            rows = list(await cursor.fetchall())
        if not rows:
            raise HTTPError(404)
        stories = [{"id": row[1], "metadata": json.loads(row[2])["img"]} for row in rows]
        return {"app_id": rows[0][0], "ts": int(time.time()), "metadata": stories}

    async def get(self, token: str) -> None:
        """Answer with them."""
        self.write(await self.read(token))


class Cached(Fresh):
    """Reads it once a minute."""

    async def get(self, token: str) -> None:
        """Answer with what is kept, and the moment."""
        answer = self.kept.get(token)
        if answer is None:
            answer = self.kept[token] = await self.read(token)
        self.write({**answer, "ts": int(time.time())})


async def main(path: str, port: int) -> None:
    create(path)
    database = await aiosqlite.connect(path)
    parts = {"database": database, "kept": TTLCache(10_000, KEPT)}
    routes = [
        (r"/api/v1/stories/cached/([\w.~-]+)", Cached, parts),
        (r"/api/v1/stories/([\w.~-]+)", Fresh, parts),
    ]
    HTTPServer(Application(routes)).listen(port, "127.0.0.1", backlog=4096)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))

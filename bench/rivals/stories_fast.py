"""Stories as FastAPI on uvicorn gives them: aiosqlite, and a dictionary before it."""

import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiosqlite
import uvicorn
from fastapi import FastAPI, HTTPException
from shelf import ASKED, KEPT, create

path, port = sys.argv[1], int(sys.argv[2])


@asynccontextmanager
async def life(app: FastAPI) -> AsyncIterator[None]:
    """Open the one connection."""
    create(path)
    async with aiosqlite.connect(path) as database:
        app.state.database = database
        yield


app = FastAPI(lifespan=life, openapi_url=None)
kept: dict[str, tuple[float, dict[str, Any]]] = {}


@app.get("/api/v1/stories/{token}")
async def fresh(token: str) -> dict[str, Any]:
    """An app's stories, from the database."""
    async with app.state.database.execute(ASKED, (token,)) as cursor:
        rows = list(await cursor.fetchall())
    if not rows:
        raise HTTPException(404)
    stories = [{"id": row[1], "metadata": json.loads(row[2])["img"]} for row in rows]
    return {"app_id": rows[0][0], "ts": int(time.time()), "metadata": stories}


@app.get("/api/v1/stories/cached/{token}")
async def cached(token: str) -> dict[str, Any]:
    """The same, read once a minute."""
    until, answer = kept.get(token, (0.0, {}))
    if time.monotonic() >= until:
        answer = await fresh(token)
        kept[token] = time.monotonic() + KEPT, answer
    return {**answer, "ts": int(time.time())}


if __name__ == "__main__":
    uvicorn.run(
        app, host="127.0.0.1", port=port, loop="uvloop", http="httptools",
        access_log=False, log_level="warning", backlog=4096,
    )  # fmt: skip

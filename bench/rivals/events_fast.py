"""Taking events as FastAPI on uvicorn does: aiosqlite, and a commit a request."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiosqlite
import uvicorn
from fastapi import FastAPI, Request
from log import INSERT, PRAGMAS, create, row

path, port = sys.argv[1], int(sys.argv[2])


@asynccontextmanager
async def life(app: FastAPI) -> AsyncIterator[None]:
    """Open the one connection, and what keeps its transactions apart."""
    create(path)
    async with aiosqlite.connect(path) as database:
        for pragma in PRAGMAS:
            await database.execute(pragma)
        app.state.database, app.state.lock = database, asyncio.Lock()
        yield


app = FastAPI(lifespan=life)


@app.post("/events", status_code=202)
async def take(request: Request) -> dict[str, list[dict[str, str]]]:
    """Answer when it is on disk."""
    events = [json.loads(line) for line in (await request.body()).split(b"\n")]
    rows = [row(event, json.dumps(event["data"])) for event in events]
    state = request.app.state
    async with state.lock:
        await state.database.executemany(INSERT, rows)
        await state.database.commit()
    return {"results": [{"status": "accepted"}] * len(rows)}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=port, access_log=False, log_level="warning")

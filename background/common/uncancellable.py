"""Steps that are taken whole: one that has begun is finished before its loop ends."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

ResultT = TypeVar("ResultT")


async def run_to_completion(step: Coroutine[Any, Any, ResultT]) -> ResultT:
    """What `step` comes to. A cancellation waits until it is over, so that whoever cancels a loop
    and waits for its end may close what its steps work on.
    """
    task = asyncio.ensure_future(step)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        task.exception()  # a step that failed has told of it, or nobody asks for it any more
        raise cancelled
    return task.result()

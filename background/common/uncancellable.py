"""Steps of workers that a cancellation does not interrupt."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

ResultT = TypeVar("ResultT")


async def run_to_completion(step: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Return the result of `step`; delay a cancellation until the step has ended.

    After cancelling and awaiting a worker, a caller may close the resources of its steps.
    """
    task = asyncio.ensure_future(step)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        task.exception()  # retrieved, or asyncio would log it as never retrieved
        raise cancelled
    return task.result()

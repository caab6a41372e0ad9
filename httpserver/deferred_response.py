"""A response that a fast route completes later, cheaper than a future."""

import asyncio
from collections.abc import Callable, Generator
from functools import partial
from typing import Any

from httpserver.messages import Response

# The response, or the exception raised instead.
DeferredResult = Response | BaseException


class DeferredResponse:
    """A placeholder that a fast route returns, and resolves once.

    Coroutines and futures work as well, but asyncio schedules their callbacks for the next turn of
    the event loop. That costs more than sending the response.
    """

    __slots__ = ("_callback", "_result")

    def __init__(self) -> None:
        self._result: DeferredResult | None = None
        self._callback: Callable[[DeferredResult], object] | None = None

    def resolve(self, result: DeferredResult) -> None:
        """Set the result; the callback, if already added, runs before this returns."""
        if self._callback is None:
            self._result = result
        else:
            self._callback(result)

    def add_callback(self, callback: Callable[[DeferredResult], object]) -> None:
        """Call `callback`, which must not raise, with the result: now if there is one already."""
        if self._result is None:
            self._callback = callback
        else:
            callback(self._result)

    def __await__(self) -> Generator[Any, None, Response]:
        future: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self.add_callback(partial(_resolve_future, future))
        return (yield from future)


def _resolve_future(future: "asyncio.Future[Response]", result: DeferredResult) -> None:
    if future.done():  # cancelled by the awaiting task
        return
    if isinstance(result, BaseException):
        future.set_exception(result)
    else:
        future.set_result(result)

"""An answer that is not there yet, for lanes that answer by the hundred at once."""

import asyncio
from collections.abc import Callable, Generator
from functools import partial
from typing import Any

from httpserver.messages import Response

# The answer, or what was raised instead of it.
DeferredResult = Response | BaseException


class DeferredResponse:
    """What a lane may give in place of its answer, which comes by `come`, once.

    A coroutine or future serves too; but each of those takes a turn of the loop to say that it is
    done, which costs more than sending the answer does.
    """

    __slots__ = ("_answer", "_take")

    def __init__(self) -> None:
        self._answer: DeferredResult | None = None
        self._take: Callable[[DeferredResult], object] | None = None

    def come(self, answer: DeferredResult) -> None:
        """Give the answer, which is sent before this returns."""
        if self._take is None:
            self._answer = answer
        else:
            self._take(answer)

    def then(self, take: Callable[[DeferredResult], object]) -> None:
        """Have it given to `take`, which must not raise; at once if it has come."""
        if self._answer is None:
            self._take = take
        else:
            take(self._answer)

    def __await__(self) -> Generator[Any, None, Response]:
        future: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self.then(partial(_resolve_future, future))
        return (yield from future)


def _resolve_future(future: "asyncio.Future[Response]", answer: DeferredResult) -> None:
    if future.done():  # whoever waited has left
        return
    if isinstance(answer, BaseException):
        future.set_exception(answer)
    else:
        future.set_result(answer)

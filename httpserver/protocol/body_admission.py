"""Whether a request's body may come, decided by its head."""

import asyncio
from collections.abc import Awaitable, Callable

from httpserver.fast_routes import FastRoute
from httpserver.messages import Request, Response

OVERLOADED_DETAIL = "More is being sent than can be held; send this again."

# The answer to a request whose body is read past.
BodyRejection = Response | asyncio.Future[Response] | None


def check_body_admission(
    lane: FastRoute,
    request: Request,
    size: int,
    fits: bool,
    *,
    failed: Callable[[BaseException], Response],
    error: Callable[[int, str], Response],
) -> BodyRejection:
    """The answer to a request whose body, of `size` bytes, shall not come; None to take it.

    The lane is asked first; a body that does not fit is refused in any case. `failed` makes the
    response of a lane that raised, `error` the one for lack of room.
    """
    answer: Response | Awaitable[Response] | None = None
    try:
        if lane.admit is not None:
            answer = lane.admit(request, size, fits)
    except Exception as raised:
        answer = failed(raised)
    if answer is None and not fits:
        answer = error(503, OVERLOADED_DETAIL)
    if answer is None:
        return None
    if isinstance(answer, Response):
        return answer
    future = asyncio.ensure_future(answer)
    # Its peer may leave before it is asked for.
    future.add_done_callback(lambda done: done.cancelled() or done.exception())
    return future

"""The decision, after a request's head, whether its body is accepted."""

import asyncio
from collections.abc import Awaitable, Callable

from httpserver.fast_routes import FastRoute
from httpserver.messages import Request, Response

OVERLOADED_DETAIL = "The server is overloaded: send the request again later."

# The response to a request whose body is discarded; None for an accepted one.
BodyRejection = Response | asyncio.Future[Response] | None


def check_body_admission(
    route: FastRoute,
    request: Request,
    size: int,
    fits: bool,
    *,
    exception_response: Callable[[BaseException], Response],
    error_response: Callable[[int, str], Response],
) -> BodyRejection:
    """Return the rejection of a body of `size` bytes, or None to accept it.

    The route decides first; a body that does not fit into the memory budget is rejected anyway.
    """
    rejection: Response | Awaitable[Response] | None = None
    try:
        if route.check_admission is not None:
            rejection = route.check_admission(request, size, fits)
    except Exception as error:
        rejection = exception_response(error)
    if rejection is None and not fits:
        rejection = error_response(503, OVERLOADED_DETAIL)
    if rejection is None or isinstance(rejection, Response):
        return rejection
    future = asyncio.ensure_future(rejection)
    # Retrieve the exception: if the client disconnects, nothing else awaits the future.
    future.add_done_callback(lambda done: done.cancelled() or done.exception())
    return future

"""Request bodies that are being read, and whether those for fast routes are accepted."""

from dataclasses import dataclass, field
from functools import partial

from httpserver.body_admission import BodyRejection, check_body_admission
from httpserver.connection.base_connection import BaseConnection
from httpserver.connection.connection_memory import SMALL_REQUEST_BYTES, UNCOUNTED_BODY_BYTES
from httpserver.fast_routes import FastRoute, RouteMatch
from httpserver.messages import Request
from httpserver.protocol.request_framing import CHUNKED_LENGTH, RequestFraming


@dataclass(slots=True)
class IncomingBody:
    """The body being read; `head` and `parts` are for fast routes.

    `accounted` bodies reserve memory as they arrive. `discarded` ones are read and dropped, in
    case of a `rejection` to send it once the client has finished sending.
    """

    limit: int
    accounted: bool
    discarded: bool
    head: bytes = b""
    rejection: BodyRejection = None
    received: int = 0
    parts: list[bytes] = field(default_factory=list)

    def reject(self, rejection: BodyRejection) -> None:
        """Discard what has arrived and the rest."""
        self.accounted, self.discarded, self.rejection = False, True, rejection
        self.parts.clear()


def open_route_body(
    connection: BaseConnection,
    match: RouteMatch,
    route: FastRoute,
    framing: RequestFraming,
    head: bytes,
    available: int,
) -> IncomingBody:
    """Decide whether to read, discard or reject a body of which `available` bytes have arrived."""
    length, limit = framing.length, connection.context.body_limit(route)
    accounted = route.takes_body and (
        length == CHUNKED_LENGTH or length > min(SMALL_REQUEST_BYTES, available)
    )
    body = IncomingBody(limit, accounted, discarded=not route.takes_body, head=head)
    if accounted and length <= limit:
        reservation = connection.memory.assign_body_owners(connection.stream.peer, head)
        fits = length <= UNCOUNTED_BODY_BYTES or reservation.fits(length)
        rejection = check_route_admission(connection, match, route, framing, head, fits)
        if rejection is not None:
            body.reject(rejection)
    return body


def check_route_admission(
    connection: BaseConnection,
    match: RouteMatch,
    route: FastRoute,
    framing: RequestFraming,
    head: bytes,
    fits: bool,
) -> BodyRejection:
    """Return the rejection of a body, or None; `fits` tells whether there is memory for it."""
    context = connection.context
    host, peer = match.authority or framing.host, connection.stream.peer
    request = Request(match.method, match.target, match.path, match.params, host, head, b"", peer)
    rejection = check_body_admission(
        route,
        request,
        max(framing.length, 0),
        fits,
        exception_response=partial(context.exception_response, route),
        error_response=context.error_response,
    )
    context.stats.rejected_before_body += rejection is not None
    return rejection

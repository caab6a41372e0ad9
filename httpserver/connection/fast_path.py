"""The fast path: requests that arrive alone and complete.

Nearly all requests take it. It does the same steps as the general path, without those that only
other requests need.
"""

from httpserver.connection.base_connection import BaseConnection
from httpserver.connection.connection_memory import SMALL_REQUEST_BYTES
from httpserver.fast_routes import RouteMatch
from httpserver.messages import Request, Response
from httpserver.protocol.message_reader import PARSER_ERRORS, MessageReader
from httpserver.protocol.request_framing import RequestFraming, find_framing_lines
from httpserver.protocol.request_id import split_request_id


def try_serve_get(connection: BaseConnection, data: bytes) -> bool:
    """Serve a GET without a body; return False, and do nothing, for other requests.

    `data` ends with an empty line. If it contains several heads, llhttp either sees the end
    of a second message, which is an error, or the second head announces a body, which is
    found among the framing lines.
    """
    context = connection.context
    if len(data) > context.max_fast_path_bytes:
        return False
    # 13 is CR: searching for an integer is the fastest form of `find`.
    match = context.route_matches.get(data[: data.find(13)]) or context.match_route_or_none(data)
    if match is None or not match.is_get:
        return False
    reader = connection.reader
    if reader is None:
        reader = connection.reader = MessageReader()
    reader.open_messages.append(None)
    try:
        reader.feed(data)
    except PARSER_ERRORS:
        # Malformed, or a second request: its end pops from an empty list.
        connection.reset_reader()
        return False
    framings, lines = context.framings[match.http_minor], tuple(find_framing_lines(data))
    framing = framings.get(lines)
    if framing is None:
        lines, connection.request_id_line = split_request_id(lines)
        framing = framings.get(lines)
    if framing is None or not framing.is_simple or reader.open_messages:
        connection.reset_reader()
        return False
    route = match.route
    if route is None:
        # Without empty lines that may follow the head.
        connection.pass_to_application(match, framing, data[: data.find(b"\r\n\r\n") + 4])
        return True
    try:
        response = route.handler(
            Request(
                match.method,
                match.target,
                match.path,
                match.params,
                match.authority or framing.host,
                data,
                b"",
                connection.stream.peer,
            )
        )
    except Exception as error:
        response = context.exception_response(route, error)
    if (
        type(response) is not Response
        or response.has_large_body
        or context.counts_requests
        or connection.request_id_line
    ):
        connection.handle_result(match, framing, response)
        return True
    context.stats.requests += 1
    route.statuses[response.status] += 1
    head_tail = context.head_tail
    if response.encoded_tail is not head_tail:
        response.encoded = b"".join((response.head, head_tail, response.body))
        response.encoded_tail = head_tail
    stream = connection.stream
    stream.transport.write(response.encoded)
    stream.deadline = context.idle_until
    return True


def try_serve_post(connection: BaseConnection, data: bytes) -> bool:
    """Serve a POST to a fast route; return False, and do nothing, for other requests.

    A client's heads rarely vary, so valid ones are cached with the length that they announce,
    and need not be parsed by llhttp again.
    """
    context = connection.context
    end = data.find(b"\r\n\r\n") + 4
    head = data[:end]
    parsed = context.whole_heads.get(head)
    if parsed is None:
        parsed = _parse_whole_post(connection, data, end)
        if parsed is None:
            return False
        if not connection.request_id_line:  # with an id, the next head differs
            context.whole_heads.store(head, parsed, end)
    match, framing = parsed
    length = framing.length
    if len(data) - end != length:
        return False
    if length > SMALL_REQUEST_BYTES:
        reservation = connection.memory.assign_body_owners(connection.stream.peer, head)
        if not reservation.resize(length):
            return False
    connection.call_route(match, framing, head, data[end:])
    return True


def _parse_whole_post(
    connection: BaseConnection, data: bytes, end: int
) -> tuple[RouteMatch, RequestFraming] | None:
    """Parse a request whose head ends at `end`; None if it is not one for this path."""
    context = connection.context
    match = context.route_matches.get(data[: data.find(13)])
    if match is None or match.route is None:
        return None
    lines, connection.request_id_line = split_request_id(tuple(find_framing_lines(data[:end])))
    framing = context.framings[match.http_minor].get(lines)
    if (
        framing is None
        or framing.wants_websocket
        or not 0 < framing.length <= context.body_limit(match.route)
        or framing.length != len(data) - end
        or end > context.max_fast_path_bytes
    ):
        return None
    reader = connection.reader
    if reader is None:
        reader = connection.reader = MessageReader()
    reader.start_message()
    try:
        reader.feed(data)
    except PARSER_ERRORS:
        connection.reset_reader()
        return None
    if len(reader.pop_body()) != framing.length or reader.open_messages:
        connection.reset_reader()
        return None
    return match, framing

"""An llhttp parser that is fed one message at a time."""

from httptools import HttpParserError, HttpParserUpgrade
from httptools import HttpRequestParser as Parser

from httpserver.protocol.chunked_body import ChunkedBodyScanner
from httpserver.protocol.request_framing import (
    CHUNKED_LENGTH,
    as_http_1_1,
    check_head_size,
    find_head_end,
    may_become_valid,
    parse_request_line,
    partial_request_line,
    require_known_method,
)
from httpserver.refusal import RequestRefusal

# The exceptions that `MessageReader.feed` raises.
PARSER_ERRORS = (HttpParserError, HttpParserUpgrade)


class MessageReader:
    """The parser of one connection.

    It never receives bytes beyond the end of a head or body, so that reading can stop between any
    two requests. `open_messages` holds one item while llhttp is inside a message; llhttp's
    callback for the end of a message is its `pop`, so a second end raises. A list method is used
    because it runs for every request, and a Python function would cost more.
    `announced_bytes` is the length of the body, as far as it is known.
    """

    __slots__ = (
        "_body_parts",
        "_body_remaining",
        "_chunks",
        "_parser",
        "_partial_head",
        "_pending_error",
        "_upgraded",
        "announced_bytes",
        "feed",
        "is_head_request",
        "on_body",
        "on_message_complete",
        "open_messages",
    )

    def __init__(self) -> None:
        self.open_messages: list[None] = []
        self.announced_bytes = 0
        self.is_head_request = False
        self._upgraded = False
        self._partial_head = b""
        # llhttp's error in an incomplete request line.
        self._pending_error: HttpParserError | None = None
        self._body_parts: list[bytes] = []
        self._chunks: ChunkedBodyScanner | None = None
        self._body_remaining = 0
        # Callbacks that httptools looks up by name.
        self.on_body = self._body_parts.append
        self.on_message_complete = self.open_messages.pop
        self._new_parser()

    def _new_parser(self) -> None:
        self._parser = Parser(self)
        self.feed = self._parser.feed_data

    def start_message(self) -> None:
        """Prepare for the first bytes of a message."""
        self.open_messages[:] = [None]
        self._upgraded = False
        self._pending_error = None

    def read_head(
        self, data: bytes, at: int, line_limit: int, header_limit: int
    ) -> tuple[int, bytes | None]:
        """Read on in a head from `data[at:]`.

        Return the offset reached, and the head if it is complete. Raise `RequestRefusal` for a
        malformed head or one above the limits, which are in bytes.
        """
        if not self._partial_head:
            self.start_message()
        end = find_head_end(self._partial_head, data, at)
        piece = data[at : end or len(data)]
        head = self._partial_head + piece
        self.is_head_request = head.removeprefix(b"\r\n")[:5] == b"HEAD "
        self._feed_head(piece, head)
        check_head_size(head, line_limit, header_limit)
        self._partial_head = b"" if end else head
        return at + len(piece), head if end else None

    def ends_with_head(self) -> bool | None:
        """Return whether the message ended with its head; None if llhttp cannot tell."""
        return None if self._upgraded else not self.open_messages

    def _feed_head(self, piece: bytes, head: bytes) -> None:
        """Feed the last `piece` of a complete or partial `head`."""
        error = self._pending_error
        if error is None:
            error = self._feed(piece)
            if error is not None and (changed := as_http_1_1(head)) is not None:
                self._new_parser()
                error = self._feed(changed)
        if error is None:
            return
        # The response must not depend on how the head was split, so wait for the whole line.
        if may_become_valid(head):
            self._pending_error = error
            return
        require_known_method(parse_request_line(partial_request_line(head)[0])[0])
        raise _malformed_request(error)

    def _feed(self, data: bytes) -> HttpParserError | None:
        """Feed llhttp and return its error, if any."""
        try:
            self.feed(data)
        except HttpParserUpgrade:
            # llhttp ends the message with the head of an upgrade, which this server ignores.
            self._upgraded = True
        except HttpParserError as error:
            return error
        return None

    def start_body(self, length: int, trailer_limit: int) -> None:
        """Prepare for the body of `length` bytes, or `CHUNKED_LENGTH`."""
        self._body_remaining = self.announced_bytes = max(length, 0)
        self._chunks = ChunkedBodyScanner(trailer_limit) if length == CHUNKED_LENGTH else None
        if self._upgraded:
            self._new_parser()
            framing = b"Content-Length: %d" % length
            if length == CHUNKED_LENGTH:
                framing = b"Transfer-Encoding: chunked"
            self.feed(b"POST / HTTP/1.1\r\n" + framing + b"\r\n\r\n")
        self.open_messages[:] = [None]

    def feed_body(self, data: bytes, start: int, stop: int) -> int:
        """Read on in the body from `data[start:stop]`; return the offset reached."""
        if self._chunks is None:
            end = min(stop, start + self._body_remaining)
            piece = data[start:end]
            self._body_remaining -= end - start
            ended = self._body_remaining == 0
        else:
            end, piece = self._chunks.scan(data, start, stop)
            ended = self._chunks.done
            self.announced_bytes = self._chunks.announced_bytes
        if piece and (error := self._feed(piece)) is not None:
            raise _malformed_request(error)
        if ended is bool(self.open_messages):
            raise RequestRefusal(400, "The framing of the body is ambiguous.")
        if ended and self._chunks:
            # Trailers can leave state in the parser that affects the next request.
            self._chunks = None
            self._new_parser()
        return end

    def close(self) -> None:
        """Break the reference cycle with the parser."""
        del self._parser, self.feed

    def pop_body(self) -> bytes:
        """Return the body bytes parsed since the last call."""
        parts = self._body_parts
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        return body


def _malformed_request(error: HttpParserError) -> RequestRefusal:
    return RequestRefusal(400, f"The request is malformed: {error}.")

"""Feeds llhttp one message at a time and keeps what comes out."""

from httptools import HttpParserError, HttpParserUpgrade
from httptools import HttpRequestParser as Parser

from httpserver.protocol.chunked_body import ChunkedBodyScanner
from httpserver.protocol.request_framing import (
    CHUNKED_LENGTH,
    as_http_1_1,
    may_become_valid,
    parse_request_line,
    partial_request_line,
    require_known_method,
)
from httpserver.refusal import RequestRefusal

# What feeding llhttp may raise.
PARSER_ERRORS = (HttpParserError, HttpParserUpgrade)


class MessageReader:
    """The parser of one connection.

    It is never fed past the end of a head or of a body, so that reading can stop between any two
    requests. `ending` holds one thing while llhttp is within a message, which llhttp takes out
    at its end: a second end is an error. (No Python runs for it: it is asked for every request.)
    `announced` counts the bytes of the body as far as its length is known. `_failed` is what
    llhttp found wrong with a request line of which only a part has come.
    """

    __slots__ = (
        "_chunks",
        "_failed",
        "_left",
        "_parser",
        "_pieces",
        "_upgraded",
        "announced",
        "ending",
        "feed",
        "on_body",
        "on_message_complete",
    )

    def __init__(self) -> None:
        self.ending: list[None] = []
        self.announced = 0
        self._upgraded = False
        self._failed: HttpParserError | None = None
        self._pieces: list[bytes] = []
        self._chunks: ChunkedBodyScanner | None = None
        self._left = 0
        # llhttp's callbacks.
        self.on_body = self._pieces.append
        self.on_message_complete = self.ending.pop
        self._renew()

    def _renew(self) -> None:
        self._parser = Parser(self)
        self.feed = self._parser.feed_data

    def begin(self) -> None:
        """The next that is fed is the start of a message."""
        self.ending[:] = [None]
        self._upgraded = False
        self._failed = None

    def bodiless(self) -> bool | None:
        """After a head: whether llhttp takes it for the whole request; None if it cannot tell."""
        return None if self._upgraded else not self.ending

    def judge(self, piece: bytes, head: bytes) -> None:
        """Let llhttp read the last `piece` of a `head`, whole or not; raises `Refusal`."""
        error = self._failed
        if error is None:
            error = self._read(piece)
            if error is not None and (changed := as_http_1_1(head)) is not None:
                self._renew()
                error = self._read(changed)
        if error is None:
            return
        # The answer must not depend on where the head was cut: it waits for the whole line.
        if may_become_valid(head):
            self._failed = error
            return
        require_known_method(parse_request_line(partial_request_line(head)[0])[0])
        raise _malformed_request(error)

    def _read(self, data: bytes) -> HttpParserError | None:
        """Feed llhttp; return its error, if any."""
        try:
            self.feed(data)
        except HttpParserUpgrade:
            # llhttp takes an upgrade's head for the whole request. Nobody here upgrades.
            self._upgraded = True
        except HttpParserError as error:
            return error
        return None

    def begin_body(self, length: int, trailer_limit: int) -> None:
        """Prepare for the body that the head just read announced."""
        self._left = self.announced = max(length, 0)
        self._chunks = ChunkedBodyScanner(trailer_limit) if length == CHUNKED_LENGTH else None
        if self._upgraded:
            self._renew()
            told = b"Content-Length: %d" % length
            if length == CHUNKED_LENGTH:
                told = b"Transfer-Encoding: chunked"
            self.feed(b"POST / HTTP/1.1\r\n" + told + b"\r\n\r\n")
        self.ending[:] = [None]

    @property
    def complete(self) -> bool:
        """Whether the message has ended."""
        return not self.ending

    def body(self, data: bytes, start: int, stop: int) -> int:
        """Read on in the body, `data[start:stop]` at most; the place reached. Raises `Refusal`."""
        if self._chunks is None:
            end = min(stop, start + self._left)
            fed = data[start:end]
            self._left -= end - start
            ended = self._left == 0
        else:
            end, fed = self._chunks.extent(data, start, stop)
            ended = self._chunks.done
            self.announced = self._chunks.total
        # A line that has not come whole yet is kept back.
        if fed and (error := self._read(fed)) is not None:
            raise _malformed_request(error)
        if ended is bool(self.ending):
            raise RequestRefusal(400, "The body's framing is ambiguous.")
        if ended and self._chunks:
            # Trailers may have left marks in the parser that are not the next request's.
            self._chunks = None
            self._renew()
        return end

    def close(self) -> None:
        """Part from the parser, which holds on to this as this does to it."""
        del self._parser, self.feed

    def take(self) -> bytes:
        """What has come of the body since last asked."""
        pieces = self._pieces
        taken = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        return taken


def _malformed_request(error: HttpParserError) -> RequestRefusal:
    return RequestRefusal(400, f"The request is not well formed: {error}.")

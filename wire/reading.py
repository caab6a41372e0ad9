"""Feeds llhttp one message at a time and keeps what comes out."""

from httptools import HttpParserError, HttpParserInvalidMethodError, HttpParserUpgrade
from httptools import HttpRequestParser as Parser

from wire.chunks import Chunks
from wire.framing import CHUNKED
from wire.refusal import Refusal


class Reader:
    """The parser of one connection.

    It is never fed past the end of a head or of a body, so that reading can stop between any two
    requests. `complete` is llhttp's word that the message has ended.
    """

    __slots__ = ("_chunks", "_left", "_parser", "_pieces", "_upgraded", "complete", "feed")

    def __init__(self) -> None:
        self.complete = False
        self._upgraded = False
        self._pieces: list[bytes] = []
        self._chunks: Chunks | None = None
        self._left = 0
        self._renew()

    def _renew(self) -> None:
        self._parser = Parser(self)
        self.feed = self._parser.feed_data

    def on_body(self, piece: bytes) -> None:
        """llhttp's callback."""
        self._pieces.append(piece)

    def on_message_complete(self) -> None:
        """llhttp's callback."""
        self.complete = True

    def judge(self, piece: bytes) -> None:
        """Let llhttp read a head, or the next piece of it; raises `Refusal`."""
        try:
            self.feed(piece)
        except HttpParserError as error:
            self.objection(error)

    def objection(self, error: HttpParserError) -> None:
        """Raise a `Refusal` for what llhttp does not take."""
        if isinstance(error, HttpParserUpgrade):
            # llhttp reads no body after the head of an upgrade; nobody here upgrades, so it must.
            self._upgraded = True
        elif isinstance(error, HttpParserInvalidMethodError):
            raise Refusal(501, f"The request's method is not known here: {error}.")
        else:
            raise Refusal(400, f"The request is not well formed: {error}.")

    def begin_body(self, length: int, trailer_limit: int) -> None:
        """Prepare for the body that the head just read announced."""
        self._left = length
        self._chunks = Chunks(trailer_limit) if length == CHUNKED else None
        if self._upgraded:
            self._renew()
            told = b"Content-Length: %d" % length
            if length == CHUNKED:
                told = b"Transfer-Encoding: chunked"
            self.feed(b"POST / HTTP/1.1\r\n" + told + b"\r\n\r\n")
        self._upgraded = self.complete = False

    def body(self, data: bytes, start: int, stop: int) -> int:
        """Read on in the body, `data[start:stop]` at most; the place reached. Raises `Refusal`."""
        if self._chunks is None:
            end = min(stop, start + self._left)
            self._left -= end - start
            ended = self._left == 0
        else:
            end = self._chunks.extent(data, start, stop)
            ended = self._chunks.done
        try:
            self.feed(data[start:end])
        except HttpParserError as error:
            self.objection(error)
        if ended != self.complete:
            raise Refusal(400, "The body's framing is ambiguous.")
        if ended and self._chunks:
            # Trailers may have left marks in the parser that are not the next request's.
            self._chunks = None
            self._renew()
        return end

    def close(self) -> None:
        """Part from the parser, which holds on to this as this does to it."""
        del self._parser, self.feed

    @property
    def announced(self) -> int:
        """So many bytes of a chunked body have been announced."""
        return self._chunks.total if self._chunks else 0

    def take(self) -> bytes:
        """What has come of the body since last asked."""
        pieces = self._pieces
        taken = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        return taken

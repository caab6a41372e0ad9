"""Finds where a chunked body ends, so that llhttp is never fed a byte of the next request with it.

llhttp judges the syntax; this reads sizes, and checks extensions, which llhttp is not shown: it
refuses whitespace in them. Both must agree on the end, or the request is refused: two readings of
one body are how requests are smuggled.
"""

import re

from httpserver.protocol.request_framing import TOKEN_PATTERN
from httpserver.refusal import RequestRefusal

_CHUNK_SIZE_PATTERN = re.compile(rb"([0-9A-Fa-f]{1,15})([\r; \t])")
# A size with extensions, with "bad" whitespace around their delimiters (RFC 9112, 7.1.1).
_EXTENSION_LINE_PATTERN = re.compile(
    rb"[0-9A-Fa-f]+(?:[ \t]*;[ \t]*"
    + TOKEN_PATTERN
    + rb"(?:[ \t]*=[ \t]*(?:"
    + TOKEN_PATTERN
    + rb'|"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"))?)+\r\n'
)
# A chunk's line, with whatever extension it has.
_MAX_CHUNK_LINE_BYTES = 1_024


class ChunkedBodyScanner:
    """One chunked body on its way in.

    `total` counts the bytes that its chunks announced, `done` says that its end was seen.
    """

    __slots__ = ("_left", "_line", "_overhead", "_trailer_limit", "_trailing", "done", "total")

    def __init__(self, trailer_limit: int) -> None:
        self.total = 0
        self.done = False
        self._left = 0
        self._line = b""
        self._overhead = 0
        self._trailing = False
        self._trailer_limit = trailer_limit

    def extent(self, data: bytes, start: int, stop: int) -> tuple[int, bytes]:
        """How far into `data[start:stop]` this body goes, and what of it llhttp is to read.

        That is all but extensions, and a line once it is complete. Sets `done` at the body's end.
        Raises `Refusal` for an invalid size or extension, and for framing that outweighs what it
        frames.
        """
        at = start
        fed: list[bytes] = []
        while at < stop:
            if self._left:
                taken = min(self._left, stop - at)
                self._left -= taken
                fed.append(data[at : at + taken])
                at += taken
                continue
            end = data.find(b"\n", at, stop) + 1
            self._line += data[at : end or stop]
            at = end or stop
            if len(self._line) > (self._trailer_limit if self._trailing else _MAX_CHUNK_LINE_BYTES):
                raise RequestRefusal(400, "A line of the chunked body is too long.")
            if not end:
                break
            line, self._line = self._line, b""
            if self._trailing:
                fed.append(line)
                if line == b"\r\n":
                    self.done = True
                    break
                self._trailer_limit -= len(line)
            else:
                fed.append(self._begin(line))
        return at, b"".join(fed)

    def _begin(self, line: bytes) -> bytes:
        """Begin a chunk; return its line without extensions."""
        match = _CHUNK_SIZE_PATTERN.match(line)
        if match is None:
            raise RequestRefusal(400, "A chunk's size is not a hexadecimal number.")
        if match[2] != b"\r" and not _EXTENSION_LINE_PATTERN.fullmatch(line):
            raise RequestRefusal(400, "A chunk's extension is not valid.")
        size = int(match[1], 16)
        self.total += size
        self._overhead += len(line)
        if self._overhead > 4_096 + 8 * self.total:
            raise RequestRefusal(400, "The chunked body is more framing than body.")
        if size:
            self._left = size + 2
        else:
            self._trailing = True
        return line if match[2] == b"\r" else match[1] + b"\r\n"

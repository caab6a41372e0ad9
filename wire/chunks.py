"""Finds where a chunked body ends, so that llhttp is never fed a byte of the next request with it.

llhttp judges the syntax; this only reads sizes. Both must agree on the end, or the request is
refused: two readings of one body are how requests are smuggled.
"""

import re

from wire.refusal import Refusal

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[;\r]")
# A chunk's line, with whatever extension it has.
_LONGEST_LINE = 1_024


class Chunks:
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

    def extent(self, data: bytes, start: int, stop: int) -> int:
        """How far into `data[start:stop]` this body goes; sets `done` at its end.

        Raises `Refusal` for a size that is none, and for framing that outweighs what it frames.
        """
        at = start
        while at < stop:
            if self._left:
                taken = min(self._left, stop - at)
                self._left -= taken
                at += taken
                continue
            end = data.find(b"\n", at, stop) + 1
            self._line += data[at : end or stop]
            at = end or stop
            if len(self._line) > (self._trailer_limit if self._trailing else _LONGEST_LINE):
                raise Refusal(400, "A line of the chunked body is too long.")
            if not end:
                break
            line, self._line = self._line, b""
            if self._trailing:
                if line == b"\r\n":
                    self.done = True
                    break
                self._trailer_limit -= len(line)
            else:
                self._begin(line)
        return at

    def _begin(self, line: bytes) -> None:
        match = _SIZE.match(line)
        if match is None:
            raise Refusal(400, "A chunk's size is not a hexadecimal number.")
        size = int(match[1], 16)
        self.total += size
        self._overhead += len(line)
        if self._overhead > 4_096 + 8 * self.total:
            raise Refusal(400, "The chunked body is more framing than body.")
        if size:
            self._left = size + 2
        else:
            self._trailing = True

"""The end of a chunked body, so that llhttp never reads a byte of the next request with it.

llhttp validates the syntax. This scanner reads the sizes, and removes chunk extensions, because
llhttp rejects whitespace in them. If the two disagree about the end, the request is rejected:
request smuggling relies on two interpretations of one body.
"""

import re

from httpserver.protocol.request_framing import TOKEN_PATTERN
from httpserver.refusal import RequestRefusal

_CHUNK_SIZE_PATTERN = re.compile(rb"([0-9A-Fa-f]{1,15})([\r; \t])")
# A size with extensions; RFC 9112, section 7.1.1, allows whitespace around their delimiters.
_EXTENSION_LINE_PATTERN = re.compile(
    rb"[0-9A-Fa-f]+(?:[ \t]*;[ \t]*"
    + TOKEN_PATTERN
    + rb"(?:[ \t]*=[ \t]*(?:"
    + TOKEN_PATTERN
    + rb'|"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"))?)+\r\n'
)
_MAX_CHUNK_LINE_BYTES = 1_024


class ChunkedBodyScanner:
    """One chunked body, scanned as it arrives.

    `announced_bytes` is the sum of the chunk sizes seen; `done` is set at the end of the trailers.
    """

    __slots__ = (
        "_chunk_remaining",
        "_framing_bytes",
        "_in_trailers",
        "_line",
        "_trailer_limit",
        "announced_bytes",
        "done",
    )

    def __init__(self, trailer_limit: int) -> None:
        self.announced_bytes = 0
        self.done = False
        self._chunk_remaining = 0
        self._line = b""
        self._framing_bytes = 0
        self._in_trailers = False
        self._trailer_limit = trailer_limit

    def scan(self, data: bytes, start: int, stop: int) -> tuple[int, bytes]:
        """Return how far into `data[start:stop]` this body extends, and the bytes for llhttp.

        Those are complete lines without extensions, and chunk data. Raise `RequestRefusal` for an
        invalid size or extension, and for a body with far more framing than data.
        """
        at = start
        output: list[bytes] = []
        while at < stop:
            if self._chunk_remaining:
                size = min(self._chunk_remaining, stop - at)
                self._chunk_remaining -= size
                output.append(data[at : at + size])
                at += size
                continue
            end = data.find(b"\n", at, stop) + 1
            self._line += data[at : end or stop]
            at = end or stop
            limit = self._trailer_limit if self._in_trailers else _MAX_CHUNK_LINE_BYTES
            if len(self._line) > limit:
                raise RequestRefusal(400, "A line of the chunked body is too long.")
            if not end:
                break
            line, self._line = self._line, b""
            if self._in_trailers:
                output.append(line)
                if line == b"\r\n":
                    self.done = True
                    break
                self._trailer_limit -= len(line)
            else:
                output.append(self._parse_size_line(line))
        return at, b"".join(output)

    def _parse_size_line(self, line: bytes) -> bytes:
        """Start a chunk and return its line without extensions."""
        match = _CHUNK_SIZE_PATTERN.match(line)
        if match is None:
            raise RequestRefusal(400, "A chunk size is not a hexadecimal number.")
        if match[2] != b"\r" and not _EXTENSION_LINE_PATTERN.fullmatch(line):
            raise RequestRefusal(400, "A chunk extension is invalid.")
        size = int(match[1], 16)
        self.announced_bytes += size
        self._framing_bytes += len(line)
        if self._framing_bytes > 4_096 + 8 * self.announced_bytes:
            raise RequestRefusal(400, "The chunked body has more framing than data.")
        if size:
            self._chunk_remaining = size + 2
        else:
            self._in_trailers = True
        return line if match[2] == b"\r" else match[1] + b"\r\n"

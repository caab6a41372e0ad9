"""Header field lookup in the bytes of a head that llhttp has accepted.

A banner page reads one or two of a browser's dozen fields, so the fields are searched on demand
instead of being parsed. This is safe only because llhttp's strict mode rejects everything that
could disguise a line: bare CR or LF, folding, whitespace before the colon, control characters.
"""

import re
from functools import lru_cache


@lru_cache(256)
def _field_pattern(name: str) -> re.Pattern[bytes]:
    return re.compile(rb"\r\n" + re.escape(name.encode("latin-1")) + rb":([^\r]*)", re.IGNORECASE)


def values(head: bytes, name: str) -> list[bytes]:
    """Return the values of all fields called `name`, in order, without surrounding whitespace."""
    return [value.strip(b" \t") for value in _field_pattern(name).findall(head)]


def pairs(head: bytes) -> list[tuple[bytes, bytes]]:
    """Return (name, value) of all fields in order; names keep their case."""
    split = (line.partition(b":") for line in head.split(b"\r\n")[1:] if line)
    return [(name, value.strip(b" \t")) for name, _, value in split]

"""Looks up header fields in the bytes of a head that llhttp has found right.

A page view asks for one or two of a browser's dozen fields, so none is taken apart unless it is
asked for. This is sound only because llhttp, in its strict mode, has refused whatever could make
a line look like another one: bare CR or LF, folding, blanks before the colon, control bytes.
"""

import re
from functools import lru_cache


@lru_cache(256)
def _field_pattern(name: str) -> re.Pattern[bytes]:
    return re.compile(rb"\r\n" + re.escape(name.encode("latin-1")) + rb":([^\r]*)", re.IGNORECASE)


def values(head: bytes, name: str) -> list[bytes]:
    """Each value of the field `name`, in order, without the blanks around it."""
    return [value.strip(b" \t") for value in _field_pattern(name).findall(head)]


def pairs(head: bytes) -> list[tuple[bytes, bytes]]:
    """All fields, in order, names as they came."""
    split = (line.partition(b":") for line in head.split(b"\r\n")[1:] if line)
    return [(name, value.strip(b" \t")) for name, _, value in split]

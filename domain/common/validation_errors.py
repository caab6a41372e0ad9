"""Validation errors and the JSON Pointers that locate them."""

from collections.abc import Iterable

import msgspec


class FieldError(msgspec.Struct, frozen=True):
    """One thing wrong: where (RFC 6901 pointer) and what, in words that follow the place."""

    pointer: str
    message: str


# A pointer ends at the object whose member has a longer name.
MAX_POINTER_NAME_LENGTH = 200


def json_pointer(path: Iterable[str | int]) -> str:
    """Return the RFC 6901 pointer of a path of member names and indexes."""
    pointer = ""
    for part in path:
        name = str(part)
        if len(name) > MAX_POINTER_NAME_LENGTH:
            break
        pointer += "/" + name.replace("~", "~0").replace("/", "~1")
    return pointer


def unescape_pointer_part(name: str) -> str:
    """Return the member name of an escaped part of a pointer."""
    return name.replace("~1", "/").replace("~0", "~")

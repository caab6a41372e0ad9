"""What is wrong with something that was sent, and where."""

from collections.abc import Iterable

import msgspec


class FieldError(msgspec.Struct, frozen=True):
    """One thing wrong: where (RFC 6901 pointer) and what, in words that follow the place."""

    pointer: str
    message: str


# A member's name that is longer stands in no pointer: it ends at the object that holds it.
MAX_POINTER_NAME_LENGTH = 200


def json_pointer(path: Iterable[str | int]) -> str:
    """The RFC 6901 pointer of a path of members and indexes."""
    told = ""
    for part in path:
        name = str(part)
        if len(name) > MAX_POINTER_NAME_LENGTH:
            break
        told += "/" + name.replace("~", "~0").replace("/", "~1")
    return told


def unescape_pointer_part(name: str) -> str:
    """A member's name as it stands in a pointer."""
    return name.replace("~1", "/").replace("~0", "~")

"""X-Request-Id: the identifier that correlates a request across client, proxy and log."""

import re
from collections.abc import Sequence

# Covers the identifiers in use; excludes characters that need quoting in a log or page.
_VALID_REQUEST_ID = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z/:=@]{1,128}")
REQUEST_ID_HEADER = "X-Request-Id"


def parse_request_id(values: Sequence[bytes]) -> str | None:
    """Return the identifier in these values of the field; None unless it is one, and valid."""
    if len(values) != 1 or not _VALID_REQUEST_ID.fullmatch(values[0]):
        return None
    return values[0].decode()


def split_request_id(lines: tuple[bytes, ...]) -> tuple[tuple[bytes, ...], bytes]:
    """Split the special lines of a head from X-Request-Id; return also that field, or b""."""
    others = tuple(line for line in lines if line[:1] not in (b"x", b"X"))
    if len(others) == len(lines):
        return lines, b""
    values = [line.partition(b":")[2].strip(b" \t") for line in lines if line not in others]
    found = parse_request_id(values)
    return others, b"" if found is None else f"{REQUEST_ID_HEADER}: {found}\r\n".encode()

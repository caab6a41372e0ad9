"""X-Request-Id, which correlates a request across client, proxy and log."""

import re
from collections.abc import Sequence

# Covers UUIDs and trace ids; excludes characters that need quoting in a log or page.
_VALID_REQUEST_ID = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z/:=@]{1,128}")
REQUEST_ID_HEADER = "X-Request-Id"


def parse_request_id(values: Sequence[bytes]) -> str | None:
    """Return the request id from the values of the field; None unless exactly one valid value."""
    if len(values) != 1 or not _VALID_REQUEST_ID.fullmatch(values[0]):
        return None
    return values[0].decode()


def split_request_id(lines: tuple[bytes, ...]) -> tuple[tuple[bytes, ...], bytes]:
    """Separate X-Request-Id from the framing lines of a head.

    Return the other lines, and the field's line for the response; b"" without a valid id.
    """
    others = tuple(line for line in lines if line[:1] not in (b"x", b"X"))
    if len(others) == len(lines):
        return lines, b""
    values = [line.partition(b":")[2].strip(b" \t") for line in lines if line not in others]
    request_id = parse_request_id(values)
    if request_id is None:
        return others, b""
    return others, f"{REQUEST_ID_HEADER}: {request_id}\r\n".encode()

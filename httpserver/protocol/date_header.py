"""The Date line, made once a second."""

import time
from email.utils import formatdate


def format_date_header() -> bytes:
    """The Date header and the empty line after it (RFC 9110, 5.6.7): the end of any head."""
    return b"Date: %s\r\n\r\n" % formatdate(time.time(), usegmt=True).encode()

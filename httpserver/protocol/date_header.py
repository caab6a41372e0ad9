"""The Date header, which the server formats once a second."""

import time
from email.utils import formatdate


def format_date_header() -> bytes:
    """Return the Date field (RFC 9110, section 5.6.7) and the empty line that ends a head."""
    return b"Date: %s\r\n\r\n" % formatdate(time.time(), usegmt=True).encode()

"""Upstream: whether the server of the audience responds."""

import http.client
from collections.abc import Iterator
from urllib.parse import urlsplit

from app.settings import Settings
from commands.doctor.finding import DoctorFinding, passed, problem

UPSTREAM_TIMEOUT_SECONDS = 3.0


def check_upstream(settings: Settings) -> Iterator[DoctorFinding]:
    """Check that the upstream responds, if one is set."""
    if not (url := settings.upstream_url()):
        return
    parts = urlsplit(url)
    assert parts.hostname
    connection_class = (
        http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    )
    connection = connection_class(parts.hostname, parts.port, timeout=UPSTREAM_TIMEOUT_SECONDS)
    try:
        connection.request("HEAD", parts.path or "/")
        connection.getresponse()
    except (OSError, http.client.HTTPException) as error:
        message = f"{url} does not respond: {error or type(error).__name__}"
        yield problem("upstream", message, "set another (--upstream), or fix the network")
    else:
        yield passed("upstream", f"{url} responds")
    finally:
        connection.close()

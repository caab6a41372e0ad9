"""The other server that tells the audience: whether it is there."""

import http.client
from collections.abc import Iterator
from urllib.parse import urlsplit

from app.settings import Settings
from commands.doctor.finding import DoctorFinding, fault, ok

UPSTREAM_TIMEOUT_SECONDS = 3.0


def check_upstream(settings: Settings) -> Iterator[DoctorFinding]:
    """Whether anything answers at the upstream's address, if one is set."""
    if not (address := settings.upstream_url()):
        return
    found = urlsplit(address)
    assert found.hostname
    kind = http.client.HTTPSConnection if found.scheme == "https" else http.client.HTTPConnection
    connection = kind(found.hostname, found.port, timeout=UPSTREAM_TIMEOUT_SECONDS)
    try:
        connection.request("HEAD", found.path or "/")
        connection.getresponse()
    except (OSError, http.client.HTTPException) as error:
        words = f"{address} does not answer: {error or type(error).__name__}"
        yield fault("upstream", words, "name another (--upstream), or have this machine reach it")
    else:
        yield ok("upstream", f"{address} answers")
    finally:
        connection.close()

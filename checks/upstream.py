"""The other server that tells the audience: whether it is there."""

import http.client
from collections.abc import Iterator
from urllib.parse import urlsplit

from checks.finding import Finding, fault, well
from settings import Settings

DEADLINE = 3.0


def upstream(settings: Settings) -> Iterator[Finding]:
    """Whether anything answers at the upstream's address, if one is set."""
    if not (address := settings.source()):
        return
    found = urlsplit(address)
    assert found.hostname
    kind = http.client.HTTPSConnection if found.scheme == "https" else http.client.HTTPConnection
    connection = kind(found.hostname, found.port, timeout=DEADLINE)
    try:
        connection.request("HEAD", found.path or "/")
        connection.getresponse()
    except (OSError, http.client.HTTPException) as error:
        words = f"{address} does not answer: {error or type(error).__name__}"
        yield fault("upstream", words, "name another (--upstream), or have this machine reach it")
    else:
        yield well("upstream", f"{address} answers")
    finally:
        connection.close()

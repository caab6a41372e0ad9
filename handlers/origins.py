"""Which pages may read what an app's public token opens (CORS): those of the app's own hosts."""

import re
from collections.abc import Collection

from handlers.answers import SECURITY
from wire import Response

# What is answered depends on who asks, also where that is nobody.
VARY = ("Vary", "Origin")
ALLOW = "Access-Control-Allow-Origin"
ORIGIN = re.compile(r"https?://(([a-z0-9_.-]+)(?::[0-9]{1,5})?)", re.ASCII)
# A browser does not ask again for so many seconds.
REMEMBERED = "600"


def allowed(origin: str | None, hosts: Collection[str]) -> bool:
    """Whether that is a page of one of these hosts; a host without a port has any."""
    said = ORIGIN.fullmatch(origin) if origin else None
    return said is not None and (said[1] in hosts or said[2] in hosts)


def shared(answer: Response, origin: str | None, hosts: Collection[str]) -> Response:
    """The answer, for a page of one of these hosts to read."""
    if origin is None or not allowed(origin, hosts):
        return answer
    return answer.extended((ALLOW, origin))


def preflight(methods: str, origin: str | None, hosts: Collection[str]) -> Response:
    """The answer to OPTIONS at an address with these methods."""
    headers = [("Allow", methods), VARY, *SECURITY]
    if allowed(origin, hosts):
        headers += [
            ("Access-Control-Allow-Methods", methods),
            ("Access-Control-Allow-Headers", "Content-Type"),
            ("Access-Control-Max-Age", REMEMBERED),
        ]
    return shared(Response(204, headers), origin, hosts)

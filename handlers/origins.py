"""Which pages may read what an app's public token opens (CORS): those of the app's own hosts."""

from collections.abc import Collection

from handlers.answers import SECURITY
from rules.hosts import listed, of_origin
from wire import Response

# What is answered depends on who asks, also where that is nobody.
VARY = ("Vary", "Origin")
ALLOW = "Access-Control-Allow-Origin"
# A browser's sendBeacon includes cookies, and sends a JSON body only where that is allowed.
CREDENTIALS = ("Access-Control-Allow-Credentials", "true")
# A browser does not ask again for so many seconds.
REMEMBERED = "600"


def allowed(origin: str | None, hosts: Collection[str]) -> bool:
    """Return whether an origin belongs to one of these hosts."""
    host = of_origin(origin) if origin else None
    return host is not None and listed(host, hosts) is not None


def shared(answer: Response, origin: str | None, hosts: Collection[str]) -> Response:
    """The answer, for a page of one of these hosts to read."""
    if origin is None or not allowed(origin, hosts):
        return answer
    return answer.extended((ALLOW, origin), CREDENTIALS)


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

"""Which pages may read what an app's public token opens (CORS): those of the app's own hosts."""

from collections.abc import Collection

from domain.common.hosts import host_of_origin, matching_host
from handlers.common.responses import SECURITY_HEADERS
from httpserver import Response

# What is answered depends on who asks, also where that is nobody.
VARY_ORIGIN = ("Vary", "Origin")
ALLOW_ORIGIN = "Access-Control-Allow-Origin"
# A browser's sendBeacon includes cookies, and sends a JSON body only where that is allowed.
ALLOW_CREDENTIALS = ("Access-Control-Allow-Credentials", "true")
# A browser does not ask again for so many seconds.
PREFLIGHT_MAX_AGE_SECONDS = "600"


def is_allowed_origin(origin: str | None, hosts: Collection[str]) -> bool:
    """Return whether an origin belongs to one of these hosts."""
    host = host_of_origin(origin) if origin else None
    return host is not None and matching_host(host, hosts) is not None


def with_cors_headers(answer: Response, origin: str | None, hosts: Collection[str]) -> Response:
    """The answer, for a page of one of these hosts to read."""
    if origin is None or not is_allowed_origin(origin, hosts):
        return answer
    return answer.extended((ALLOW_ORIGIN, origin), ALLOW_CREDENTIALS)


def preflight_response(methods: str, origin: str | None, hosts: Collection[str]) -> Response:
    """The answer to OPTIONS at an address with these methods."""
    headers = [("Allow", methods), VARY_ORIGIN, *SECURITY_HEADERS]
    if is_allowed_origin(origin, hosts):
        headers += [
            ("Access-Control-Allow-Methods", methods),
            ("Access-Control-Allow-Headers", "Content-Type"),
            ("Access-Control-Max-Age", PREFLIGHT_MAX_AGE_SECONDS),
        ]
    return with_cors_headers(Response(204, headers), origin, hosts)

"""CORS: pages of an app's own hosts may read responses for its public token."""

from collections.abc import Collection

from domain.common.hosts import host_of_origin, matching_host
from handlers.common.responses import SECURITY_HEADERS
from httpserver import Response

# Responses depend on the origin, even for requests without one.
VARY_ORIGIN = ("Vary", "Origin")
ALLOW_ORIGIN = "Access-Control-Allow-Origin"
# `sendBeacon` sends cookies, so browsers require this header for a JSON body.
ALLOW_CREDENTIALS = ("Access-Control-Allow-Credentials", "true")
PREFLIGHT_MAX_AGE_SECONDS = "600"


def is_allowed_origin(origin: str | None, hosts: Collection[str]) -> bool:
    """Return whether an origin belongs to one of these hosts."""
    host = host_of_origin(origin) if origin else None
    return host is not None and matching_host(host, hosts) is not None


def with_cors_headers(response: Response, origin: str | None, hosts: Collection[str]) -> Response:
    """Return the response with CORS headers if the origin is one of these hosts."""
    if origin is None or not is_allowed_origin(origin, hosts):
        return response
    return response.with_headers((ALLOW_ORIGIN, origin), ALLOW_CREDENTIALS)


def preflight_response(methods: str, origin: str | None, hosts: Collection[str]) -> Response:
    """Return the response to OPTIONS at a path with these methods."""
    headers = [("Allow", methods), VARY_ORIGIN, *SECURITY_HEADERS]
    if is_allowed_origin(origin, hosts):
        headers += [
            ("Access-Control-Allow-Methods", methods),
            ("Access-Control-Allow-Headers", "Content-Type"),
            ("Access-Control-Max-Age", PREFLIGHT_MAX_AGE_SECONDS),
        ]
    return with_cors_headers(Response(204, headers), origin, hosts)

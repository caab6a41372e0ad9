"""The error answers of a server that was given none of its own."""

import json
from http import HTTPStatus

from httpserver.messages import Response


def problem_response(status: int, detail: str) -> Response:
    """An error as problem details (RFC 9457)."""
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    headers = [("Content-Type", "application/problem+json"), ("Cache-Control", "no-store")]
    return Response(status, headers, json.dumps(body).encode())


# Fields without which a client cannot tell how to send a refused request again.
_RETRY_HEADERS = {415: ("Accept-Encoding", "identity"), 503: ("Retry-After", "1")}


def with_retry_header(response: Response) -> Response:
    """Return an error of the wire's own with the field that says how to send again, if any."""
    hint = _RETRY_HEADERS.get(response.status)
    return response if hint is None else response.extended(hint)

"""The error responses of a server without custom ones."""

import json
from http import HTTPStatus

from httpserver.messages import Response


def problem_response(status: int, detail: str) -> Response:
    """Return problem details (RFC 9457)."""
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    headers = [("Content-Type", "application/problem+json"), ("Cache-Control", "no-store")]
    return Response(status, headers, json.dumps(body).encode())


# RFC 9110: Accept-Encoding in a 415 (section 12.5.3), Retry-After in a 503 (section 10.2.3).
_RETRY_HEADERS = {415: ("Accept-Encoding", "identity"), 503: ("Retry-After", "1")}


def with_retry_header(response: Response) -> Response:
    """Return `response` with the header that tells clients how to retry, if its status has one."""
    header = _RETRY_HEADERS.get(response.status)
    return response if header is None else response.with_headers(header)

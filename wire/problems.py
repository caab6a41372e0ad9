"""The error answers of a server that was given none of its own."""

import json
from http import HTTPStatus

from wire.messages import Response


def problem(status: int, detail: str) -> Response:
    """An error as problem details (RFC 9457)."""
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    headers = [("Content-Type", "application/problem+json"), ("Cache-Control", "no-store")]
    return Response(status, headers, json.dumps(body).encode())

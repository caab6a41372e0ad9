"""Every response has a matching Content-Type, and text has a charset."""

import json
import re
from html.parser import HTMLParser

import pytest

from tests.support.web.admin_session import AdminBrowser
from tests.support.web.route_table import ROUTE_CASES

# Server-sent events are always UTF-8 (HTML Living Standard, 9.2.6).
TYPES_WITHOUT_CHARSET = {"text/event-stream"}
JSON_TYPES = ("application/json", "application/problem+json")
GET_ROUTES = [row for row in ROUTE_CASES if row.method == "GET" and "stream" not in row.path
             and row.path != "/admin/live"]  # fmt: skip


@pytest.mark.parametrize("row", GET_ROUTES, ids=[row.path for row in GET_ROUTES])
def test_every_response_has_its_content_type(target, row):
    responses = (
        AdminBrowser(target.server).get(row.path),
        target.owner.get(row.path),
        target.call(row.path, token=target.admin_token),
        target.server.request(row.path + "%00<"),
    )
    for response in responses:
        if not response.body:
            continue
        media_type, _, parameters = response.headers["Content-Type"].partition(";")
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        if media_type.startswith("text/") and media_type not in TYPES_WITHOUT_CHARSET:
            assert re.search(r"charset=utf-8", parameters), media_type
            assert response.body.decode("utf-8")
        if media_type in JSON_TYPES:
            json.loads(response.body)
        elif media_type == "text/html":
            assert response.text.startswith("<!DOCTYPE html>")
            HTMLParser().feed(response.text)
        else:
            others = (
                (b"<!DOCTYPE",) if media_type == "application/x-ndjson" else (b"<!DOCTYPE", b"{")
            )
            assert not response.body.startswith(others), media_type


@pytest.mark.parametrize("name", ["marquee.css", "admin.css", "admin.js", "live.js", "icon.svg"])
def test_static_files_have_their_content_type(target, name):
    content_type = target.server.request(f"/static/{name}").headers["Content-Type"]
    assert content_type in (
        "image/svg+xml",
        "text/css; charset=utf-8",
        "text/javascript; charset=utf-8",
    )

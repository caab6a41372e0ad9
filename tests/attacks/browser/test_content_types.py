"""Content types: every response says what it is, and text says its encoding."""

import json
import re
from html.parser import HTMLParser

import pytest

from tests.support.web.admin_session import AdminBrowser
from tests.support.web.route_table import ROUTE_CASES

# Server-sent events are UTF-8, whatever is said (HTML Living Standard, 9.2.6).
WITHOUT = {"text/event-stream"}
JSON = ("application/json", "application/problem+json")
LOOKED_AT = [row for row in ROUTE_CASES if row.method == "GET" and "stream" not in row.path
             and row.path != "/admin/live"]  # fmt: skip


@pytest.mark.parametrize("row", LOOKED_AT, ids=[row.path for row in LOOKED_AT])
def test_every_answer_says_what_it_is(target, row):
    responses = (
        AdminBrowser(target.server).get(row.path),
        target.owner.get(row.path),
        target.call(row.path, token=target.admin_token),
        target.server.request(row.path + "%00<"),
    )
    for response in responses:
        if not response.body:
            continue
        kind, _, parameters = response.headers["Content-Type"].partition(";")
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        if kind.startswith("text/") and kind not in WITHOUT:
            assert re.search(r"charset=utf-8", parameters), kind
            assert response.body.decode("utf-8")
        if kind in JSON:
            json.loads(response.body)
        elif kind == "text/html":
            assert response.text.startswith("<!DOCTYPE html>")
            HTMLParser().feed(response.text)
        else:
            begins = (b"<!DOCTYPE",) if kind == "application/x-ndjson" else (b"<!DOCTYPE", b"{")
            assert not response.body.startswith(begins), kind


@pytest.mark.parametrize("name", ["marquee.css", "admin.css", "admin.js", "live.js", "icon.svg"])
def test_static_files_too(target, name):
    kind = target.server.request(f"/static/{name}").headers["Content-Type"]
    assert kind in ("image/svg+xml", "text/css; charset=utf-8", "text/javascript; charset=utf-8")

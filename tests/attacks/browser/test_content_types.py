"""Content types: every answer says what it is, and text says its encoding."""

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
    answers = (
        AdminBrowser(target.server).get(row.path),
        target.owner.get(row.path),
        target.call(row.path, token=target.admin_token),
        target.server.request(row.path + "%00<"),
    )
    for answer in answers:
        if not answer.body:
            continue
        kind, _, parameters = answer.headers["Content-Type"].partition(";")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        if kind.startswith("text/") and kind not in WITHOUT:
            assert re.search(r"charset=utf-8", parameters), kind
            assert answer.body.decode("utf-8")
        if kind in JSON:
            json.loads(answer.body)
        elif kind == "text/html":
            assert answer.text.startswith("<!DOCTYPE html>")
            HTMLParser().feed(answer.text)
        else:
            begins = (b"<!DOCTYPE",) if kind == "application/x-ndjson" else (b"<!DOCTYPE", b"{")
            assert not answer.body.startswith(begins), kind


@pytest.mark.parametrize("name", ["marquee.css", "admin.css", "admin.js", "live.js", "icon.svg"])
def test_static_files_too(target, name):
    kind = target.server.request(f"/static/{name}").headers["Content-Type"]
    assert kind in ("image/svg+xml", "text/css; charset=utf-8", "text/javascript; charset=utf-8")

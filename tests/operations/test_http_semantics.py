"""HTTP semantics that clients and proxies rely on, at the routes of the product."""

import gzip
import json
import socket
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.web.admin_session import AdminBrowser


def raw(
    each_server_kind, *lines: str, body: bytes = b""
) -> tuple[int, dict[str, list[str]], bytes]:
    """Send a raw head and body; return status, fields and body of the response."""
    head = "\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1")
    with socket.create_connection(("127.0.0.1", each_server_kind.port), timeout=120) as peer:
        peer.sendall(head + body)
        data = b""
        while part := peer.recv(65_536):
            data += part
    head, _, body = data.partition(b"\r\n\r\n")
    first, *rest = head.decode("latin-1").split("\r\n")
    fields: dict[str, list[str]] = {}
    for line in rest:
        name, _, value = line.partition(":")
        fields.setdefault(name.lower(), []).append(value.strip())
    return int(first.split(" ")[1]), fields, body


def get(each_server_kind, path: str, *lines: str, host: str = "localhost"):
    return raw(each_server_kind, f"GET {path} HTTP/1.1", f"Host: {host}", *lines)


BODIES = [
    ("POST", "/events"),
    ("POST", "/api/v1/events/"),
    ("POST", "/api/v1/conversions"),
    ("PUT", "/events/1"),
    ("PUT", "/api/v1/schemas/a/b"),
    ("POST", "/api/v1/schemas/a/b/dry-run"),
    ("POST", "/api/v1/event/token_1"),
    ("POST", "/api/v1/beacon/token_1"),
    ("POST", "/admin/login"),
    ("POST", "/admin/campaigns/upload"),
    ("POST", "/nothing/here"),
]


@pytest.mark.parametrize(("method", "path"), BODIES)
def test_a_compressed_body_is_415_with_accept_encoding(each_server_kind, method, path):
    body = gzip.compress(b"{}")
    lines = ("Host: localhost", "Content-Encoding: gzip", f"Content-Length: {len(body)}")
    status, fields, content = raw(each_server_kind, f"{method} {path} HTTP/1.1", *lines, body=body)
    assert (status, fields["accept-encoding"]) == (415, ["identity"])
    assert "without Content-Encoding" in json.loads(content)["detail"]
    lines = ("Host: localhost", "Content-Encoding: identity", "Content-Length: 2")
    assert raw(each_server_kind, f"{method} {path} HTTP/1.1", *lines, body=b"{}")[0] != 415


@pytest.mark.parametrize(
    "path",
    [
        "/campaigns/%31/",
        "/%63ampaigns/1/b%61nners/101/click",
        "/banners/1%301",
        "/api/v1/stories/token%5F1",
        "/api/v1/stories/cached/token%5f1",
        "/api/v1/stories/%74oken_1/counts?date=2026-01-01",
        "/api/v1/dau/token%5F1?date=2026-01-01",
        "/api/v1%2E0/increasingconcurrents?apikey=token_played&host=played.example",
        "/static/marquee%2Ecss",
        "/static/beacon%2Ejs",
        "/health%7A",
        "/api/v1/campaigns/%31/candidates",
        "/api/v1/open%61pi.json",
    ],
)
def test_percent_encoded_unreserved_characters_match_the_same_route(each_server_kind, path):
    plain = path
    for encoded, meant in (
        ("%31", "1"), ("%63", "c"), ("%61", "a"), ("%30", "0"), ("%5F", "_"), ("%5f", "_"),
        ("%74", "t"), ("%2E", "."), ("%7A", "z"),
    ):  # fmt: skip
        plain = plain.replace(encoded, meant)
    assert plain != path
    status = get(each_server_kind, plain)[0]
    assert get(each_server_kind, path)[0] == status
    assert status in (200, 302)


def test_an_encoded_slash_does_not_separate_segments(each_server_kind):
    for path in ("/campaigns%2F1/", "/api/v1/stories%2Ftoken_1", "/static%2Fmarquee.css"):
        assert get(each_server_kind, path)[0] == 404


def test_an_absolute_request_target_matches_its_path(each_server_kind):
    for path in ("/healthz", "/campaigns/1/", "/api/v1/docs/", "/static/marquee.css"):
        assert get(each_server_kind, f"http://marquee.example{path}")[0] == 200


def test_a_session_cookie_may_be_in_the_second_cookie_field(each_server_kind):
    owner = json.loads("".join(each_server_kind.stdout_lines))["owner"]
    visitor = AdminBrowser(each_server_kind).log_in(owner["name"], owner["password"])
    for lines in (
        (f"Cookie: {visitor.cookie}",),
        ("Cookie: a=1", f"Cookie: {visitor.cookie}"),
        (f"Cookie: {visitor.cookie}", "Cookie: a=1; b=2"),
        ("cookie: a=1", "Accept: */*", f"cookie: b=2; {visitor.cookie}; c=3"),
    ):
        assert get(each_server_kind, "/admin/account", *lines)[0] == 200, lines


@pytest.mark.parametrize("method", ["TRACE", "PROPFIND", "QUERY"])
def test_a_registered_method_of_an_existing_path_is_405(each_server_kind, method):
    for path in ("/campaigns/1/", "/events", "/healthz", "/static/marquee.css"):
        status, fields, _ = raw(each_server_kind, f"{method} {path} HTTP/1.1", "Host: localhost")
        assert status == 405
        assert "OPTIONS" in fields["allow"][0]
    assert raw(each_server_kind, f"{method} /nothing HTTP/1.1", "Host: localhost")[0] == 404


CSS = "/static/marquee.css"
RFC_850, ASCTIME = "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"
IMF = "%a, %d %b %Y %H:%M:%S GMT"


def modified(fields) -> datetime:
    return datetime.strptime(fields["last-modified"][0], IMF).replace(tzinfo=UTC)


def test_if_range_serves_a_range_of_the_same_version_only(each_server_kind):
    _, fields, whole = get(each_server_kind, CSS)
    tag, when = fields["etag"][0], modified(fields)
    right = [tag, *(when.strftime(each) for each in (IMF, RFC_850, ASCTIME))]
    wrong = [
        '"other"', f"W/{tag}", tag.strip('"'), "", "yesterday", f'{tag}, "other"',
        *((when + timedelta(seconds=by)).strftime(IMF) for by in (-1, 1)),
    ]  # fmt: skip
    for each in right:
        status, fields, body = get(each_server_kind, CSS, "Range: bytes=0-9", f"If-Range: {each}")
        assert (status, body) == (206, whole[:10]), each
        assert fields["content-range"] == [f"bytes 0-9/{len(whole)}"]
    for each in wrong:
        status, fields, body = get(each_server_kind, CSS, "Range: bytes=0-9", f"If-Range: {each}")
        assert (status, body) == (200, whole), each
        assert "content-range" not in fields
    assert get(each_server_kind, CSS, "Range: bytes=0-9")[0] == 206
    head = raw(each_server_kind, f"HEAD {CSS} HTTP/1.1", "Host: localhost", "Range: bytes=0-9")
    assert head[0] == 200
    assert head[1]["content-length"] == [str(len(whole))]


def test_if_modified_since_accepts_three_date_formats(each_server_kind):
    _, fields, _ = get(each_server_kind, CSS)
    when = modified(fields)
    for form in (IMF, RFC_850, ASCTIME):
        for by, expected in ((0, 304), (3600, 304), (-1, 200)):
            date = (when + timedelta(seconds=by)).strftime(form)
            assert get(each_server_kind, CSS, f"If-Modified-Since: {date}")[0] == expected, date
    for date in ("0", "-1", "tomorrow", "Mon, 31 Feb 2100 00:00:00 GMT", "9999-12-31", ""):
        assert get(each_server_kind, CSS, f"If-Modified-Since: {date}")[0] == 200
    late = (when + timedelta(days=1)).strftime(IMF)
    # A tag that does not match overrides the date.
    for tag in ('"other"', ""):
        lines = (f"If-Modified-Since: {late}", f"If-None-Match: {tag}")
        assert get(each_server_kind, CSS, *lines)[0] == 200


@pytest.mark.parametrize("path", [CSS, "/static/beacon.js", "/banners/101", "/api/v1/openapi.json",
                                  "/api/v1/stories/cached/token_1"])  # fmt: skip
def test_if_none_match_accepts_a_list_of_tags(each_server_kind, path):
    tag = get(each_server_kind, path)[1]["etag"][0].removeprefix("W/")
    for value in (tag, f"W/{tag}", f'"a", {tag}', f'W/"a",{tag} , "b"', "*"):
        assert get(each_server_kind, path, f"If-None-Match: {value}")[0] == 304, value
    assert get(each_server_kind, path, 'If-None-Match: "a"', f"If-None-Match: {tag}")[0] == 304
    for value in ('"a"', tag.strip('"'), ""):
        assert get(each_server_kind, path, f"If-None-Match: {value}")[0] == 200, value


@pytest.mark.parametrize(
    "path",
    ["/", "/readyz", "/campaigns/1/", "/static/marquee.css", "/events", "/nothing", "/admin/",
     "/api/v1/stories/token_1", "/api/v1/stories/cached/token_1", "/campaigns/77777/",
     "/api/v1/audience/x/rising", "/banners/101"],
)  # fmt: skip
def test_a_valid_request_id_is_returned(each_server_kind, path):
    for name in ("X-Request-Id", "x-request-id"):
        assert get(each_server_kind, path, f"{name}: abc-1/2")[1]["x-request-id"] == ["abc-1/2"]
    made = [
        get(each_server_kind, path, *lines)[1].get("x-request-id", [""])
        for lines in ((), ("X-Request-Id: a b",), ("X-Request-Id: a", "X-Request-Id: a"))
    ]
    # Tornado handlers generate a missing id; fast routes do not, for speed.
    assert len({each[0] for each in made}) in (1, 3)
    assert all(len(each) == 1 and len(each[0]) in (0, 32) for each in made)


def test_the_access_log_has_the_request_id(start_server):
    server = start_server("--sample", "--no-traffic", "--access-log")
    for path in ("/campaigns/1/", "/admin/", "/api/v1/stories/token_1"):
        assert get(server, path, "X-Request-Id: seen-by-proxy")[0] in (200, 303)
    assert get(server, "/healthz")[0] == 200
    made = get(server, "/readyz")[1]["x-request-id"][0]
    assert server.stop() == 0
    lines = [line.split() for line in server.log.splitlines() if "marquee.access" in line]
    assert [line[-1] for line in lines] == ["seen-by-proxy"] * 3 + ["-", made]


def kind(fields) -> str:
    return fields["content-type"][0].partition(";")[0]


def test_errors_are_html_if_the_client_prefers_it(each_server_kind):
    for accept, expected in (
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text/html"),
        ("text/*", "text/html"),
        ("text/html;q=0.1, application/json", "application/problem+json"),
        ("text/html;q=0, */*", "application/problem+json"),
        ("*/*", "application/problem+json"),
        ("text/html;q=x", "application/problem+json"),
        ("", "application/problem+json"),
    ):
        for path in ("/nothing", "/events", "/api/v1/campaigns/999/candidates"):
            status, fields, _ = get(each_server_kind, path, f"Accept: {accept}")
            assert (status, kind(fields)) == (401 if path == "/events" else 404, expected)
        assert (
            kind(get(each_server_kind, "/campaigns/77777/", f"Accept: {accept}")[1]) == "text/html"
        )
    assert kind(get(each_server_kind, "/nothing")[1]) == "application/problem+json"


def test_a_refused_content_coding_is_not_sent(each_server_kind):
    docs = "/api/v1/docs/"
    for value, packed in (("gzip", True), ("GZIP;q=0.5", True), ("gzip;q=0", False), ("br", False)):
        fields = get(each_server_kind, docs, f"Accept-Encoding: {value}")[1]
        assert ("content-encoding" in fields) == packed
        assert fields["vary"] == ["Accept-Encoding"]
    lines = ("Accept-Encoding: br", "Accept-Encoding: gzip;q=0.5")
    assert get(each_server_kind, docs, *lines)[1]["content-encoding"] == ["gzip"]


@pytest.mark.parametrize(
    ("content_type", "taken"),
    [
        ("application/json", True),
        ("Application/JSON;charset=UTF-8", True),
        ('application/json ; charset="utf-8"', True),
        ("application/json; charset = utf-8", True),
        ("application/json; version=1; charset=us-ascii", True),
        ("application/json;", True),
        ("application/vnd.api+json", True),
        ("application/ld+json; charset=utf-8", True),
        ("application/json; charset=latin1", False),
        ("application/+json", False),
        ("text/x+json", False),
        ("application/jsonx", False),
        ("application/xml", False),
        ("multipart/form-data; boundary=x", False),
    ],
)
def test_parameters_of_a_body_type_are_parsed(each_server_kind, content_type, taken):
    lines = ("Host: localhost", f"Content-Type: {content_type}", "Content-Length: 2")
    answer = raw(each_server_kind, "POST /api/v1/event/token_1 HTTP/1.1", *lines, body=b"{}")
    assert answer[0] == (422 if taken else 415)


def odd(pair: str) -> list[tuple[str, ...]]:
    """Return Cookie fields with one cookie among others."""
    name, _, value = pair.partition("=")
    return [
        (f'Cookie: {name}="{value}"',),
        (f"Cookie: $Version=1; {pair}; $Path=/",),
        (f'Cookie: $Version=1;{name}="{value}";$Path="/"',),
        (f"Cookie: {name}=other; {pair}",),
        (f"Cookie: {pair}; {name}=other",),
        (f"Cookie: {name}=; {pair}",),
        (f"Cookie: ;; ; =; =x; {pair};;",),
        (f"Cookie: a; b=; {pair}; c",),
        (f"Cookie: a=\xe4\xff; {pair}",),
        (f'Cookie: a="b; {pair}; c"',),
        (f'Cookie: a={{"b": [1, 2]}}; {pair}',),
        (f"Cookie: a@b=c; a b=c; {pair}",),
        (f"Cookie: x{name}=1; {name}x=2; {pair}",),
        (f"Cookie: a={'b' * 12_000}; {pair}",),
        (f"Cookie: {'; '.join(f'a{n}=b' for n in range(900))}; {pair}",),
        (f"Cookie:{pair}",),
        (f"Cookie: \t {pair} \t",),
        ("Cookie:", f"Cookie: {pair}"),
        (f"Cookie: {name}=other", f"Cookie: {pair}"),
    ]


def test_unusual_cookies_do_not_hide_the_session(each_server_kind):
    owner = json.loads("".join(each_server_kind.stdout_lines))["owner"]
    visitor = AdminBrowser(each_server_kind).log_in(owner["name"], owner["password"])
    for lines in odd(visitor.cookie):
        assert get(each_server_kind, "/admin/account", *lines)[0] == 200, lines
    for lines in odd(f"{visitor.cookie}x"):
        assert get(each_server_kind, "/admin/account", *lines)[0] == 303, lines


def test_a_logout_ends_the_session_beside_other_cookies(each_server_kind):
    owner = json.loads("".join(each_server_kind.stdout_lines))["owner"]
    visitor = AdminBrowser(each_server_kind).log_in(owner["name"], owner["password"])
    pair = visitor.cookie
    lines = ("Host: localhost", f"Cookie: {pair}; {pair.partition('=')[0]}=other")
    leaving = ("POST /admin/logout HTTP/1.1", *lines, "Sec-Fetch-Site: same-origin")
    assert raw(each_server_kind, *leaving, "Content-Length: 0")[0] == 303
    assert get(each_server_kind, "/admin/account", f"Cookie: {pair}")[0] == 303


def test_unusual_cookies_do_not_hide_the_last_banner(each_server_kind):
    page = get(each_server_kind, "/campaigns/1/")[1]["set-cookie"][0]
    pair = page.partition(";")[0]
    for lines in odd(pair):
        for _ in range(8):
            status, fields, _ = get(each_server_kind, "/campaigns/1/", *lines)
            assert status == 200
            assert fields["set-cookie"][0].partition(";")[0] != pair, lines


def test_a_too_large_head_gets_problem_details(each_server_kind):
    if "tornado" in each_server_kind.process.args:
        return  # whose own answers have no words
    for data, status, words in (
        ((f"/{'a' * 20_000}",), 414, "request line"),
        (("/campaigns/1/", f"Cookie: a={'b' * 20_000}"), 431, "header fields"),
        (("/campaigns/1/", *(f"X-{n}: {'c' * 50}" for n in range(400))), 431, "header fields"),
        (("/campaigns/1/", f"X-{'d' * 20_000}: e"), 431, "header fields"),
    ):
        answer = get(each_server_kind, *data)
        assert answer[0] == status
        problem = json.loads(answer[2])
        assert words in problem["detail"]
        assert "16384 bytes" in problem["detail"]
    assert get(each_server_kind, "/campaigns/1/", *(f"X-{n}: c" for n in range(800)))[0] == 200

"""Requests and responses of fast routes."""

from urllib.parse import parse_qs, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from httpserver import FastRoute, Request, RequestRefusal, Response, ServerLimits
from httpserver.fast_routes import FastRouteTable
from httpserver.protocol.peers import Peer

PEER = Peer("127.0.0.1", secure=False)
NAMES = st.text("abcXYZ_019", min_size=1, max_size=6)
# Cookie values as browsers send them (RFC 6265, 4.1.1).
VALUES = st.text("abcXYZ_019!#%/:=.-", max_size=8)


def asked(target: str = "/", *lines: str, body: bytes = b"") -> Request:
    head = "\r\n".join([f"GET {target} HTTP/1.1", "Host: a.example", *lines, "", ""])
    path = target.partition("?")[0]
    return Request(
        "GET", target.encode(), path, (), "a.example", head.encode("latin-1"), body, PEER
    )


@given(st.lists(st.tuples(NAMES, VALUES), max_size=6), NAMES, st.sampled_from(["; ", ";", " ; "]))
def test_a_cookie_is_the_first_of_its_name(
    jar: list[tuple[str, str]], name: str, between: str
) -> None:
    line = between.join(f"{key}={value}" for key, value in jar)
    expected = next((value for key, value in jar if key == name), None)
    lines = [f"X-Before: {name}=no", f"cookie: {line}", f"X-After: a; {name}=no"]
    assert asked(f"/?{name}=no", *lines).cookie(name) == expected


def test_cookies_may_be_in_several_fields_and_quoted() -> None:
    request = asked("/", "Cookie: a=1; b=two words ", 'COOKIE:c="3";d="', "Cookie:\te=")
    assert [request.cookie(name) for name in "abcdef"] == ["1", "two words", "3", '"', "", None]


def test_a_cookie_name_is_not_a_pattern() -> None:
    assert asked("/", "Cookie: axb=1").cookie("a.b") is None
    assert asked("/", "Cookie: a.b=1").cookie("a.b") == "1"


@given(st.lists(st.tuples(st.text(max_size=5), st.text(max_size=5)), max_size=5), st.text())
def test_a_query_argument_is_the_first_of_its_name(
    pairs: list[tuple[str, str]], other: str
) -> None:
    query = urlencode(pairs)
    parsed = parse_qs(query, keep_blank_values=True)
    for name in {other, *(name for name, _ in pairs)}:
        assert asked(f"/?{query}").query_argument(name) == parsed.get(name, [None])[0]


@pytest.mark.parametrize("query", ["a=%ff", "%c3=b&a=", "a=%ed%a0%80"])
def test_a_query_argument_that_is_not_utf_8_is_400(query: str) -> None:
    with pytest.raises(RequestRefusal) as refused:
        asked(f"/?{query}").query_argument("a")
    assert refused.value.status == 400


def test_field_names_match_in_any_case_and_keep_their_spelling() -> None:
    request = asked("/?x-tag=no", "X-Tag:  one \t", "x-TAG: two", "X-Tag-Not: three", "Empty:")
    assert request.header("x-tag") == "one, two"
    assert request.header("X-Empty") is None
    assert request.header("empty") == ""
    assert request.headers[1:3] == [(b"X-Tag", b"one"), (b"x-TAG", b"two")]
    assert request.query == b"x-tag=no"


def test_the_first_fast_route_matching_the_whole_path_is_called() -> None:
    def never(request: Request) -> Response:
        raise AssertionError(request)

    digits = FastRoute("GET", r"/a/(\d+)/?", never)
    rest = FastRoute("GET", r"/a/(.*?)(x)?", never)
    post = FastRoute("POST", r"/a/1", never)
    routes = FastRouteTable([digits, rest, post])
    assert routes.find("GET", "/a/12/") == (digits, ("12",))
    assert routes.find("HEAD", "/a/12") == (digits, ("12",))
    assert routes.find("GET", "/a/12/3") == (rest, ("12/3", ""))
    assert routes.find("POST", "/a/1") == (post, ())
    assert routes.find("POST", "/a/12") == (None, ())
    assert routes.find("GET", "/b/a/12") == (None, ())


def test_the_path_cache_is_bounded() -> None:
    route = FastRoute("GET", r"/(\d+)", lambda _: Response())
    routes = FastRouteTable([route])
    for number in range(20_000):
        assert routes.find("GET", f"/{number}") == (route, (str(number),))
    routes.find("GET", "/" + "1" * 10_000)
    assert len(routes._matches) <= 8_192
    assert max(len(path) for _, path in routes._matches) < 600


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (200, [("X-A", "b\r\nX-C: d")], b""),
        (200, [("X-A", "b\x00")], b""),
        (200, [("X A", "b")], b""),
        (200, [("", "b")], b""),
        (200, [("Content-Length", "3")], b"abc"),
        (200, [("transfer-encoding", "chunked")], b""),
        (200, [("Connection", "close")], b""),
        (200, [("Date", "today")], b""),
        (204, [], b"x"),
        (304, [], b"x"),
        (101, [], b""),
        (600, [], b""),
    ],
)
def test_a_response_that_breaks_framing_cannot_be_built(
    status: int, headers: list[tuple[str, str]], body: bytes
) -> None:
    with pytest.raises(ValueError, match=r"."):
        Response(status, headers, body)


def test_the_head_of_a_response_is_built_once() -> None:
    answer = Response(200, [("Set-Cookie", "a=b"), ("Set-Cookie", "c=ä")], b"body")
    assert answer.head == (
        b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nSet-Cookie: c=\xe4\r\nContent-Length: 4\r\n"
    )
    assert Response(204).head == b"HTTP/1.1 204 No Content\r\n"
    longer = answer.with_headers(("Retry-After", "1"))
    assert (longer.status, longer.body) == (200, b"body")
    assert longer.headers[-1] == ("Retry-After", "1")
    assert len(answer.headers) == 2


@pytest.mark.parametrize(
    "name", [name for name in ServerLimits.__slots__ if "requests" not in name]
)
def test_a_zero_limit_is_refused(name: str) -> None:
    for value in (0, -1):
        with pytest.raises(ValueError, match=name):
            ServerLimits(**{name: value})

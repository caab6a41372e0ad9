"""Stories, their events, counts and active users over HTTP, on both HTTP servers."""

import asyncio
import contextlib
import datetime
import json
import re
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest
from tornado.httpclient import AsyncHTTPClient
from tornado.web import Application

from commands import control_client
from domain.stories.story import Story
from handlers.stories import story_stats
from httpserver import Server, bind_tcp
from store.api.errors import StoreBusy
from store.sqlite.admin.apps import ChangeApp, CreateApp, RemoveApp
from store.sqlite.admin.tokens import CreateToken
from store.sqlite.stories.stories import PutStories, RemoveStories
from store.sqlite.stories.story_cache import CachedStories, VisibleStories
from tests.support.server_process import MarqueeProcess

TOKEN_1 = (
    '{"app_id":1,"ts":%d,"metadata":[{"id":1,"metadata":"image1.png"},'
    '{"id":2,"metadata":"image2.png"},{"id":3,"metadata":"image3.png"}]}'
)
WAYS = ["/api/v1/stories/{}", "/api/v1/stories/cached/{}"]
NUMBERS = count(1)


@pytest.fixture(scope="module", params=["wire", "tornado"])
def server(request, tmp_path_factory):
    """A server with the demo data; each test creates its own apps."""
    folder = tmp_path_factory.mktemp(request.param) / "data"
    running = MarqueeProcess(folder, "--sample", "--server", request.param)
    yield running
    assert running.stop() == 0, running.log
    assert "Traceback" not in running.log, running.log


def command(server, asked):
    return asyncio.run(control_client.run_command(server.data / "marquee.sock", asked))


def today() -> str:
    return datetime.datetime.now(datetime.UTC).date().isoformat()


class StoriesApp:
    """An app with two stories, numbered by position."""

    def __init__(self, server, *hosts: str) -> None:
        number = next(NUMBERS)
        self.server = server
        self.token = f"app_{number}"
        self.stories = (1_000 + 2 * number, 1_001 + 2 * number)
        self.id = command(server, CreateApp(f"App {number}", self.token, hosts)).id
        self.put(*self.stories)

    def put(self, *numbers: int, image: str = "a.png") -> None:
        put = [Story(self.token, number, f'{{"img":"{image}"}}') for number in numbers]
        command(self.server, PutStories(tuple(put)))

    def send(self, *, raw: bytes | None = None, headers: dict[str, str] | None = None, **members):
        sent = {"story_id": self.stories[0], "event_type": "impression", **members}
        body = json.dumps(sent).encode() if raw is None else raw
        path = f"/api/v1/event/{self.token}"
        headers = {"Content_Type": "application/json", **(headers or {})}
        return self.server.request(path, "POST", body, **headers)

    def request(self, path: str, **headers):
        return self.server.request(path.format(self.token), **headers)

    def dau(self, date: str | None = None, more: str = ""):
        return self.request(f"/api/v1/dau/{{}}?date={date or today()}{more}").json()

    def counts(self, date: str | None = None, more: str = ""):
        answer = self.request(f"/api/v1/stories/{{}}/counts?date={date or today()}{more}").json()
        return [(each["story_id"], each["event_type"], each["count"]) for each in answer["counts"]]


@pytest.fixture
def app(server):
    return StoriesApp(server, "www.example.com", "localhost", "dev.example.com:8080")


@pytest.mark.parametrize("way", WAYS)
def test_the_sample_has_these_stories(server, way):
    before = int(time.time())
    answer = server.request(way.format("token_1"))
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    ts = answer.json()["ts"]
    assert before <= ts <= time.time()
    assert answer.text == TOKEN_1 % ts
    found = [
        (
            token,
            [
                (each["id"], each["metadata"])
                for each in server.request(way.format(token)).json()["metadata"]
            ],
        )
        for token in ("token_2", "token_3")
    ]
    assert found == [
        ("token_2", [(4, "image4.png")]),
        ("token_3", [(number, f"image{number}.png") for number in range(5, 9)]),
    ]


def test_a_cached_response_has_the_current_time_and_needs_no_read(server):
    first = server.request(WAYS[1].format("token_1")).json()
    reads = loads(server)
    moments = set()
    end = time.time() + 1.5
    while time.time() < end:
        began = time.time()
        answer = server.request(WAYS[1].format("token_1")).json()
        assert began - 1.1 <= answer["ts"] <= time.time()
        assert answer["metadata"] == first["metadata"]
        moments.add(answer["ts"])
        time.sleep(0.05)
    assert len(moments) > 1
    assert loads(server) == reads


def loads(server) -> int:
    text = server.request("/metrics").text
    return int(float(re.search(r"^marquee_story_cache_loads_total (\S+)$", text, re.MULTILINE)[1]))


@pytest.mark.parametrize("way", WAYS)
def test_unchanged_stories_get_304(server, way):
    first = server.request(way.format("token_1"))
    tag = first.headers["ETag"]
    assert tag == server.request(WAYS[0].format("token_1")).headers["ETag"]
    time.sleep(1.01)
    for value in (tag, tag.removeprefix("W/"), f'"other", {tag}', "*"):
        again = server.request(way.format("token_1"), If_None_Match=value)
        assert (again.status, again.body, again.headers["ETag"]) == (304, b"", tag)
        assert again.headers["Content-Type"] is None
    assert server.request(way.format("token_1"), If_None_Match='"other"').status == 200
    assert server.request(way.format("token_2"), If_None_Match=tag).status == 200
    head = server.request(way.format("token_1"), "HEAD")
    assert (head.status, head.body, head.headers["ETag"]) == (200, b"", tag)
    assert head.headers["Content-Length"] == first.headers["Content-Length"]


@pytest.mark.parametrize("way", WAYS)
def test_a_change_is_visible_in_the_next_response(server, app, way):
    def seen():
        answer = app.request(way)
        return [(each["id"], each["metadata"]) for each in answer.json()["metadata"]]

    one, two = app.stories
    tags = set()
    for number in range(20):
        app.put(one, image=f"{number}.png")
        assert seen() == [(one, f"{number}.png"), (two, "a.png")]
        tags.add(app.request(way).headers["ETag"])
    assert len(tags) == 20
    command(app.server, RemoveStories((one,)))
    assert seen() == [(two, "a.png")]
    command(app.server, ChangeApp(app.token, public_token=f"{app.token}_new"))
    assert app.request(way).status == 404
    app.token += "_new"
    assert seen() == [(two, "a.png")]
    command(app.server, RemoveApp(app.token))
    assert app.request(way).status == 404


def test_five_hundred_requests_to_a_cold_cache_cost_one_read(server, app):
    before = loads(server)
    statuses = []

    def ask() -> None:
        statuses.append(app.request(WAYS[1]).status)

    askers = [threading.Thread(target=ask) for _ in range(500)]
    for each in askers:
        each.start()
    for each in askers:
        each.join()
    assert statuses == [200] * 500
    assert loads(server) == before + 1


PUBLIC = [
    ("GET", "/api/v1/stories/{}", None),
    ("GET", "/api/v1/stories/cached/{}", None),
    ("POST", "/api/v1/event/{}", b'{"story_id":1,"event_type":"x"}'),
    ("GET", "/api/v1/stories/{}/counts?date=2021-01-01", None),
    ("GET", "/api/v1/dau/{}?date=2021-01-01", None),
]


@pytest.mark.parametrize(("method", "path", "body"), PUBLIC)
@pytest.mark.parametrize("token", ["nobody", "TOKEN_1", "%54oken_1", "x" * 100, "x" * 101, "a%20b"])
def test_an_unknown_public_token_is_404(server, method, path, body, token):
    answer = server.request(path.format(token), method, body, Content_Type="application/json")
    assert answer.status == 404
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["status"] == 404


# Ingest of story events.


def test_a_story_event_gets_an_id_and_counts_at_once(app):
    one, two = app.stories
    ids = [app.send(user_id=user).json()["id"] for user in ("a", "b", "a")]
    assert len(set(ids)) == 3
    assert all(re.fullmatch(r"\d{19}", number) for number in ids)
    assert app.dau() == {"app_id": app.id, "date": today(), "dau": 2, "exact": True}
    for _ in range(3):
        answer = app.send(story_id=two, event_type="close", user_id="c")
        assert answer.status == 202
        assert answer.headers["Cache-Control"] == "no-store"
    assert app.dau()["dau"] == 3
    assert app.counts() == [(one, "impression", 3), (two, "close", 3)]
    assert app.counts(more=f"&story_id={two}") == [(two, "close", 3)]
    assert app.counts(more="&story_id=999999") == []


def test_a_numeric_user_id_equals_its_text(app):
    for user in (1, "1", 2, 2**63 - 1, str(2**63 - 1)):
        assert app.send(user_id=user).status == 202
    assert app.dau()["dau"] == 3


def test_event_types_per_app_are_limited_and_counts_are_paged(app):
    def send(numbers):
        with contextlib.closing(app.server.connect()) as connection:
            for number in numbers:
                sent = {"story_id": app.stories[0], "event_type": f"type-{number}"}
                path, kind = f"/api/v1/event/{app.token}", {"Content-Type": "application/json"}
                connection.request("POST", path, json.dumps(sent), kind)
                answer = connection.getresponse()
                yield answer.status, answer.read()

    with ThreadPoolExecutor(20) as pool:
        sent = pool.map(lambda start: list(send(range(start, 1_000, 20))), range(20))
        assert {status for some in sent for status, _ in some} == {202}
    ((status, content),) = send([1_000])
    assert status == 422
    (error,) = json.loads(content)["errors"]
    assert error == {
        "pointer": "/event_type",
        "message": "is new, and this app already has the maximum of 1,000 types",
    }
    assert [status for status, _ in send([0, 999])] == [202, 202]
    path, cursor, found = f"/api/v1/stories/{{}}/counts?date={today()}&limit=300", "", []
    for _ in range(4):
        page = app.request(path + cursor).json()
        found += page["counts"]
        cursor = f"&cursor={page['cursor']}"
    assert page["cursor"] is None
    assert sorted(each["event_type"] for each in found) == sorted(
        f"type-{number}" for number in range(1_000)
    )
    assert app.request(path + "&cursor=x").status == 422


def test_an_event_without_a_user_counts_no_user(app):
    assert app.send().status == app.send(user_id=None).status == 202
    assert app.dau()["dau"] == 0
    assert app.counts() == [(app.stories[0], "impression", 2)]


@pytest.mark.parametrize(
    ("headers", "users"),
    [
        ({"Sec_GPC": "1"}, 0), ({"DNT": "1"}, 0), ({"sec_gpc": "1", "DNT": "0"}, 0),
        ({"Sec_GPC": "0", "DNT": "0"}, 1), ({"DNT": "unspecified"}, 1), ({}, 1),
    ],
)  # fmt: skip
def test_an_opted_out_user_is_not_counted_but_the_event_is(app, headers, users):
    assert app.send(user_id="a", headers=headers).status == 202
    assert app.dau()["dau"] == users
    assert app.counts() == [(app.stories[0], "impression", 1)]


def test_a_late_event_counts_on_its_own_day(app):
    for user, at in (("a", "2020-02-29 23:59:59.999999"), ("a", "2020-03-01T00:30:00+01:00"),
                     ("b", "2020-03-01T00:00:00Z"), ("a", "2020-03-06 12:00:00")):  # fmt: skip
        assert app.send(user_id=user, timestamp=at).status == 202
    assert app.counts("2020-02-29") == [(app.stories[0], "impression", 2)]
    days = app.dau("2020-03-02", "&days=4")
    assert days == {
        "app_id": app.id,
        "days": [
            {"date": date, "dau": users, "exact": True}
            for date, users in (
                ("2020-02-28", 0), ("2020-02-29", 1), ("2020-03-01", 1), ("2020-03-02", 0),
            )
        ],
    }  # fmt: skip
    assert app.dau("2020-03-06", "&span=7") == {
        "app_id": app.id, "date": "2020-03-06", "wau": 2, "exact": True,
    }  # fmt: skip
    assert app.dau("2020-03-08", "&span=7")["wau"] == 1
    assert app.dau("2020-03-30", "&span=30") == {
        "app_id": app.id, "date": "2020-03-30", "mau": 2, "exact": True,
    }  # fmt: skip
    assert app.dau("2020-03-31", "&span=30")["mau"] == 1
    assert app.dau("2020-03-06", "&span=1&days=1") == {
        "app_id": app.id, "days": [{"date": "2020-03-06", "dau": 1, "exact": True}],
    }  # fmt: skip


def test_a_story_event_is_logged_without_the_user_id(app):
    number = app.send(user_id="who-it-is").json()["id"]
    admin = command(app.server, CreateToken(str(app.id), ("admin",))).secret_token
    found = app.server.request(f"/events/{number}", Authorization=f"Bearer {admin}").json()
    assert (found["app"], found["source"], found["session_id"]) == (app.id, "story", None)
    assert (found["category"], found["name"]) == ("story", "impression")
    assert found["data"] == {"story_id": app.stories[0]}
    assert "who-it-is" not in json.dumps(found)
    query = f"/events?source=story&category=story&name=impression&app={app.id}"
    listed = app.server.request(query, Authorization=f"Bearer {admin}").json()["events"]
    assert [each["id"] for each in listed] == [number]


def test_user_ids_are_in_no_file_even_after_an_invalid_event(app):
    secret = "id-of-a-person-0123456789"
    assert app.send(user_id=secret).status == 202
    assert app.send(user_id=secret, story_id=77_777_777).status == 404
    assert app.send(user_id=secret, event_type=5).status == 422
    assert app.send(raw=b'{"user_id":"%b"' % secret.encode()).status == 400
    assert app.send(user_id=secret, headers={"Content_Type": "text/html"}).status == 415
    app.dau()
    files = [file for file in app.server.data.iterdir() if file.is_file()]
    assert {file.name for file in files} >= {"marquee.db", "views.db"}
    for file in files:
        assert secret.encode() not in file.read_bytes()
    assert secret not in app.server.log


def test_story_events_are_not_in_the_event_counts(app):
    def counted():
        text = app.server.request("/metrics").text
        return re.findall(r"^marquee_events_\w+_total \S+$", text, re.MULTILINE)

    before = counted()
    assert app.send().status == 202
    assert app.send(event_type="").status == 422
    assert app.send(story_id=1).status == 404
    assert counted() == before


@pytest.mark.parametrize(
    ("members", "pointer"),
    [
        ({"story_id": "1"}, "/story_id"), ({"story_id": 1.5}, "/story_id"),
        ({"story_id": None}, "/story_id"), ({"story_id": -1}, "/story_id"),
        ({"story_id": [1]}, "/story_id"), ({"story_id": True}, "/story_id"),
        ({"event_type": 1}, "/event_type"), ({"event_type": ""}, "/event_type"),
        ({"event_type": "x" * 51}, "/event_type"), ({"event_type": "a b"}, "/event_type"),
        ({"user_id": 1.5}, "/user_id"), ({"user_id": ""}, "/user_id"),
        ({"user_id": "x" * 201}, "/user_id"), ({"user_id": {}}, "/user_id"),
        ({"timestamp": "never"}, "/timestamp"), ({"timestamp": 1}, "/timestamp"),
        ({"timestamp": "2999-01-01 00:00:00"}, "/timestamp"), ({"else": 1}, "/else"),
    ],
)  # fmt: skip
def test_an_invalid_story_event_is_422_with_its_pointer(app, members, pointer):
    answer = app.send(**members)
    assert answer.status == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert [each["pointer"] for each in answer.json()["errors"]] == [pointer]
    assert app.counts() == []


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"", 400), (b"{", 400), (b"\xff\xfe", 400), (b"null", 422), (b"[]", 422), (b"5", 422),
        (b'{"story_id":1e999,"event_type":"x"}', 400), (b"[" * 5_000, 400),
        (b'{"story_id":123456789012345678901234567890,"event_type":"x"}', 400),
        (b'{"story_id":9223372036854775808,"event_type":"x"}', 400),
        (b'{"story_id":9223372036854775807,"event_type":"x"}', 404),
        (b'{"story_id":1,"event_type":"x"}', 404),  # the sample's
        (b'{"story_id":1,"event_type":"x","user_id":"' + b"x" * 9_000 + b'"}', 413),
    ],
)  # fmt: skip
def test_a_malformed_or_foreign_story_event_is_a_problem(app, raw, status):
    answer = app.send(raw=raw)
    assert answer.status == answer.json()["status"] == status
    assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("application/json; charset=utf-8", 202), ("text/plain;charset=UTF-8", 202),
        ("text/plain", 202), ("Text/Plain; Charset=UTF-8", 202), ("text/html", 415),
        ("application/x-ndjson", 415),
        ("application/json; charset=latin-1", 415), ("application/x-www-form-urlencoded", 415),
    ],
)  # fmt: skip
def test_a_story_event_is_json_or_text_plain(app, kind, status):
    assert app.send(headers={"Content_Type": kind}).status == status


def test_a_removed_story_takes_no_events_but_keeps_its_counts(app):
    one, two = app.stories
    app.send(story_id=one, user_id="a")
    app.send(story_id=two, user_id="b")
    command(app.server, RemoveStories((one,)))
    assert app.send(story_id=one).status == 404
    assert app.send(story_id=two).status == 202
    assert app.counts() == [(one, "impression", 1), (two, "impression", 2)]
    assert app.dau()["dau"] == 2
    command(app.server, RemoveApp(app.token))
    assert app.send(story_id=two).status == 404
    assert app.request(f"/api/v1/dau/{{}}?date={today()}").status == 404


@pytest.mark.parametrize("path", ["/api/v1/dau/{}", "/api/v1/stories/{}/counts"])
@pytest.mark.parametrize(
    "query", ["", "date=", "date=2021-02-29", "date=2021-1-1", "date=yesterday", "date=20210101",
              "date=2021-01-01T00:00:00Z", "date=10000-01-01", "date=0000-01-01", "date=%00"],
)  # fmt: skip
def test_an_invalid_date_is_422(app, path, query):
    answer = app.request(f"{path}?{query}")
    assert answer.status == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["errors"][0]["pointer"] == "/date"


@pytest.mark.parametrize(
    ("path", "query", "pointer"),
    [
        ("/api/v1/dau/{}", "days=0", "/days"), ("/api/v1/dau/{}", "days=1001", "/days"),
        ("/api/v1/dau/{}", "days=x", "/days"), ("/api/v1/dau/{}", "span=2", "/span"),
        ("/api/v1/dau/{}", "span=0", "/span"), ("/api/v1/dau/{}", "span=-7", "/span"),
        ("/api/v1/dau/{}", "date=0001-01-05&days=6", "/days"),
        ("/api/v1/stories/{}/counts", "story_id=x", "/story_id"),
        ("/api/v1/stories/{}/counts", f"story_id={2**63}", "/story_id"),
        ("/api/v1/stories/{}/counts", f"story_id={10**40}", "/story_id"),
    ],
)  # fmt: skip
def test_an_invalid_stats_argument_is_422_with_its_pointer(app, path, query, pointer):
    date = "" if "date" in query else "date=2021-01-01&"
    answer = app.request(f"{path}?{date}{query}")
    assert answer.status == 422
    assert answer.json()["errors"][0]["pointer"] == pointer


def test_any_calendar_day_is_accepted(app):
    assert app.dau("9999-12-31")["dau"] == app.dau("0001-01-01")["dau"] == 0
    days = app.dau("0001-01-05", "&days=5&span=30")["days"]
    assert [each["date"] for each in days] == [f"0001-01-0{day}" for day in range(1, 6)]


def test_stats_are_503_with_retry_after_while_projections_lag():
    class Busy:
        async def active(self, *_, **__):
            raise StoreBusy("far behind")

        stories = active

    class Known:
        async def get(self, _):
            shown = VisibleStories(1, frozenset(["www.example.com"]), [])
            return CachedStories(shown, None, frozenset(), 0, 0)

    async def ask() -> None:
        routes = story_stats.routes(Busy(), Known())
        server = Server(Application(routes, pages=None, log_function=lambda _: None))
        (sock,) = bind_tcp("127.0.0.1", 0)
        await server.listen([sock])
        for path in ("dau/t", "stories/t/counts"):
            url = f"http://127.0.0.1:{sock.getsockname()[1]}/api/v1/{path}?date=2021-01-01"
            headers = {"Origin": "http://www.example.com"}
            answer = await AsyncHTTPClient().fetch(url, headers=headers, raise_error=False)
            assert answer.code == 503
            assert answer.headers["Retry-After"] == "1"
            assert answer.headers["Access-Control-Allow-Origin"] == "http://www.example.com"
        await server.drain(1)

    asyncio.run(ask())


# CORS.


OWN = ["https://www.example.com", "http://www.example.com", "http://localhost:5173",
       "https://dev.example.com:8080"]  # fmt: skip
OTHERS = ["https://example.com", "https://evil.example", "null", "https://www.example.com.evil.example",
          "ftp://www.example.com", "https://dev.example.com", "https://www.example.com/",
          "https://www.example.com@evil.example", "", "*"]  # fmt: skip


@pytest.mark.parametrize("origin", [*OWN, *OTHERS])
def test_only_pages_of_the_apps_hosts_may_read_responses(app, origin):
    event = json.dumps({"story_id": app.stories[0], "event_type": "x"}).encode()
    for method, path, body in (
        ("GET", WAYS[0], None), ("GET", WAYS[1], None),
        ("POST", "/api/v1/event/{}", event), ("POST", "/api/v1/event/{}", b"{"),
        ("GET", "/api/v1/stories/{}/counts?date=2021-01-01", None),
        ("GET", "/api/v1/dau/{}?date=2021-01-01", None), ("GET", "/api/v1/dau/{}?date=x", None),
    ):  # fmt: skip
        headers = {"Origin": origin, "Content_Type": "application/json"}
        answer = app.server.request(path.format(app.token), method, body, **headers)
        allowed = origin if origin in OWN else None
        assert answer.headers["Access-Control-Allow-Origin"] == allowed
        assert answer.headers["Vary"] == "Origin"
        assert app.server.request(path.format(app.token), method, body).headers["Vary"] == "Origin"


@pytest.mark.parametrize("path", [*WAYS, "/api/v1/event/{}"])
def test_a_preflight_gets_the_allowed_methods(app, path):
    method = "POST" if "event" in path else "GET"
    for origin in (*OWN, *OTHERS, None):
        headers = {"Access_Control_Request_Method": method}
        headers |= {} if origin is None else {"Origin": origin}
        answer = app.server.request(path.format(app.token), "OPTIONS", **headers)
        assert answer.status == 204
        assert method in answer.headers["Allow"]
        assert answer.headers["Vary"] == "Origin"
        if origin in OWN:
            assert answer.headers["Access-Control-Allow-Origin"] == origin
            # `sendBeacon` sends cookies; the server ignores them.
            assert answer.headers["Access-Control-Allow-Credentials"] == "true"
            assert method in answer.headers["Access-Control-Allow-Methods"]
            assert "Content-Type" in answer.headers["Access-Control-Allow-Headers"]
        else:
            assert answer.headers["Access-Control-Allow-Origin"] is None
            assert answer.headers["Access-Control-Allow-Credentials"] is None
            assert answer.headers["Access-Control-Allow-Methods"] is None
    unknown = app.server.request(path.format("nobody"), "OPTIONS", Origin=OWN[0])
    assert unknown.status == 204
    assert unknown.headers["Access-Control-Allow-Origin"] is None


def test_changed_hosts_apply_at_once(app):
    def known() -> list[bool]:
        """Return whether pages of the old and the new host may read and have an audience."""
        shared = (
            app.request(WAYS[1], Origin=origin).headers["Access-Control-Allow-Origin"] == origin
            for origin in (OWN[0], "https://new.example")
        )
        asked = (
            app.request(f"/live/toppages/?apikey={{}}&host={host}").status == 200
            for host in ("www.example.com", "new.example")
        )
        return [*shared, *asked]

    assert known() == [True, False, True, False]
    command(app.server, ChangeApp(app.token, hosts=("new.example",)))
    assert known() == [False, True, False, True]


@pytest.mark.parametrize("path", [*WAYS, "/api/v1/event/{}"])
def test_an_unsupported_method_of_a_story_path_is_405(app, path):
    answer = app.server.request(path.format(app.token), "DELETE")
    assert answer.status == 405
    assert "OPTIONS" in answer.headers["Allow"]


# Durability.


def test_story_counts_survive_a_kill_and_a_rebuild(start_server, run_command):
    server = start_server("--sample")
    app = StoriesApp(server)
    acknowledged = 0
    for number in range(300):
        acknowledged += app.send(user_id=f"u{number % 40}").status == 202
        if number == 100:
            app.dau()
    server.stop(signal.SIGKILL)
    app.server = start_server("--sample")
    assert (app.dau()["dau"], app.counts()) == (40, [(app.stories[0], "impression", acknowledged)])
    # The salt survives, so known users are not counted again.
    app.send(user_id="u1")
    expected = (
        app.dau(more="&days=3"),
        app.dau(more="&span=7"),
        app.dau(more="&span=30"),
        app.counts(),
    )
    assert run_command("rebuild", "--data", str(app.server.data)).returncode == 0
    assert expected == (
        app.dau(more="&days=3"), app.dau(more="&span=7"), app.dau(more="&span=30"), app.counts(),
    )  # fmt: skip
    app.server.stop()
    Path(app.server.data, "views.db").unlink()
    app.server = start_server("--sample")
    assert expected[0] == app.dau(more="&days=3")
    assert expected[3] == app.counts()


def test_ten_thousand_concurrent_story_events_are_counted_exactly(start_server):
    server = start_server("--sample")
    app = StoriesApp(server)
    users, each = 2_000, 625
    path, failed = f"/api/v1/event/{app.token}", []

    def send(number: int) -> None:
        connection = server.connect()
        for turn in range(each):
            user = f"user-{(number * each + turn) * 7 % users}"
            sent = {"story_id": app.stories[turn % 2], "event_type": "x", "user_id": user}
            connection.request("POST", path, json.dumps(sent), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            if answer.status != 202:
                failed.append(answer.status)
        connection.close()

    senders = [threading.Thread(target=send, args=(number,)) for number in range(16)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    assert failed == []
    assert app.dau()["dau"] == users
    assert sum(events for *_, events in app.counts()) == 16 * each

"""Visitors from beacons and events: toppages, rising pages, streams, history."""

import contextlib
import json
import signal
import socket
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from background.audience.host_poller import PolledHost
from handlers.audience.host_audience import RisingPagesHandler
from handlers.common.audience_base import AudienceContext
from handlers.common.base_handler import ApiError
from tests.support.audience.audience_site import HOST, AudienceSite, wait_for
from tests.support.server_process import MarqueeProcess

QUICK = ("--reading-seconds", "0.5")


@pytest.fixture(scope="module")
def quick(tmp_path_factory) -> Iterator[MarqueeProcess]:
    """A server with a short polling period."""
    running = MarqueeProcess(tmp_path_factory.mktemp("quick") / "data", *QUICK)
    yield running
    assert running.stop() == 0, running.log
    assert "Traceback" not in running.log, running.log


@pytest.fixture
def site(run_command, quick, request) -> AudienceSite:
    return AudienceSite(run_command, quick, request.node.name)


def test_a_pageview_is_an_event_and_a_visitor(site):
    answer = site.send_beacon("s", "/a", "view", title="Title A")
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["Access-Control-Allow-Origin"] == f"https://{HOST}"
    assert answer.headers["Set-Cookie"] is None
    found = site.server.request(
        "/events?source=pageview", Authorization=f"Bearer {site.secret_token}"
    ).json()["events"]
    (event,) = found
    assert (event["category"], event["name"]) == ("page interaction", "pageview")
    assert event["data"] == {"host": HOST, "path": "/a", "title": "Title A"}
    assert wait_for(lambda: site.get("/live/toppages/").json()) == [
        {"i": "Title A", "path": "/a", "visitors": 1}
    ]


def test_a_heartbeat_is_a_visitor_but_no_event(site):
    assert site.send_beacon("s", "/a").status == 204
    assert site.get("/live/toppages/").json() == [{"i": "/a", "path": "/a", "visitors": 1}]
    found = site.server.request("/events", Authorization=f"Bearer {site.secret_token}").json()
    assert found["events"] == []


def test_pageview_events_of_the_app_count_as_visitors(site):
    event = {
        "session_id": "s", "category": "page interaction", "name": "pageview",
        "data": {"host": HOST, "path": "/e"}, "timestamp": time.strftime("%FT%TZ", time.gmtime()),
    }  # fmt: skip
    for session in ("s", "t", "s"):
        body = json.dumps(event | {"session_id": session}).encode()
        answer = site.server.request(
            "/events", "POST", body, Authorization=f"Bearer {site.secret_token}"
        )
        assert answer.status == 202
    both = [{"path": "/e", "title": "/e", "stats": {"people": 2}}]
    assert wait_for(lambda: site.get("/live/toppages/v3/").json()["pages"] == both)


@pytest.mark.parametrize("name", ["Sec_GPC", "DNT"])
def test_an_opted_out_visitor_is_not_counted(site, name):
    for kind in ("view", "beat"):
        assert site.send_beacon("s", kind=kind, fields={name: "1"}).status == 204
    found = site.server.request("/events", Authorization=f"Bearer {site.secret_token}").json()
    assert found["events"] == []
    assert site.get("/live/toppages/").json() == []


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"host": "evil.example.com"}, 403),
        ({"fields": {"Origin": "https://evil.example.com"}}, 403),
        ({"host": "shop.example.com"}, 403),  # sent from a page of another host
        ({"fields": {"Origin": "null"}}, 204),
        ({"fields": {}}, 204),
        ({"host": HOST.upper()}, 204),
        ({"token": "nobody"}, 404),
        ({"kind": "other"}, 400),
        ({"title": "x" * 9_000}, 413),
    ],
)
def test_a_beacon_needs_a_listed_host(site, change, status):
    answer = site.send_beacon("s", **{"kind": "beat", **change})
    assert answer.status == status
    if status != 204:
        assert answer.headers["Access-Control-Allow-Origin"] is None
        assert answer.json()["status"] == status


def test_toppages_are_ordered_by_visitors_and_limited(site):
    for number in range(12):
        site.add_visitors(12 - number, f"/{number:02}")
    response = site.get("/live/toppages/").json()
    assert [page["path"] for page in response] == [f"/{number:02}" for number in range(10)]
    assert [page["visitors"] for page in response] == list(range(12, 2, -1))
    assert len(site.get("/live/toppages/", limit=3).json()) == 3
    assert len(site.get("/live/toppages/v3/", limit=500).json()["pages"]) == 12
    for wrong in ("0", "-1", "x", "10001", "1e3"):
        assert site.get("/live/toppages/", limit=wrong).status == 400


@pytest.mark.parametrize("server", ["wire", "tornado"])
def test_audience_errors_are_the_same_on_both_http_servers(start_server, run_command, server):
    here = AudienceSite(run_command, start_server("--server", server, *QUICK))
    for path in ("/live/toppages/", "/live/toppages/v3", "/api/v1.0/increasingconcurrents"):
        for query, status in (
            ("", 401),
            (f"?apikey={here.public_token}", 401),
            (f"?host={HOST}", 401),
            (f"?apikey=&host={HOST}", 401),
            (f"?apikey=nobody&host={HOST}", 400),
            (f"?apikey={here.public_token}&host=other.example.com", 400),
            (f"?apikey={here.public_token}&host={HOST.upper()}", 200),
        ):
            answer = here.server.request(path + query)
            assert answer.status == status, (path, query)
            if status != 200:
                assert answer.headers["Content-Type"] == "application/problem+json"
    assert here.get_increasing().json() == []
    assert here.get_increasing().headers["Age"] == "0"
    assert here.send_beacon("s", kind="view").status == 204
    answer = here.server.request("/live/toppages/?host=" + HOST, X_CB_AK=here.public_token)
    assert answer.status == 200
    for path in ("rising", "history", "stream"):
        assert here.server.request(f"/api/v1/audience/{HOST}/{path}?path=/").status == 401
        assert here.server.request(f"/api/v1/audience/x/{path}?path=/&apikey=a").status == 400
    assert here.server.request(f"/live/{HOST}").status == 401
    assert "<h1>Bad Request</h1>" in here.server.request("/live/x?apikey=a").text
    assert here.get(f"/live/{HOST}").status == 200


def test_increasing_concurrents_are_ordered_by_gain(site):
    site.add_visitors(3, "/a")
    site.add_visitors(3, "/b")
    assert site.get_increasing().json() == []
    site.add_visitors(9, "/a")
    site.add_visitors(5, "/b")
    site.add_visitors(7, "/new")

    def gains() -> list[dict[str, object]]:
        return site.get_increasing().json()

    response = wait_for(gains)
    assert {page["i"] for page in response} <= {"/a", "/b"}
    assert [page["change"] for page in response] == sorted(
        (page["change"] for page in response), reverse=True
    )
    wait_for(lambda: not gains())  # and no more a reading later


def test_rising_pages_have_an_expected_value(site):
    site.add_visitors(20, "/a")
    site.add_visitors(20, "/b")
    assert [page["state"] for page in site.get_rising()["pages"]] == ["steady"] * 2
    time.sleep(4)
    site.add_visitors(90, "/a")
    found = wait_for(
        lambda: [each for each in site.get_rising()["pages"] if each["state"] == "rising"]
    )
    (page,) = found
    assert page["path"] == page["title"] == "/a"
    assert page["expected"] == pytest.approx(20, abs=1)
    assert 0 < page["change"] <= 70
    assert page["rate"] > 0
    assert page["score"] >= 4
    response = site.get_rising(window=60, limit=1)
    assert len(response["pages"]) == 1
    assert (response["host"], response["window"], response["stale"]) == (HOST, 60, False)
    assert 0 <= response["age"] < 60
    assert response["as_of"].endswith("Z")
    for wrong in ({"window": 59}, {"window": 3601}, {"window": "x"}, {"limit": 0}):
        answer = site.get(f"/api/v1/audience/{HOST}/rising", **wrong)
        assert answer.status == 422
        assert answer.json()["errors"]


def rising_of(watch: PolledHost, period: float = 5.0) -> RisingPagesHandler:
    handler = RisingPagesHandler.__new__(RisingPagesHandler)
    parts = {"age": lambda _: 1.0, "stale": lambda _: False, "period": period}
    handler.audience = AudienceContext(SimpleNamespace(**parts), None, None)
    return handler


def test_windows_per_reading_are_limited_except_the_default():
    watch = PolledHost("k", HOST, 0.0)
    handler = rising_of(watch, period=5.0)
    refused = 0
    for minutes in range(6, 40):
        try:
            handler.limit_windows(watch, 60 * minutes)
        except ApiError as refusal:
            assert (refusal.status_code, refusal.headers) == (429, [("Retry-After", "5")])
            refused += 1
        handler.limit_windows(watch, 300)
    assert refused == 34 - 8
    # Computed windows still work until the next reading.
    for window in (241, 300, 301, 360, 361, 420, 779, 780):
        handler.limit_windows(watch, window)
    with pytest.raises(ApiError):
        handler.limit_windows(watch, 781)


def test_all_limits_share_one_ranking_of_a_reading():
    watch, calls = PolledHost("k", HOST, 0.0), []
    for number in range(100):
        watch.history.add({f"/{page}": page + number % 3 for page in range(200)}, number * 5.0)
    rising = watch.history.rising
    watch.history.rising = lambda *args, **options: calls.append(args) or rising(*args, **options)
    handler = rising_of(watch)
    found = [
        json.loads(handler.encode_response(watch, 300, limit))["pages"] for limit in range(1, 101)
    ]
    assert [len(each) for each in found] == list(range(1, 101))
    assert all(each == found[-1][: len(each)] for each in found)
    for window in range(241, 300):
        assert json.loads(handler.encode_response(watch, window, 100))["pages"] == found[-1]
    assert len(calls) == 1
    assert len(json.loads(handler.encode_response(watch, 300, 150))["pages"]) == 150
    assert len(calls) == 2


def lines(server: MarqueeProcess, path: str, **headers: str) -> Iterator[str]:
    """Yield the lines of a stream as they arrive."""
    connection = server.connect()
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    try:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/event-stream"
        while line := answer.readline():
            yield line.decode().rstrip("\n")
    finally:
        answer.close()
        connection.close()


def test_a_stream_sends_each_reading_and_resumes(site):
    site.add_visitors(3, "/a")
    path = f"/api/v1/audience/{HOST}/stream?apikey={site.public_token}"
    heard = lines(site.server, path)
    ids = []
    while len(ids) < 3:
        line = next(heard)
        if line.startswith("id: "):
            ids.append(line.removeprefix("id: "))
            response = json.loads(next(heard).removeprefix("data: "))
            assert response["pages"][0]["path"] == "/a"
    heard.close()
    assert ids == sorted(set(ids))
    # A client with the latest event id waits for the next one; others get the latest at once.
    heard = lines(site.server, path, **{"Last-Event-ID": ids[0]})
    first = next(line for line in heard if line.startswith("id: "))
    heard.close()
    again = lines(site.server, path, **{"Last-Event-ID": first.removeprefix("id: ")})
    following = next(line for line in again if line.startswith("id: "))
    again.close()
    assert int(following.removeprefix("id: ")) > int(ids[-1])
    assert following != first


def test_many_distinct_streams_do_not_block_the_live_page(site):
    site.add_visitors(1, "/a")
    base = f"/api/v1/audience/{HOST}/stream?apikey={site.public_token}"
    heard, statuses = [], []
    for limit in range(1, 30):
        try:
            heard.append(lines(site.server, f"{base}&limit={limit}"))
            next(heard[-1])
        except AssertionError:
            statuses.append(limit)
    assert len(statuses) > 9
    for path in (f"/live/{HOST}/stream?apikey={site.public_token}", base):
        heard.append(lines(site.server, path))
        assert next(heard[-1]).startswith("retry")
    for each in heard:
        each.close()
    wait_for(lambda: figure(site.server, "marquee_sse_listeners") == 0)


def test_the_live_page_is_escaped_and_streams_the_same_list(site):
    site.send_beacon("s", "/<b>", "view", title='<script>alert("x")</script>')
    wait_for(lambda: site.get("/live/toppages/").json())
    page = wait_for(
        lambda: (found := site.get(f"/live/{HOST}")) and "alert" in found.text and found.text
    )
    assert "&lt;script&gt;alert" in page
    assert "<script>alert" not in page
    assert "<noscript><meta http-equiv" in page
    heard = lines(site.server, f"/live/{HOST}/stream?apikey={site.public_token}")
    data = []
    for line in heard:
        if line.startswith("data: "):
            data.append(line.removeprefix("data: "))
        elif data:
            break
    heard.close()
    assert "&lt;script&gt;alert" in "\n".join(data)
    assert "<table" in "\n".join(data)


def test_the_access_log_has_no_public_token(start_server, run_command):
    here = AudienceSite(run_command, start_server("--access-log", *QUICK))
    here.send_beacon("s", kind="view")
    assert here.get(f"/live/{HOST}").status == 200
    assert here.get_increasing().status == 200
    assert here.server.stop() == 0
    assert "POST /api/v1/beacon/… 204" in here.server.log
    assert f"GET /live/{HOST} 200" in here.server.log
    assert here.public_token not in here.server.log


def test_a_host_without_a_port_covers_all_ports(start_server, run_command):
    here = AudienceSite(run_command, start_server(*QUICK), host="localhost")
    for port in (3000, 5173):
        fields = {"Origin": f"http://localhost:{port}"}
        answer = here.send_beacon(f"v{port}", kind="view", host=f"LocalHost:{port}", fields=fields)
        assert answer.status == 204
        assert answer.headers["Access-Control-Allow-Origin"] == f"http://localhost:{port}"
        assert here.send_beacon(f"b{port}", host=f"localhost:{port}", fields=fields).status == 204
    for host in ("localhost", "LOCALHOST.", "localhost:3000"):
        wait_for(lambda host=host: here.get("/live/toppages/", host=host).json() == [
            {"i": "/", "path": "/", "visitors": 4}
        ])  # fmt: skip
        assert here.get("/api/v1.0/increasingconcurrents", host=host).status == 200
    other = here.send_beacon("x", host="localhost:1", fields={"Origin": "http://localhost:2"})
    assert other.status == 403


def test_a_prerendered_page_is_no_visit(start_server, run_command):
    here = AudienceSite(run_command, start_server(*QUICK))
    fields = {"Origin": f"https://{HOST}", "Sec_Purpose": "prefetch;prerender"}
    assert here.send_beacon("s", kind="view", fields=fields).status == 204
    assert here.send_beacon("s", kind="beat", fields=fields).status == 204
    assert here.send_beacon("t", path="/seen").status == 204
    assert [each["path"] for each in here.get("/live/toppages/").json()] == ["/seen"]


def test_the_beacon_script_is_small_and_cacheable(site):
    answer = site.server.request("/static/beacon.js")
    assert answer.headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert len(answer.body) <= 1_024
    again = site.server.request(
        "/static/beacon.js", If_None_Match=f'"x", W/{answer.headers["ETag"]}'
    )
    assert (again.status, again.body) == (304, b"")


@pytest.mark.parametrize("server", ["wire", "tornado"])
def test_a_shutdown_ends_streams_at_once(start_server, run_command, server):
    here = AudienceSite(
        run_command, start_server("--server", server, "--drain-seconds", "600", *QUICK)
    )
    heard = [
        lines(here.server, f"/api/v1/audience/{HOST}/stream?apikey={here.public_token}")
        for _ in range(5)
    ]
    for each in heard:
        next(each)
    assert here.server.stop() == 0
    for each in heard:
        list(each)
    assert "Traceback" not in here.server.log


def test_a_restart_restores_visitors_and_polled_hosts(start_server, run_command):
    here = AudienceSite(run_command, start_server(*QUICK))
    for number in range(5):
        here.send_beacon(f"{number}", "/a", "view")
    here.send_beacon("beat", "/a")
    wait_for(
        lambda: here.get("/live/toppages/").json() == [{"i": "/a", "path": "/a", "visitors": 6}]
    )
    wait_for(lambda: here.get_rising()["pages"])
    time.sleep(1)
    assert here.server.stop() == 0
    here.server = start_server(*QUICK)
    # Heartbeats are only in memory; the next one is due within 15 s.
    assert here.get("/live/toppages/").json() == [{"i": "/a", "path": "/a", "visitors": 5}]
    assert "marquee_polled_hosts 1.0" in here.server.request("/metrics").text
    path = f"/api/v1/audience/{HOST}/history"
    (minute, *_) = here.get(path, path="/a").json()["minutes"]
    assert 0 < minute["visitors"] <= 6
    day = minute["minute"][:10]
    assert here.get(path, path="/a", **{"from": day, "to": day}).json()["minutes"] == []
    assert here.get(path, path="/nowhere").json()["minutes"] == []
    for wrong in ({}, {"path": "/a", "from": "soon"}, {"path": "/a", "from": "2001-01-01"}):
        assert here.get(path, **wrong).status == 422


def figure(server: MarqueeProcess, name: str) -> float:
    text = server.request("/metrics").text
    return float(next(line for line in text.splitlines() if line.startswith(name + " ")).split()[1])


def test_a_disconnect_before_a_stream_starts_leaves_no_listener(site):
    path = f"/api/v1/audience/{HOST}/stream?apikey={site.public_token}"
    for number in range(20):
        with socket.create_connection(("127.0.0.1", site.server.port)) as peer:
            peer.sendall(f"GET {path}&limit={number + 1} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            if number % 2:
                peer.shutdown(socket.SHUT_WR)
    wait_for(lambda: figure(site.server, "marquee_sse_listeners") == 0)


def test_head_of_a_stream_ends_at_once(site):
    for path in (f"/api/v1/audience/{HOST}/stream", f"/live/{HOST}/stream"):
        with contextlib.closing(site.server.connect()) as connection:
            for asked in (f"{path}?apikey={site.public_token}", "/healthz"):
                connection.request("HEAD", asked)
                answer = connection.getresponse()
                assert answer.read() == b""
                assert answer.status in (200, 404), asked


@pytest.fixture
def peers() -> Iterator[list[socket.socket]]:
    opened: list[socket.socket] = []
    yield opened
    for each in opened:
        each.close()


def test_a_thousand_listeners_are_served_and_slow_ones_disconnected(
    run_command, start_server, peers
):
    here = AudienceSite(run_command, start_server("--reading-seconds", "0.2"))
    here.add_visitors(3)
    for number in range(200):
        here.add_visitors(1, f"/a/rather/long/path/{number}/{'x' * 1_800}")
    path = f"/api/v1/audience/{HOST}/stream?apikey={here.public_token}&limit="

    def listen(limit: int) -> socket.socket:
        peer = socket.socket()
        if limit == 200:  # it will read nothing
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        peer.settimeout(120)
        peer.connect(("127.0.0.1", here.server.port))
        peer.sendall(f"GET {path}{limit} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        peers.append(peer)
        return peer

    quick = [listen(2) for _ in range(980)]
    wait_for(lambda: figure(here.server, "marquee_sse_listeners") == 980)
    for _ in range(20):
        listen(200)
    for peer in quick:
        peer.setblocking(False)
    heard = dict.fromkeys(quick, 0)
    end = time.monotonic() + 240
    while (
        figure(here.server, "marquee_sse_listeners_dropped_total") < 20 or min(heard.values()) < 3
    ):
        assert time.monotonic() < end
        for peer in quick:
            try:
                while piece := peer.recv(65_536):
                    heard[peer] += piece.count(b"id: ")
            except BlockingIOError:
                continue
    assert figure(here.server, "marquee_sse_listeners_dropped_total") == 20
    wait_for(lambda: figure(here.server, "marquee_sse_listeners") == 980)
    for peer in peers:
        peer.close()
    wait_for(lambda: figure(here.server, "marquee_sse_listeners") == 0)
    assert here.server.stop(signal.SIGTERM) == 0
    assert "Traceback" not in here.server.log

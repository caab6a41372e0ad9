"""Rate limits: off by default; 429 with the limit and Retry-After."""

import contextlib
import http.client
import time

import pytest

from tests.support.events.events_api import EventsApp

EVENT = b'{"session_id":"s","category":"a","name":"b","data":{},"timestamp":"2021-01-01 09:15:27"}'
PATHS = ("/campaigns/1/", "/", "/api/v1/stories/token_1", "/static/marquee.css", "/nowhere")


def problem_of(answer, name: str, most: int, seconds: int) -> None:
    assert answer.status == 429
    assert answer.headers["Content-Type"] in (
        "application/problem+json",
        "text/html; charset=utf-8",
    )
    assert answer.headers["RateLimit-Policy"] == f'"{name}";q={most};w={seconds}'
    assert answer.headers["RateLimit"].startswith(f'"{name}";r=0;t=')
    assert 1 <= int(answer.headers["Retry-After"]) <= seconds


@pytest.mark.parametrize("kind", ["wire", "tornado"])
def test_requests_over_the_address_limit_are_429_until_it_resets(start_server, kind):
    server = start_server("--sample", "--no-traffic", "--rate-per-address", "5/m", "--server", kind)
    statuses = []
    for number in range(7):
        answer = server.request(PATHS[number % len(PATHS)])
        statuses.append(answer.status)
    assert 429 not in statuses[:5]
    assert statuses[5:] == [429, 429]
    problem_of(server.request("/"), "address", 5, 60)
    problem_of(server.request("/campaigns/1/"), "address", 5, 60)
    assert server.request("/healthz").status == 200


def test_responses_have_the_remaining_requests(start_server):
    server = start_server("--sample", "--no-traffic", "--rate-per-address", "3/h")
    limits = [server.request("/campaigns/1/").headers["RateLimit"] for _ in range(3)]
    assert [each.split(";")[1] for each in limits] == ["r=2", "r=1", "r=0"]


LIMITED_PATHS = (
    "/campaigns/1/",
    "/banners/100",
    "/readyz",
    "/nowhere",
    "/static/marquee.css",
    "/events",
)


@pytest.mark.parametrize("kind", ["wire", "tornado"])
def test_deferred_and_error_responses_have_the_limit_fields(start_server, kind):
    server = start_server(
        "--sample", "--no-traffic", "--rate-per-address", "900/h", "--server", kind
    )
    app = EventsApp(server)
    before = 900
    answers = [server.request(path) for path in (*LIMITED_PATHS, "/api/v1/stories/token_1")]
    answers += [
        app.send(EVENT),
        app.send(b"{"),
        app.request("/events"),
        app.send(EVENT, token="mq_1"),
    ]
    for answer in answers:
        assert answer.headers.get_all("RateLimit-Policy") == ['"address";q=900;w=3600']
        (limits,) = answer.headers.get_all("RateLimit")
        left = int(limits.split(";")[1].removeprefix("r="))
        assert left < before
        before = left


def ask_in_two(server, path: str, body: bytes, headers: dict[str, str]):
    """Return the response to a request whose body arrives after its head."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    with contextlib.closing(connection):
        connection.putrequest("POST", path)
        for each in {"Content-Length": str(len(body)), **headers}.items():
            connection.putheader(*each)
        connection.endheaders()
        time.sleep(0.1)
        connection.send(body)
        answer = connection.getresponse()
        answer.read()
        return answer


def test_a_request_refused_by_its_head_counts(start_server):
    server = start_server("--rate-per-address", "3/h")
    answers = [ask_in_two(server, "/events", EVENT, {}) for _ in range(4)]
    assert [answer.status for answer in answers] == [401, 401, 401, 429]
    limits = [answer.headers["RateLimit"].split(";")[1] for answer in answers]
    assert limits == ["r=2", "r=1", "r=0", "r=0"]


def test_a_request_without_the_scope_counts_for_its_token(start_server):
    server = start_server("--rate-per-token", "3/h")
    app = EventsApp(server)
    token = {"Authorization": f"Bearer {app.create_token('read')}"}
    answers = [ask_in_two(server, "/events", EVENT, token) for _ in range(4)]
    assert [answer.status for answer in answers] == [403, 403, 403, 429]
    limits = [answer.headers["RateLimit"].split(";")[1] for answer in answers]
    assert limits == ["r=2", "r=1", "r=0", "r=0"]


def test_a_late_body_is_counted_once(start_server):
    server = start_server("--rate-per-address", "9/h")
    token = {"Authorization": f"Bearer {EventsApp(server).secret_token}"}
    answers = [ask_in_two(server, "/events", EVENT, token) for _ in range(2)]
    assert [answer.status for answer in answers] == [202, 202]
    limits = [answer.headers["RateLimit"].split(";")[1] for answer in answers]
    assert int(limits[0][2:]) - int(limits[1][2:]) == 1


def test_an_unreadable_request_has_the_limit_fields(start_server):
    server = start_server("--rate-per-address", "9/h")
    answer = server.request("/live/toppages/?apikey=%ff")
    assert answer.status == 400
    assert answer.headers["RateLimit"].startswith('"address";r=8;')


@pytest.mark.parametrize("kind", ["wire", "tornado"])
def test_responses_have_the_token_limit_beside_the_address_limit(start_server, kind):
    server = start_server(
        *("--rate-per-address", "900/h", "--rate-per-token", "100/10m", "--server", kind)
    )
    app = EventsApp(server)
    many = b"\n".join([EVENT] * 5_000)  # a stream
    for number, answer in enumerate(
        (app.send(EVENT), app.request("/events"), app.send(many, kind="application/x-ndjson"))
    ):
        policies = ", ".join(answer.headers.get_all("RateLimit-Policy")).split(", ")
        assert sorted(policies) == ['"address";q=900;w=3600', '"token";q=100;w=600']
        limits = ", ".join(answer.headers.get_all("RateLimit")).split(", ")
        assert any(each.startswith(f'"token";r={99 - number};t=') for each in limits)


def test_a_client_is_allowed_again_after_retry_after(start_server):
    server = start_server("--rate-per-address", "2/s")
    assert [server.request("/").status for _ in range(2)] == [200, 200]
    answer = server.request("/")
    if answer.status == 429:
        time.sleep(int(answer.headers["Retry-After"]))
    assert server.request("/").status == 200


@pytest.mark.parametrize("kind", ["wire", "tornado"])
def test_events_over_the_token_limit_count_as_refused(start_server, kind):
    server = start_server("--rate-per-token", "4/h", "--server", kind)
    mine, other = EventsApp(server), EventsApp(server)
    assert [mine.send(EVENT).status for _ in range(3)] == [202, 202, 202]
    many = b"\n".join([EVENT] * 5_000)  # a stream
    assert mine.send(many, kind="application/x-ndjson").status == 202
    problem_of(mine.send(EVENT), "token", 4, 3600)
    problem_of(mine.send(EVENT, kind="application/x-ndjson"), "token", 4, 3600)
    problem_of(mine.send(b'{"click_id":1,"revenue":1}', "/api/v1/conversions"), "token", 4, 3600)
    problem_of(mine.request("/events"), "token", 4, 3600)
    assert other.send(EVENT).status == 202
    time.sleep(0.2)
    counts = mine.counts()
    assert counts["stored"] == 5_004 and counts["refused"] == 3


def test_an_invalid_token_does_not_use_up_a_limit(start_server):
    server = start_server("--rate-per-token", "2/h")
    app = EventsApp(server)
    number = app.secret_token.split("_")[1]
    for _ in range(5):
        assert app.send(EVENT, token=f"mq_{number}_{'x' * 43}").status == 401
    assert app.send(EVENT).status == 202


def test_responses_have_no_limit_fields_without_a_limit(empty_server):
    answer = empty_server.request("/")
    assert "RateLimit" not in answer.headers and "RateLimit-Policy" not in answer.headers


@pytest.mark.parametrize("name", ["--rate-per-address", "--rate-per-token"])
def test_an_invalid_rate_setting_is_refused(run_command, name):
    done = run_command("serve", name, "fast")
    assert done.returncode == 2
    assert "is no rate; give such as 20/s" in done.stderr

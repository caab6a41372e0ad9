"""A server with another one as its upstream, through a proxy that injects faults."""

import asyncio
import contextlib
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.audience.audience_site import HOST, AudienceSite, wait_for
from tests.support.audience.faulty_upstream import FaultyUpstream
from tests.support.server_process import MarqueeProcess

PERIOD = 1.0
# Responses while the upstream hangs. If each waited for it, they would take MANY * DEADLINE.
MANY = 50
FAULTS = ("hang", "reset", "500", "gigabyte", "chunks", "bomb", "bad", "redirect", "drip")


@pytest.fixture
def behind(start_server: Callable[..., MarqueeProcess], tmp_path: Path) -> MarqueeProcess:
    """The upstream server, which receives beacons."""
    return start_server("--reading-seconds", "0.5", data=tmp_path / "behind")


@pytest.fixture
def faulty(behind: MarqueeProcess) -> Iterator[FaultyUpstream]:
    between = FaultyUpstream(behind.port)
    yield between
    between.close()


def figure(server: MarqueeProcess, name: str) -> float:
    text = server.request("/metrics").text
    return float(re.findall(rf"(?m)^{name} (\S+)", text)[0])


def above(server: MarqueeProcess, name: str, value: float) -> None:
    """Wait until a metric exceeds `value`."""
    wait_for(lambda: figure(server, name) > value)


@pytest.mark.parametrize("version", ["legacy", "v3"])
def test_a_server_follows_its_upstream_server(
    run_command: object,
    start_server: Callable[..., MarqueeProcess],
    behind: MarqueeProcess,
    version: str,
) -> None:
    site = AudienceSite(run_command, behind)
    front = start_server(
        "--reading-seconds", "0.5", "--upstream-version", version,
        MARQUEE_UPSTREAM=f"http://127.0.0.1:{behind.port}",
    )  # fmt: skip
    site.add_visitors(3, "/a")
    site.add_visitors(2, "/b")
    assert site.get_increasing(front).json() == []
    site.add_visitors(9, "/a")
    response = wait_for(lambda: site.get_increasing(front).json())
    assert {page["i"] for page in response} == {"/a"}
    pages = {page["path"]: page["visitors"] for page in site.get_rising(front)["pages"]}
    assert pages == {"/a": 9, "/b": 2}
    # Both servers reject what the upstream does not know.
    for query in (
        f"apikey=nobody&host={HOST}",
        f"apikey={site.public_token}&host=other.example.com",
    ):
        answer = front.request(f"/api/v1.0/increasingconcurrents?{query}")
        assert (answer.status, answer.json()["status"]) == (400, 400)
    assert front.request(f"/api/v1.0/increasingconcurrents?host={HOST}").status == 401


class Visitor(threading.Thread):
    """Requests a page and the increasing concurrents in turn, and counts the responses."""

    def __init__(self, site: AudienceSite, front: MarqueeProcess) -> None:
        super().__init__()
        self._site, self._front = site, front
        self.over = threading.Event()
        self.answers = 0
        self.ages: list[int] = []
        self.statuses: Counter[int] = Counter()

    def run(self) -> None:
        connection = self._front.connect()
        asked = f"/api/v1.0/increasingconcurrents?apikey={self._site.public_token}&host={HOST}"
        while not self.over.wait(0.005):
            for path in ("/campaigns/1/", asked):
                connection.request("GET", path)
                answer = connection.getresponse()
                answer.read()
                self.answers += 1
                self.statuses[answer.status] += 1
                if path == asked:
                    self.ages.append(int(answer.headers["Age"]))
        connection.close()


def memory(server: MarqueeProcess) -> int:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0])


def test_upstream_failures_do_not_slow_visitors_down(
    run_command: object,
    start_server: Callable[..., MarqueeProcess],
    behind: MarqueeProcess,
    faulty: FaultyUpstream,
) -> None:
    site = AudienceSite(run_command, behind)
    front = start_server("--sample", "--reading-seconds", str(PERIOD), "--upstream", faulty.address)
    site.add_visitors(3, "/a")
    assert site.get_increasing(front).json() == []
    visitor = Visitor(site, front)
    visitor.start()
    try:
        wait_for(lambda: visitor.answers > MANY)
        before = memory(front)
        for fault in FAULTS:
            failed = figure(front, "marquee_readings_failed_total")
            visitor.ages.clear()
            faulty.mode = fault
            answered = visitor.answers
            above(front, "marquee_readings_failed_total", failed)
            wait_for(lambda: visitor.answers > answered + MANY)  # noqa: B023
            wait_for(lambda: max(visitor.ages, default=0) >= 1)
            # The response has the last reading, marked as stale.
            response = site.get_rising(front)
            assert response["pages"][0]["visitors"] == 3
            assert response["age"] >= PERIOD
            readings = figure(front, "marquee_readings_total")
            faulty.mode = "pass"
            above(front, "marquee_readings_total", readings)
            wait_for(lambda: not site.get_rising(front)["stale"])
        assert memory(front) - before < 40_000
    finally:
        visitor.over.set()
        visitor.join(120)
    assert visitor.statuses.keys() == {200}
    assert faulty.max_concurrent == 1
    assert faulty.redirected_requests == 0
    assert front.stop() == 0
    assert "Traceback" not in front.log


def test_a_429_of_the_upstream_pauses_requests_to_it(
    run_command: object,
    start_server: Callable[..., MarqueeProcess],
    behind: MarqueeProcess,
    faulty: FaultyUpstream,
) -> None:
    site = AudienceSite(run_command, behind)
    front = start_server("--reading-seconds", "0.5", "--upstream", faulty.address)
    assert site.get_increasing(front).json() == []
    faulty.retry_after = "3"
    faulty.mode = "429"
    failed = figure(front, "marquee_readings_failed_total")
    above(front, "marquee_readings_failed_total", failed)
    started = time.monotonic()
    faulty.mode = "pass"
    asked = len(faulty.requests)
    wait_for(lambda: len(faulty.requests) > asked)
    assert time.monotonic() - started > 2.4
    assert site.get_increasing(front).status == 200


def test_an_upstream_without_any_reading_is_503(
    run_command: object,
    start_server: Callable[..., MarqueeProcess],
    behind: MarqueeProcess,
    faulty: FaultyUpstream,
) -> None:
    site = AudienceSite(run_command, behind)
    front = start_server("--reading-seconds", "1", "--upstream", faulty.address)
    faulty.mode = "500"
    for _ in range(20):
        answer = site.get_increasing(front)
        assert answer.status == 503
        assert int(answer.headers["Retry-After"]) >= 1
    assert site.get(f"/live/{HOST}", server=front).status == 503
    assert len(faulty.requests) < 8
    faulty.mode = "pass"
    wait_for(lambda: site.get_increasing(front).status == 200)
    assert site.public_token not in front.log


def test_a_thousand_requests_to_a_cold_server_cost_one_upstream_request(
    run_command: object,
    start_server: Callable[..., MarqueeProcess],
    behind: MarqueeProcess,
    faulty: FaultyUpstream,
) -> None:
    site = AudienceSite(run_command, behind)
    front = start_server("--upstream", faulty.address)
    faulty.delay_seconds = 1.0
    request = (
        f"GET /api/v1.0/increasingconcurrents?apikey={site.public_token}&host={HOST} HTTP/1.1\r\n"
    )

    async def ask(ready: asyncio.Semaphore) -> bytes:
        async with ready:
            reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.write(request.encode() + b"Host: a\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        writer.close()
        return answer

    async def all_of_them() -> list[bytes]:
        ready = asyncio.Semaphore(200)
        return await asyncio.gather(*(ask(ready) for _ in range(1_000)))

    answers = asyncio.run(all_of_them())
    assert all(each.startswith(b"HTTP/1.1 200") and each.endswith(b"[]") for each in answers)
    assert len(faulty.requests) == 1


def test_invented_keys_and_hosts_do_not_reach_the_upstream(
    run_command: object,
    start_server: Callable[..., MarqueeProcess],
    behind: MarqueeProcess,
    faulty: FaultyUpstream,
) -> None:
    site = AudienceSite(run_command, behind)
    front = start_server("--reading-seconds", "0.5", "--upstream", faulty.address)
    site.add_visitors(3, "/a")
    faulty.known_sites = {(site.public_token, HOST)}
    assert site.get_increasing(front).json() == []
    with contextlib.closing(front.connect()) as connection:
        for number in range(3_000):
            query = (f"apikey={number}&host={HOST}", f"apikey={site.public_token}&host=h{number}")
            connection.request("GET", f"/api/v1.0/increasingconcurrents?{query[number % 2]}")
            answer = connection.getresponse()
            answer.read()
            assert answer.status in (400, 503)
    made_up = [each for each in faulty.requests if each[1:] != (site.public_token, HOST)]
    assert 1 <= len(made_up) <= 20
    readings = figure(front, "marquee_readings_total")
    above(front, "marquee_readings_total", readings + 3)
    assert not site.get_rising(front)["stale"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [(f"/api/v1/audience/{HOST}/stream", '"stale":true'), (f"/live/{HOST}/stream", ">stale<")],
)
def test_a_stream_reports_a_stale_reading(
    run_command: object,
    start_server: Callable[..., MarqueeProcess],
    behind: MarqueeProcess,
    faulty: FaultyUpstream,
    path: str,
    expected: str,
) -> None:
    site = AudienceSite(run_command, behind)
    site.add_visitors(3, "/a")
    front = start_server("--reading-seconds", "0.5", "--upstream", faulty.address)
    assert site.get_increasing(front).status == 200
    with contextlib.closing(front.connect()) as connection:
        connection.request("GET", f"{path}?apikey={site.public_token}")
        answer = connection.getresponse()
        assert answer.status == 200
        faulty.mode = "500"
        lines = iter(lambda: answer.readline().decode(), "")
        assert next(line for line in lines if expected in line).startswith("data: ")
        faulty.mode = "pass"
        assert next(line for line in lines if line.startswith("id: "))
        answer.close()


@pytest.mark.long
def test_a_host_gets_at_most_two_hundred_upstream_requests_per_minute(
    run_command: object,
    start_server: Callable[..., MarqueeProcess],
    behind: MarqueeProcess,
    faulty: FaultyUpstream,
) -> None:
    sites = [AudienceSite(run_command, behind, f"Site {number}") for number in range(30)]
    front = start_server("--reading-seconds", "0.5", "--upstream", faulty.address)
    end = time.monotonic() + 150
    while time.monotonic() < end:
        for site in sites:
            assert site.get_increasing(front).status in (200, 503)
        time.sleep(0.5)
    moments = [moment for moment, _, host in faulty.requests if host == HOST]
    busiest = max(sum(first <= each < first + 60 for each in moments) for first in moments)
    assert 150 < busiest <= 200
    assert len({key for _, key, _ in faulty.requests}) == 30

"""Campaign pages, clicks, images and candidates over HTTP."""

import itertools
import math
import re
import signal
import time
from collections import Counter

import pytest

BANNER = re.compile(r'src="/banners/(\d+)"')


def banner(answer) -> int:
    return int(BANNER.search(answer.text)[1])


def candidates(server, campaign: int, slot: int | None = None) -> list[int]:
    query = f"?slot={slot}" if slot else ""
    found = server.request(f"/api/v1/campaigns/{campaign}/candidates{query}").json()
    return [each["banner"] for each in found["banners"]]


def test_a_campaign_page_shows_a_candidate_and_is_not_cached(sample_server):
    answer = sample_server.request("/campaigns/1/")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-store"
    assert "<title>Campaign 1</title>" in answer.text
    assert banner(answer) in candidates(sample_server, 1)


def test_a_trailing_slash_makes_no_difference(sample_server):
    assert (
        sample_server.request("/campaigns/1").status
        == sample_server.request("/campaigns/1/").status
        == 200
    )


def test_ten_thousand_views_never_repeat_and_are_evenly_distributed(sample_server):
    connection = sample_server.connect()
    seen: list[int] = []
    cookie = ""
    for _ in range(10_000):
        connection.request("GET", "/campaigns/1/", headers={"Cookie": cookie} if cookie else {})
        response = connection.getresponse()
        text = response.read().decode()
        cookie = response.headers["Set-Cookie"].partition(";")[0]
        seen.append(int(BANNER.search(text)[1]))
    connection.close()
    assert all(a != b for a, b in itertools.pairwise(seen))
    # The slot may have changed in between: then there are two sets of banners, one after the other.
    for slot_views in split_by_set(seen, sample_server):
        counts = Counter(slot_views)
        expected = len(slot_views) / len(counts)
        for count in counts.values():
            assert abs(count - expected) < 5 * math.sqrt(expected)


def split_by_set(seen: list[int], server) -> list[list[int]]:
    for slot in (1, 2, 3, 4):
        group = set(candidates(server, 1, slot))
        following = set(candidates(server, 1, slot % 4 + 1))
        if set(seen) == group:
            return [seen]
        if set(seen) <= group | following and seen[0] in group and seen[-1] in following:
            cut = next(i for i, each in enumerate(seen) if each not in group)
            return [part for part in (seen[:cut], seen[cut:]) if len(part) > 1000]
    raise AssertionError("what was shown is no slot's set")


def test_the_cookie_has_the_path_of_its_campaign_and_lasts_an_hour(sample_server):
    cookie = sample_server.request("/campaigns/2/").headers["Set-Cookie"]
    assert re.fullmatch(
        r"mq_last_2=\d+; Path=/campaigns/2; Max-Age=3600; HttpOnly; SameSite=Lax", cookie
    )


@pytest.mark.parametrize(
    "value", ["0", "-1", "99999999999999999999999", "x", '"', "%00", "é", "1;2", "", "1" * 4000]
)
def test_a_forged_cookie_is_ignored(sample_server, value):
    answer = sample_server.request(
        "/campaigns/1/", Cookie=f"mq_last_1={value}".encode().decode("latin-1")
    )
    assert answer.status == 200


def test_the_cookie_of_another_campaign_is_ignored(sample_server):
    shown = candidates(sample_server, 1)
    cookies = "; ".join(f"mq_last_2={each}" for each in shown)
    seen = {banner(sample_server.request("/campaigns/1/", Cookie=cookies)) for _ in range(200)}
    assert len(seen) > 1


@pytest.mark.parametrize(
    "path",
    [
        "/campaigns/999999/",
        "/campaigns/01/",
        "/campaigns/99999999999999999999/",
        "/campaigns/x/",
        "/campaigns/",
    ],
)
def test_an_unknown_campaign_is_a_404_page(sample_server, path):
    answer = sample_server.request(path)
    assert answer.status == 404
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "Not Found" in answer.text


@pytest.mark.parametrize(
    "path",
    [
        *("/campaigns/1/", "/banners/101", "/", "/readyz", "/static/marquee.css"),
        "/api/v1/campaigns/1/candidates",
    ],
)
def test_head_has_the_headers_and_no_body(sample_server, path):
    answer = sample_server.request(path, "HEAD")
    assert answer.status == 200
    assert answer.body == b""
    assert int(answer.headers["Content-Length"]) > 100
    assert answer.headers["Content-Type"] == sample_server.request(path).headers["Content-Type"]
    assert "HEAD" in sample_server.request(path, "OPTIONS").headers["Allow"]


def test_an_unsupported_method_of_a_page_is_405_with_allow(sample_server):
    answer = sample_server.request("/campaigns/1/", "DELETE")
    assert answer.status == 405
    assert {"GET", "HEAD"} <= set(answer.headers["Allow"].split(", "))


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/campaigns/1/", "/campaigns/0/", "/banners/101", "/nothing", "/readyz", "/metrics"),
        *("/static/marquee.css", "/static/none.css", "/favicon.ico"),
    ],
)
def test_every_response_has_the_security_headers(sample_server, path):
    headers = sample_server.request(path).headers
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "Server" not in headers


@pytest.mark.parametrize(
    "path", ["", "none.css", "../server.py", "%2e%2e/server.py", "/etc/passwd", "%00", "a%00.css"]
)
def test_only_static_files_are_served_and_attempts_are_not_logged(sample_server, path):
    answer = sample_server.request(f"/static/{path}")
    assert answer.status in {403, 404}
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert "/static/" not in sample_server.log


def test_client_errors_are_not_logged(sample_server):
    assert (
        sample_server.request("/api/v1/campaigns/1/candidates?slot=%FF&apikey=quiet").status == 400
    )
    assert "quiet" not in sample_server.log


def test_a_click_redirects_to_the_stored_target_or_the_page(sample_server):
    found = Counter()
    for campaign in range(1, 9):
        for each in candidates(sample_server, campaign):
            answer = sample_server.request(f"/campaigns/{campaign}/banners/{each}/click")
            assert answer.status == 302
            assert answer.headers["Cache-Control"] == "no-store"
            location = answer.headers["Location"]
            if location == f"/campaigns/{campaign}/":
                found["back"] += 1
            else:
                assert location.startswith(("http://", "https://"))
                found["away"] += 1
    assert found["away"]
    assert found["back"]


@pytest.mark.parametrize("query", ["?url=https://evil.example", "?next=//evil.example"])
def test_a_click_never_redirects_to_a_url_of_the_request(sample_server, query):
    each = candidates(sample_server, 1)[0]
    answer = sample_server.request(f"/campaigns/1/banners/{each}/click{query}", Host="evil.example")
    assert "evil" not in answer.headers["Location"]


@pytest.mark.parametrize(
    "path", ["/campaigns/1/banners/999999/click", "/campaigns/999/banners/1/click"]
)
def test_a_click_on_an_unknown_banner_is_a_404_page(sample_server, path):
    answer = sample_server.request(path)
    assert answer.status == 404
    assert answer.headers["Content-Type"].startswith("text/html")


def test_an_image_has_the_type_of_its_bytes_and_an_etag(sample_server):
    each = candidates(sample_server, 1)[0]
    answer = sample_server.request(f"/banners/{each}")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "image/svg+xml"
    assert "max-age=" in answer.headers["Cache-Control"]
    again = sample_server.request(f"/banners/{each}", If_None_Match=answer.headers["ETag"])
    assert (again.status, again.body) == (304, b"")
    assert again.headers["ETag"] == answer.headers["ETag"]
    assert sample_server.request(f"/banners/{each}", If_None_Match='"other"').status == 200


@pytest.mark.parametrize("banner", [0, 99999999, 2**63 - 1, 2**63, 9999999999999999999])
def test_an_unknown_banner_has_no_image(sample_server, banner):
    assert sample_server.request(f"/banners/{banner}").status == 404


def test_candidates_without_a_token_have_no_stats(sample_server):
    answer = sample_server.request("/api/v1/campaigns/1/candidates?slot=2")
    found = answer.json()
    assert found["campaign"] == 1
    assert found["slot"] == 2
    assert found["rule"]
    assert all(set(each) == {"banner", "why"} for each in found["banners"])


@pytest.mark.parametrize("slot", ["0", "5", "x", "", "1.0", "²", " 1"])
def test_an_invalid_slot_is_422(sample_server, slot):
    from urllib.parse import quote

    answer = sample_server.request(f"/api/v1/campaigns/1/candidates?slot={quote(slot)}")
    assert answer.status == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert "1, 2, 3 or 4" in answer.json()["detail"]
    assert [each["pointer"] for each in answer.json()["errors"]] == ["/slot"]


@pytest.mark.parametrize(
    ("path", "status"),
    [("/api/v1/campaigns/999/candidates", 404), ("/api/v1/nothing", 404)],
)
def test_an_api_error_has_problem_details(sample_server, path, status):
    answer = sample_server.request(path)
    assert answer.status == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert set(answer.json()) >= {"type", "title", "status", "detail"}
    assert answer.json()["status"] == status


@pytest.mark.parametrize("token", ["Bearer mq_1_wrong", "Bearer", "Basic abc", "mq_1_x"])
def test_an_invalid_optional_token_is_401(sample_server, token):
    answer = sample_server.request("/api/v1/campaigns/1/candidates", Authorization=token)
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def views(server, token: str) -> int:
    """Return the impressions of campaign 1 that a read token sees."""
    rows = (
        each
        for slot in (1, 2, 3, 4)
        for each in server.request(
            f"/api/v1/campaigns/1/candidates?slot={slot}", Authorization=f"Bearer {token}"
        ).json()["banners"]
    )
    return sum(each["impressions"] for each in rows)


def test_impressions_are_on_disk_within_a_second(start_server):
    server = start_server("--sample")
    time.sleep(0.2)
    token = re.search(r"mq_[\w-]+", "".join(server.stdout_lines))[0]
    before = views(server, token)
    for _ in range(25):
        server.request("/campaigns/1/")
    server.request("/campaigns/1/", "HEAD")
    time.sleep(1.2)
    assert views(server, token) == before + 25
    server.stop(signal.SIGKILL)
    server = start_server()
    assert views(server, token) == before + 25
    for _ in range(5):
        server.request("/campaigns/1/")
    assert server.stop() == 0
    assert views(start_server(), token) == before + 30

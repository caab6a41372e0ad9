"""Object-level access: a token of one app reaches nothing of another, whatever it names."""

import re
from typing import Any

import pytest

from tests.support.web.admin_session import AdminBrowser, page_text
from tests.support.web.attack_target import AttackTarget, attack_event


class Other:
    """Another app, with an event, a reject and a rule of its own."""

    def __init__(self, target: AttackTarget) -> None:
        page = target.owner.post("/admin/apps", name="Victim", hosts="victim.example")
        self.id = re.search(r"/admin/apps/(\d+)", page.text)[1]
        self.token = re.search(r'id="token">([^<]+)<', page.text)[1]
        sent = [
            attack_event(category="victim", session_id="victims-session"),
            attack_event(timestamp="never"),
        ]
        stored, _ = target.call("/events", "POST", sent, token=self.token).json()["results"]
        self.event = stored["id"]
        listed = target.call("/rejected-events", token=self.token).json()["rejected_events"]
        self.reject = listed[0]["id"]


@pytest.fixture(scope="module")
def other(target) -> Other:
    return Other(target)


# What is asked for, with which body, and what may be answered to who has no right to it.
REACHES: dict[str, tuple[str, str, Any, set[int]]] = {
    "its event": ("GET", "/events/{event}", None, {404}),
    "its event, replaced": ("PUT", "/events/{event}", attack_event(), {404}),
    "its event, deleted": ("DELETE", "/events/{event}", None, {404}),
    "its events": ("GET", "/events?app={app}", None, {403}),
    "its export": ("GET", "/events/export?app={app}", None, {403}),
    "its rejects": ("GET", "/rejected-events?app={app}", None, {403}),
    "its reject, replayed": ("POST", "/rejected-events/{reject}/replay", None, {404}),
    "its session": ("DELETE", "/events?session_id=victims-session&app={app}", None, {403}),
    "its rule": ("PUT", "/api/v1/schemas/victim/attack?app={app}", {}, {403}),
    "its click, converted": (
        "POST", "/api/v1/conversions", {"click_id": "{event}", "revenue": 1}, {404, 409, 422}),
}  # fmt: skip


@pytest.mark.parametrize("what", REACHES)
def test_a_token_reaches_nothing_of_another_app(target, other, what):
    method, path, body, statuses = REACHES[what]
    place = path.format(app=other.id, event=other.event, reject=other.reject)
    if isinstance(body, dict) and "click_id" in body:
        body = {**body, "click_id": other.event}
    response = target.call(place, method, body)
    assert response.status in statuses, response.text
    assert "victim" not in response.text.replace("victims-session", "")
    # All of it is still there.
    found = target.call(f"/events/{other.event}", token=other.token).json()
    assert (found["category"], found["session_id"]) == ("victim", "victims-session")
    assert target.call("/rejected-events", token=other.token).json()["rejected_events"]


@pytest.mark.parametrize("path", ["/events", "/rejected-events", "/events/export?format=ndjson"])
def test_what_it_lists_is_its_own(target, other, path):
    target.send(attack_event(category="mine"), attack_event(timestamp="never"))
    response = target.call(path)
    assert response.status == 200
    assert "victim" not in response.text and f'"app":{other.id},' not in response.text


def test_a_session_of_the_same_name_is_forgotten_of_ones_own_alone(target, other):
    target.send(attack_event(session_id="victims-session"))
    gone = target.call("/events?session_id=victims-session", "DELETE").json()
    assert gone["events"] == 1
    assert target.call(f"/events/{other.event}", token=other.token).status == 200


def test_the_owners_pages_do_not_know_tokens(target, other):
    for token in (other.token, target.admin_token):
        visitor = AdminBrowser(target.server)
        for cookie in ("", f"mq_owner={token}"):
            visitor.cookie = cookie
            response = visitor.get(f"/admin/apps/{other.id}", Authorization=f"Bearer {token}")
            assert response.status == 303 and "Victim" not in page_text(response)

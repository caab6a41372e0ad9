"""Object-level access: a token of one app cannot access data of another app."""

from typing import Any

import pytest

from tests.support.web.admin_session import AdminBrowser, find_text, page_text
from tests.support.web.attack_target import AttackTarget, attack_event


class VictimApp:
    """Another app with an event and a rejected event."""

    def __init__(self, target: AttackTarget) -> None:
        page = target.owner.post("/admin/apps", name="Victim", hosts="victim.example")
        self.id = find_text(r"/admin/apps/(\d+)", page)
        self.token = find_text(r'id="token">([^<]+)<', page)
        sent = [
            attack_event(category="victim", session_id="victims-session"),
            attack_event(timestamp="never"),
        ]
        stored, _ = target.call("/events", "POST", sent, token=self.token).json()["results"]
        self.event = stored["id"]
        listed = target.call("/rejected-events", token=self.token).json()["rejected_events"]
        self.rejected = listed[0]["id"]


@pytest.fixture(scope="module")
def victim_app(target) -> VictimApp:
    return VictimApp(target)


# Method, path, body and expected statuses of each attempt.
ATTEMPTS: dict[str, tuple[str, str, Any, set[int]]] = {
    "its event": ("GET", "/events/{event}", None, {404}),
    "its event, replaced": ("PUT", "/events/{event}", attack_event(), {404}),
    "its event, deleted": ("DELETE", "/events/{event}", None, {404}),
    "its events": ("GET", "/events?app={app}", None, {403}),
    "its export": ("GET", "/events/export?app={app}", None, {403}),
    "its rejected events": ("GET", "/rejected-events?app={app}", None, {403}),
    "its rejected event, replayed": ("POST", "/rejected-events/{rejected}/replay", None, {404}),
    "its session": ("DELETE", "/events?session_id=victims-session&app={app}", None, {403}),
    "its schema": ("PUT", "/api/v1/schemas/victim/attack?app={app}", {}, {403}),
    "its click, converted": (
        "POST", "/api/v1/conversions", {"click_id": "{event}", "revenue": 1}, {404, 409, 422}),
}  # fmt: skip


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_token_cannot_access_another_app(target, victim_app, attempt):
    method, path, body, statuses = ATTEMPTS[attempt]
    path = path.format(app=victim_app.id, event=victim_app.event, rejected=victim_app.rejected)
    if isinstance(body, dict) and "click_id" in body:
        body = {**body, "click_id": victim_app.event}
    response = target.call(path, method, body)
    assert response.status in statuses, response.text
    assert "victim" not in response.text.replace("victims-session", "")
    # The data of the other app is unchanged.
    event = target.call(f"/events/{victim_app.event}", token=victim_app.token).json()
    assert (event["category"], event["session_id"]) == ("victim", "victims-session")
    assert target.call("/rejected-events", token=victim_app.token).json()["rejected_events"]


@pytest.mark.parametrize("path", ["/events", "/rejected-events", "/events/export?format=ndjson"])
def test_lists_contain_only_own_events(target, victim_app, path):
    target.send(attack_event(category="mine"), attack_event(timestamp="never"))
    response = target.call(path)
    assert response.status == 200
    assert "victim" not in response.text and f'"app":{victim_app.id},' not in response.text


def test_erasing_a_session_keeps_another_apps_session(target, victim_app):
    target.send(attack_event(session_id="victims-session"))
    erased = target.call("/events?session_id=victims-session", "DELETE").json()
    assert erased["events"] == 1
    assert target.call(f"/events/{victim_app.event}", token=victim_app.token).status == 200


def test_admin_pages_do_not_accept_tokens(target, victim_app):
    for token in (victim_app.token, target.admin_token):
        browser = AdminBrowser(target.server)
        for cookie in ("", f"mq_owner={token}"):
            browser.cookie = cookie
            response = browser.get(f"/admin/apps/{victim_app.id}", Authorization=f"Bearer {token}")
            assert response.status == 303 and "Victim" not in page_text(response)

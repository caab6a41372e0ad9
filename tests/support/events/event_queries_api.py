"""Send events and find them through the events API."""

from typing import Any

from tests.support.events.events_api import EventsApp
from tests.support.events.hostile_bodies import event_body


def send_events(app: EventsApp, *events: bytes) -> list[str]:
    """Send events in one batch and return their ids."""
    results = app.send(b"\n".join(events), kind="application/x-ndjson").json()["results"]
    return event_ids(results)


def find_events(app: EventsApp, query: str = "", **options: Any) -> list[dict[str, Any]]:
    response = app.request(f"/events?{query}", **options)
    assert response.status == 200, response.text
    events: list[dict[str, Any]] = response.json()["events"]
    return events


def event_ids(events: list[dict[str, Any]]) -> list[str]:
    return [event["id"] for event in events]


def event_at_second(second: int, **members: Any) -> bytes:
    """Return the body of an event named `asked` at a second of 2021-01-01 00:00."""
    return event_body(timestamp=f"2021-01-01 00:00:{second:02}", name="asked", **members)

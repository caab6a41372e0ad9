"""Send events and find them through the events API."""

from tests.support.events.hostile_bodies import event_body


def send_events(app, *events):
    """Their ids."""
    answer = app.send(b"\n".join(events), kind="application/x-ndjson").json()
    return [each["id"] for each in answer["results"]]


def find_events(app, query="", **more):
    answer = app.request(f"/events?{query}", **more)
    assert answer.status == 200, answer.text
    return answer.json()["events"]


def event_ids(events):
    return [each["id"] for each in events]


def event_at_second(second, **members):
    return event_body(timestamp=f"2021-01-01 00:00:{second:02}", name="asked", **members)

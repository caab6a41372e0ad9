"""Send events and find them through the events API."""

from tests.support.events.hostile_bodies import body


def send(app, *events):
    """Their ids."""
    answer = app.send(b"\n".join(events), kind="application/x-ndjson").json()
    return [each["id"] for each in answer["results"]]


def found(app, query="", **more):
    answer = app.ask(f"/events?{query}", **more)
    assert answer.status == 200, answer.text
    return answer.json()["events"]


def ids(events):
    return [each["id"] for each in events]


def at(second, **members):
    return body(timestamp=f"2021-01-01 00:00:{second:02}", name="asked", **members)

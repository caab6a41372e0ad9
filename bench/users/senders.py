"""Applications that send events, one by one and in lines, repeat some, and look them up.

`python bench/senders.py` runs this against a server of its own.
"""

import json
import os
import random
import uuid
from datetime import UTC, datetime
from typing import Any

from locust import FastHttpUser, between, task

WHO = {"Authorization": f"Bearer {os.environ['TOKEN']}"}
PLACE = {"host": "www.example.com", "path": "/"}
KINDS = (
    ("page interaction", "pageview", PLACE),
    ("page interaction", "cta click", PLACE | {"element": "chat bubble"}),
    ("form interaction", "submit", PLACE | {"form": {"first_name": "John", "last_name": "Doe"}}),
)


class Sender(FastHttpUser):
    """One application's worker, with a session at a time."""

    wait_time = between(0.01, 0.1)

    def on_start(self) -> None:
        """A visitor has come."""
        self.session = str(uuid.uuid4())
        self.sent: dict[str, dict[str, Any]] = {}  # by the ids that were given

    @task(20)
    def one(self) -> None:
        """Send one event."""
        event = self.event()
        with self.post(json.dumps(event), "application/json", "POST /events") as answer:
            if answer.status_code == 202:
                self.sent[answer.json()["id"]] = event
            else:
                answer.failure(f"answered {answer.status_code}: {answer.text}")

    @task(5)
    def again(self) -> None:
        """Send an event again whose answer is taken for lost: it is the same one."""
        if not self.sent:
            return
        number, event = random.choice([*self.sent.items()])
        with self.post(json.dumps(event), "application/json", "POST /events, again") as answer:
            if answer.status_code != 202 or answer.json()["id"] != number:
                answer.failure(f"answered {answer.status_code}: {answer.text}")

    @task(5)
    def lines(self) -> None:
        """Send some in lines."""
        some = [self.event() for _ in range(random.randrange(2, 50))]
        body = "\n".join(map(json.dumps, some))
        with self.post(body, "application/x-ndjson", "POST /events, in lines") as answer:
            if answer.status_code != 202:
                answer.failure(f"answered {answer.status_code}: {answer.text}")
                return
            for event, result in zip(some, answer.json()["results"], strict=True):
                if result["status"] == "accepted":
                    self.sent[result["id"]] = event
                else:
                    answer.failure(f"an item was {result}")

    @task(3)
    def look(self) -> None:
        """Look the session up: all that was accepted is there, just once; then a new one comes."""
        path = f"/events?limit=1000&session_id={self.session}"
        name = "GET /events?session_id="
        with self.client.get(path, name=name, headers=WHO, catch_response=True) as answer:
            found = [each["id"] for each in answer.json()["events"]]
            if sorted(found) != sorted(self.sent):
                answer.failure(f"{len(self.sent)} were accepted and {len(found)} are found")
        if len(self.sent) > 500:
            self.on_start()

    def on_stop(self) -> None:
        """Nothing may be missing in the end."""
        self.look()

    def event(self) -> dict[str, Any]:
        """An event of now."""
        category, name, data = random.choice(KINDS)
        return {
            "session_id": self.session,
            "category": category,
            "name": name,
            "data": data,
            "timestamp": datetime.now(UTC).isoformat(),
            "sender_id": str(uuid.uuid4()),
        }

    def post(self, body: str, kind: str, name: str) -> Any:
        """The answer, to be looked at."""
        headers = {"Content-Type": kind, **WHO}
        return self.client.post("/events", body, headers=headers, name=name, catch_response=True)

"""Sends events to Marquee from a Python program: one file, which needs the standard library alone.

    from marquee_client import Client

    events = Client("https://marquee.example.com", "mq_1_…")
    events.send("e2085be5-9137-4e4e-80b5-f1ffddc25423", "page interaction", "pageview",
                {"host": "www.example.com", "path": "/"})

`send` never waits and never raises for what a network or a server does: events are gathered in
memory and sent in batches by a thread of their own, again and again under the same `sender_id`
until the server has said yes, so that each is stored once. What is waiting when the program ends is
sent then, for at most `exit_seconds`. What could not be sent is counted and logged, never hidden.
"""

import atexit
import http.client
import json
import logging
import os
import random
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any
from urllib.parse import urlsplit

__all__ = ["Client", "Counts"]

log = logging.getLogger("marquee_client")

# What is not worth trying again as it is: the server has understood, and will not take it.
_REFUSED = frozenset({400, 404, 405, 409, 411, 414, 415, 422, 431})
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 30.0
# Of its own, as a program's `random` may have been seeded for a purpose.
_chance = random.SystemRandom()


@dataclass(frozen=True)
class Counts:
    """What has become of the events so far; `waiting` are those not yet decided."""

    accepted: int
    duplicate: int
    rejected: int
    dropped: int
    waiting: int


class Client:
    """Gathers events and sends them from a thread of its own.

    `url` is the server's address, `token` a secret token with the scope `write`. A batch is sent
    when it has `batch` events or its first has waited `linger` seconds. At most `capacity` events
    wait in memory; those beyond it are dropped, and counted. `on_reject(event, errors)` is called,
    from that thread, for each event that the server rejects.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        batch: int = 100,
        linger: float = 0.2,
        capacity: int = 10_000,
        timeout: float = 10.0,
        exit_seconds: float = 5.0,
        on_reject: Callable[[dict[str, Any], Any], object] | None = None,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is no http or https address")
        self._secure = parts.scheme == "https"
        self._host, self._port = parts.hostname, parts.port
        self._path = parts.path.rstrip("/") + "/api/v1/events"
        self._headers = {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/x-ndjson",
            "User-Agent": "marquee-client/1",
        }
        self._batch, self._linger, self._capacity = max(1, batch), linger, capacity
        self._timeout, self._exit_seconds = timeout, exit_seconds
        self._on_reject = on_reject
        self._accepted = self._duplicate = self._rejected = self._dropped = 0
        self._told = False
        self._closed = self._over = False
        self._begin()
        _clients.add(self)

    def _begin(self) -> None:
        # Made anew in a child process, which has neither the thread nor a right to the events.
        self._waiting: deque[tuple[bytes, dict[str, Any]]] = deque()
        self._under_way = 0
        self._hurry = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._connection: http.client.HTTPConnection | None = None

    def send(
        self,
        session_id: str,
        category: str,
        name: str,
        data: Mapping[str, Any],
        timestamp: datetime | None = None,
        sender_id: str | None = None,
    ) -> bool:
        """Take an event to be sent; False if there is no room, or the client is closed.

        `timestamp` is now if not given; one without a zone is UTC. Raises TypeError or ValueError
        for what is no JSON, here where the mistake was made.
        """
        event = {
            "session_id": session_id,
            "category": category,
            "name": name,
            "data": dict(data),
            "timestamp": _moment(timestamp or datetime.now(timezone.utc)),  # noqa: UP017
            "sender_id": sender_id or uuid7(),
        }
        line = json.dumps(event, allow_nan=False, separators=(",", ":")).encode()
        with self._changed:
            if self._closed or len(self._waiting) + self._under_way >= self._capacity:
                self._dropped += 1
                if not self._told:
                    why = "it is closed" if self._closed else f"{self._capacity} are waiting"
                    log.warning("events are dropped: %s", why)
                    self._told = True
                return False
            self._told = False
            self._waiting.append((line, event))
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="marquee-client", daemon=True
                )
                self._thread.start()
            elif len(self._waiting) in (1, self._batch):
                self._changed.notify_all()
        return True

    def flush(self, seconds: float = 10.0) -> bool:
        """Send what is waiting, without lingering; whether all of it was decided in time."""
        with self._changed:
            self._hurry = True
            self._changed.notify_all()
            done = self._changed.wait_for(self._is_empty, seconds)
            self._hurry = False
        return done

    def close(self, seconds: float | None = None) -> bool:
        """Take no more events and flush, for `exit_seconds` if not said; whether all went."""
        with self._changed:
            self._closed = True
        done = self.flush(self._exit_seconds if seconds is None else seconds)
        with self._changed:
            self._over = True
            self._changed.notify_all()
        if not done:
            log.error("not sent when the program ended: %d events", self.counts.waiting)
        return done

    @property
    def counts(self) -> Counts:
        """What has become of the events."""
        with self._changed:
            waiting = len(self._waiting) + self._under_way
            return Counts(self._accepted, self._duplicate, self._rejected, self._dropped, waiting)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # What the thread does.

    def _is_empty(self) -> bool:
        return not self._waiting and not self._under_way

    def _run(self) -> None:
        while events := self._gather():
            try:
                self._deliver(events)
            except Exception:
                log.exception("%d events are given up", len(events))
                self._settle(dropped=len(events))
        self._hang_up()

    def _gather(self) -> list[tuple[bytes, dict[str, Any]]]:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._over)
            if self._over:
                return []
            self._changed.wait_for(
                lambda: self._hurry or self._closed or len(self._waiting) >= self._batch,
                self._linger,
            )
            count = min(self._batch, len(self._waiting))
            self._under_way = count
            return [self._waiting.popleft() for _ in range(count)]

    def _deliver(self, events: list[tuple[bytes, dict[str, Any]]]) -> None:
        """Send until the server has decided on each; a batch that is too large goes in halves."""
        pause = _FIRST_PAUSE
        while True:
            status, body, after = self._post(b"\n".join(line for line, _ in events))
            if status == 202:
                self._decided(events, body)
                return
            if status == 413 and len(events) > 1:
                half = len(events) // 2
                self._deliver(events[:half])
                self._deliver(events[half:])
                return
            if status in _REFUSED or status == 413:
                log.error("the server refuses %d events (%d): %s", len(events), status, body[:500])
                self._settle(rejected=len(events))
                for _, event in events:
                    self._told_rejected(event, body.decode("utf-8", "replace"))
                return
            # No answer, or one that another time may be better: 401 and 403 too, as an owner can
            # mend a token's rights while nothing is lost meanwhile.
            log.log(
                logging.WARNING if pause == _FIRST_PAUSE else logging.DEBUG,
                "events wait, the server %s",
                f"answers {status}" if status else f"does not answer: {body.decode()}",
            )
            if self._over:
                return
            self._rest(max(after, pause * _chance.uniform(0.5, 1.0)))
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _rest(self, seconds: float) -> None:
        """Wait before the next try; less long while somebody waits for a flush."""
        end = time.monotonic() + seconds
        with self._changed:
            self._changed.wait_for(lambda: self._hurry or self._over, seconds)
        time.sleep(max(0.0, min(_FIRST_PAUSE, end - time.monotonic())))

    def _post(self, body: bytes) -> tuple[int, bytes, float]:
        """Status (0 without an answer), body, and the seconds to wait that the server names."""
        for fresh in (False, True):
            connection = self._connection
            if connection is None or fresh:
                self._hang_up()
                kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
                connection = self._connection = kind(self._host, self._port, timeout=self._timeout)
                fresh = True
            try:
                connection.request("POST", self._path, body, self._headers)
                answer = connection.getresponse()
                said = answer.read()
                if answer.will_close:
                    self._hang_up()
                return answer.status, said, _seconds(answer.headers.get("Retry-After"))
            except (OSError, http.client.HTTPException) as error:
                self._hang_up()
                if fresh:
                    return 0, repr(error).encode(), 0.0
                # The server closes idle connections: that is no failure yet.
        raise AssertionError

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _decided(self, events: list[tuple[bytes, dict[str, Any]]], body: bytes) -> None:
        results = json.loads(body)["results"]
        counts = {"accepted": 0, "duplicate": 0, "rejected": 0}
        for (_, event), result in zip(events, results):  # noqa: B905
            counts[result["status"]] += 1
            if result["status"] == "rejected":
                log.warning("the server rejects an event: %s", result.get("errors"))
                self._told_rejected(event, result.get("errors"))
        self._settle(**counts)

    def _told_rejected(self, event: dict[str, Any], errors: object) -> None:
        if self._on_reject is not None:
            try:
                self._on_reject(event, errors)
            except Exception:
                log.exception("on_reject raised")

    def _settle(
        self, accepted: int = 0, duplicate: int = 0, rejected: int = 0, dropped: int = 0
    ) -> None:
        with self._changed:
            self._accepted += accepted
            self._duplicate += duplicate
            self._rejected += rejected
            self._dropped += dropped
            self._under_way -= accepted + duplicate + rejected + dropped
            self._changed.notify_all()


def uuid7() -> str:
    """A UUIDv7 (RFC 9562): it rises with time, which spares the server's index."""
    number = (
        (time.time_ns() // 1_000_000) << 80
        | 7 << 76
        | _chance.getrandbits(12) << 64
        | 2 << 62
        | _chance.getrandbits(62)
    )
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _moment(moment: datetime) -> str:
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)  # noqa: UP017
    utc = moment.astimezone(timezone.utc)  # noqa: UP017
    return utc.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _seconds(said: str | None) -> float:
    try:
        return min(max(0.0, float(said or 0)), _LONGEST_PAUSE)
    except ValueError:
        return 0.0


_clients: "weakref.WeakSet[Client]" = weakref.WeakSet()


def _close_all() -> None:
    for client in list(_clients):
        client.close()


def _begin_all() -> None:
    for client in list(_clients):
        client._begin()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_all)

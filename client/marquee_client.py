"""Send events to Marquee from a Python program: one file, standard library only, Python 3.10+.

    from marquee_client import Client

    events = Client("https://marquee.example.com", "mq_1_…")
    events.send("e2085be5-9137-4e4e-80b5-f1ffddc25423", "page interaction", "pageview",
                {"host": "www.example.com", "path": "/"})

`send` never waits, and never raises because of the network or the server. A thread sends events in
batches and retries each batch with the same `sender_id`s until the server has decided on it, so
that the server stores every event once. Events that could not be sent are counted and logged.

The queue is flushed when the program ends: by `sys.exit`, at the end of the main module, or in a
child process of `multiprocessing`, for at most `exit_seconds`. A process that ends without running
Python's exit functions loses its queue: `os._exit`, `os.exec…`, SIGKILL, and SIGTERM unless the
program handles it. Call `flush()` before these. A forked child process has a queue of its own.

Proxies are taken from the environment (`HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY`), certificates of a
private authority from `SSL_CERT_FILE`. Redirects are not followed.
"""

import atexit
import base64
import contextlib
import email.utils
import http.client
import json
import logging
import os
import random
import re
import ssl
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

__all__ = ["Client", "Counts", "uuid7"]

log = logging.getLogger("marquee_client")

# The server understood these requests and will not accept them at another time either. Other
# statuses are retried: an owner can restore a token's scope or a proxy's route (401, 403, 404).
_REFUSED = frozenset({400, 413, 415, 422})
_FIRST_PAUSE, _LONGEST_PAUSE, _LONGEST_RETRY_AFTER = 0.2, 30.0, 300.0
# nginx accepts 1 MB in its default configuration.
_BATCH_BYTES, _QUEUE_BYTES, _ANSWER_BYTES = 512 * 1024, 64 * 1024 * 1024, 64 * 1024 * 1024
# The thread ends after this many seconds without events; the next event starts another.
_IDLE_SECONDS = 30.0
# Independent of `random`, which the program may have seeded.
_rng = random.SystemRandom()


@dataclass(frozen=True)
class Counts:
    """Number of events by outcome; `waiting` events have none yet."""

    accepted: int
    duplicate: int
    rejected: int
    dropped: int
    waiting: int


class Client:
    """Queue of events and the thread that sends them.

    `url` is the server's address, with its path prefix if it has one. `token` is a secret token
    with the scope `write`; white space around it, such as the line end of a file, is removed. A
    batch is sent when it has `batch` events or its first event has waited `linger` seconds. The
    queue holds at most `capacity` events and 64 MB; further events are dropped and counted.
    The thread calls `on_reject(event, errors)` for each event that the server rejects.
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
        self._server = _server(url)
        self._proxy = _proxy(self._server)
        self._headers = {
            "Host": self._server.authority,
            "Authorization": f"Bearer {_clean(token)}",
            "Content-Type": "application/x-ndjson",
            "User-Agent": "marquee-client/1",
        }
        self._options: dict[str, Any] = {
            "batch": batch,
            "linger": linger,
            "capacity": capacity,
            "timeout": timeout,
            "exit_seconds": exit_seconds,
            "on_reject": on_reject,
        }
        self._arguments = (url, token, self._options)
        self._batch, self._linger, self._capacity = max(1, batch), linger, capacity
        self._timeout, self._exit_seconds = timeout, exit_seconds
        self._on_reject = on_reject
        self._tls: ssl.SSLContext | None = None
        self._closed = self._over = False
        self._reset()
        _clients.add(self)

    def __reduce__(self) -> tuple[Any, ...]:
        # `multiprocessing` pickles arguments: the copy is a client with a queue of its own.
        return _copy, self._arguments

    def _reset(self) -> None:
        """Empty the queue; a forked child has no thread, and its parent sends the copied events."""
        self._changed = threading.Condition()
        self._waiting: deque[bytes] = deque()
        self._in_hand: deque[bytes] = deque()  # taken from the queue, without an outcome
        self._bytes = 0  # of both queues
        self._taken = self._decided = 0
        self._accepted = self._duplicate = self._rejected = self._dropped = 0
        self._hurry = 0  # number of waiting `flush` calls
        self._full_logged = self._thread_logged = self._left_logged = False
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
        """Queue an event; return False if the queue is full or the client is closed.

        `timestamp` is now by default; one without a time zone is UTC. Raises TypeError or
        ValueError if the event cannot be written as JSON.
        """
        line = _line(
            {
                "session_id": session_id,
                "category": category,
                "name": name,
                "data": dict(data),
                "timestamp": _timestamp(timestamp),
                "sender_id": sender_id or uuid7(),
            }
        )
        reason = ""
        with self._changed:
            if self._closed:
                reason = "the client is closed"
            elif len(self._waiting) + len(self._in_hand) >= self._capacity:
                reason = f"{self._capacity} events are waiting"
            elif self._bytes + len(line) > _QUEUE_BYTES:
                reason = f"more than {_QUEUE_BYTES >> 20} MB are waiting"
            if not reason:
                self._full_logged = False
                self._taken += 1
                self._bytes += len(line)
                self._waiting.append(line)
                self._start()
                if len(self._waiting) in (1, self._batch) or self._bytes >= _BATCH_BYTES:
                    self._changed.notify_all()
                return True
            self._dropped += 1
            logged, self._full_logged = self._full_logged, True
        if not logged:
            log.warning("events are dropped: %s", reason)
        return False

    def flush(self, seconds: float = 10.0) -> bool:
        """Send without delay what is queued; True if the server decided on all of it in time."""
        end = time.monotonic() + seconds
        with self._changed:
            goal = self._taken

            def is_done() -> bool:
                return self._decided >= goal

            if self._thread is threading.current_thread():  # called by `on_reject`
                return is_done()
            self._hurry += 1
            self._changed.notify_all()
        try:
            while True:
                with self._changed:
                    left = end - time.monotonic()
                    if is_done() or self._over or left <= 0:
                        return is_done()
                    if self._start():
                        self._changed.wait_for(lambda: is_done() or self._thread is None, left)
                        continue
                    # No thread can be started, as in exit functions since Python 3.12.
                    self._thread = threading.current_thread()
                self._run(end)
                with self._changed:
                    if not is_done():
                        self._changed.wait_for(is_done, min(0.05, max(0.0, left)))
        finally:
            with self._changed:
                self._hurry -= 1

    def close(self, seconds: float | None = None) -> bool:
        """Accept no more events and flush for `seconds` (`exit_seconds`); True if all were sent."""
        self._stop_accepting()
        self.flush(self._exit_seconds if seconds is None else seconds)
        with self._changed:
            self._over = True
            left = self._taken - self._decided
            logged, self._left_logged = self._left_logged, bool(left)
            self._changed.notify_all()
        if left and not logged:
            log.error("closed with %d events that were not sent", left)
        return not left

    @property
    def counts(self) -> Counts:
        """Number of events by outcome."""
        with self._changed:
            waiting = self._taken - self._decided
            return Counts(self._accepted, self._duplicate, self._rejected, self._dropped, waiting)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _stop_accepting(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _start(self) -> bool:
        """Start the thread unless it runs; return False if the system cannot start one now."""
        if self._thread is not None and self._thread.is_alive():
            return True
        _close_with_child()
        thread = threading.Thread(target=self._run, name="marquee-client", daemon=True)
        try:
            thread.start()
        except (RuntimeError, MemoryError) as error:
            if not self._thread_logged:
                self._thread_logged = True
                log.warning("events wait: no thread can be started (%s)", error)
            return False
        self._thread = thread
        self._thread_logged = False
        return True

    # Runs in the thread, or in `flush` until `end` if there can be no thread.

    def _run(self, end: float | None = None) -> None:
        try:
            while events := self._gather(end):
                try:
                    delivered = self._deliver(events, end)
                except Exception:
                    log.exception("events are dropped after an internal error")
                    self._settle(dropped=len(self._in_hand))
                    continue
                if not delivered:
                    break
        finally:
            with self._changed:
                self._release()

    def _gather(self, end: float | None) -> list[bytes]:
        """Take a batch from the queue; an empty one ends the thread."""
        with self._changed:
            if end is None:
                self._changed.wait_for(lambda: self._waiting or self._over, _IDLE_SECONDS)
                if self._waiting:
                    self._changed.wait_for(self._is_due, self._linger)
            if not self._waiting or self._is_over(end):
                self._release()
                return []
            size = 0
            while self._waiting and len(self._in_hand) < self._batch:
                size += len(self._waiting[0])
                if self._in_hand and size > _BATCH_BYTES:
                    break
                self._in_hand.append(self._waiting.popleft())
            return list(self._in_hand)

    def _is_over(self, end: float | None) -> bool:
        return self._over or (end is not None and time.monotonic() >= end)

    def _is_due(self) -> bool:
        return (
            self._hurry > 0
            or self._closed
            or len(self._waiting) >= self._batch
            or self._bytes >= _BATCH_BYTES
        )

    def _release(self) -> None:
        """Requeue undecided events and let another thread start; the caller holds the lock."""
        if self._thread is not threading.current_thread():
            return  # already released, or a forked child
        self._waiting.extendleft(reversed(self._in_hand))
        self._in_hand.clear()
        self._hang_up()
        self._thread = None
        self._changed.notify_all()

    def _deliver(self, events: list[bytes], end: float | None) -> bool:
        """Send until the server has decided on all events; return False at the time `end`."""
        pause, last_status = _FIRST_PAUSE, -1
        while not self._is_over(end):
            status, body, retry_after = self._post(b"\n".join(events), end)
            if status == 202 and (results := _results(body, len(events))) is not None:
                self._decide(events, results)
                return True
            if status == 413 and len(events) > 1:
                half = len(events) // 2
                return self._deliver(events[:half], end) and self._deliver(events[half:], end)
            if status in _REFUSED:
                log.error("the server refuses %d events (%d): %s", len(events), status, body[:500])
                for line in events:
                    self._call_on_reject(line, body.decode("utf-8", "replace"))
                self._settle(rejected=len(events))
                return True
            level = logging.WARNING if status != last_status else logging.DEBUG
            log.log(level, "events wait: %s", self._explain(status, body))
            last_status = status
            self._rest(max(retry_after, pause * _rng.uniform(0.5, 1.0)), end)
            pause = min(pause * 2, _LONGEST_PAUSE)
        return False

    def _explain(self, status: int, body: bytes) -> str:
        if not status:
            return f"no answer from the server ({body.decode('utf-8', 'replace')})"
        if 300 <= status < 400:
            return f"the server redirects ({status}) to {body!r}; use the address that it names"
        if status == 202:
            return "the answer (202) is not Marquee's"
        return f"the server answers {status} to POST {self._server.path}: {body[:200]!r}"

    def _rest(self, seconds: float, end: float | None) -> None:
        """Wait before the next try; at most 0.2 s while a flush waits."""
        until = time.monotonic() + seconds
        with self._changed:
            self._changed.wait_for(lambda: self._hurry or self._closed or self._over, seconds)
        left = 0.0 if self._over else until - time.monotonic()
        if end is not None:
            left = min(left, end - time.monotonic())
        time.sleep(max(0.0, min(_FIRST_PAUSE, left)))

    def _post(self, body: bytes, end: float | None) -> tuple[int, bytes, float]:
        """Return status (0 without a response), body or redirect target, and Retry-After."""
        for fresh in (False, True):
            connection = self._connection
            if connection is None or fresh:
                self._hang_up()
                fresh = True
            try:
                if connection is None or fresh:
                    connection = self._connection = self._prepare(end)
                    connection.connect()
                # A server that refuses a large body may respond and close before reading it.
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    connection.request("POST", self._address(), body, self._headers)
                answer = connection.getresponse()
                content = answer.read(_ANSWER_BYTES)
                if answer.will_close or not answer.isclosed():
                    self._hang_up()
                if 300 <= answer.status < 400:
                    content = answer.headers.get("Location", "").encode()[:500]
                return answer.status, content, _seconds(answer.headers)
            except Exception as error:
                self._hang_up()
                if fresh:
                    return 0, repr(error).encode("utf-8", "replace"), 0.0
                # The server closes idle connections: retry once on a new one.
        raise AssertionError

    def _prepare(self, end: float | None) -> http.client.HTTPConnection:
        server, proxy = self._server, self._proxy
        timeout = self._timeout
        if end is not None:
            timeout = min(timeout, max(0.1, end - time.monotonic()))
        to = proxy or server
        if not server.secure:
            return http.client.HTTPConnection(to.host, to.port, timeout=timeout)
        self._tls = self._tls or ssl.create_default_context()
        connection = http.client.HTTPSConnection(
            to.host, to.port, timeout=timeout, context=self._tls
        )
        if proxy is not None:
            connection.set_tunnel(server.host, server.port, proxy.headers)
        return connection

    def _address(self) -> str:
        if self._proxy is None or self._server.secure:
            return self._server.path
        self._headers.update(self._proxy.headers)
        return f"http://{self._server.authority}{self._server.path}"

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _decide(self, events: list[bytes], results: list[dict[str, Any]]) -> None:
        counts = {"accepted": 0, "duplicate": 0, "rejected": 0}
        for line, result in zip(events, results):  # noqa: B905
            counts[result["status"]] += 1
            if result["status"] == "rejected":
                log.warning("the server rejects an event: %s", result.get("errors"))
                self._call_on_reject(line, result.get("errors"))
        self._settle(**counts)

    def _call_on_reject(self, line: bytes, errors: object) -> None:
        if self._on_reject is not None:
            try:
                self._on_reject(json.loads(line), errors)
            except (Exception, SystemExit):
                log.exception("on_reject raised")

    def _settle(
        self, accepted: int = 0, duplicate: int = 0, rejected: int = 0, dropped: int = 0
    ) -> None:
        """Count the first events in hand as decided."""
        with self._changed:
            self._accepted += accepted
            self._duplicate += duplicate
            self._rejected += rejected
            self._dropped += dropped
            for _ in range(accepted + duplicate + rejected + dropped):
                self._bytes -= len(self._in_hand.popleft())
                self._decided += 1
            self._changed.notify_all()


class _Server(NamedTuple):
    secure: bool
    host: str
    port: int
    authority: str
    path: str


class _Proxy(NamedTuple):
    host: str
    port: int
    headers: dict[str, str]


def _server(url: str) -> _Server:
    """Parse the address; no message contains it, as it may contain a password."""
    if not isinstance(url, str):
        raise TypeError(f"url must be a str, not {type(url).__name__}")
    url = url.strip()
    if not re.fullmatch(r"[^\x00-\x20\x7f\\]+", url):
        raise ValueError("url is empty, or has a space, backslash or control character in it")
    if not re.match(r"https?://[^/?#]", url, re.IGNORECASE):
        raise ValueError("url must be an address such as https://marquee.example.com")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        if ":" not in host:
            host = host.encode("idna").decode()
    except ValueError:
        raise ValueError("url has an invalid host or port in its address") from None
    if not host or port == 0:
        raise ValueError("url has an invalid host or port in its address")
    if "@" in parts.netloc:
        raise ValueError("url must not have a user name or password in its address")
    if not re.fullmatch(r"(\[[^][]+\]|[^][:]+)(:[0-9]*)?", parts.netloc):
        raise ValueError("url has an invalid host or port in its address")
    if "?" in url or "#" in url:
        raise ValueError("url must not have a query or fragment in its address")
    secure = parts.scheme == "https"
    host = host.replace("%25", "%")  # RFC 6874: a zone is fe80::1%25eth0 in an address
    authority = f"[{host.partition('%')[0]}]" if ":" in host else host
    if port is not None and port != (443 if secure else 80):
        authority += f":{port}"
    path = quote(parts.path.rstrip("/"), safe="/%:@!$&'()*+,;=~") + "/api/v1/events"
    return _Server(secure, host, port or (443 if secure else 80), authority, path)


def _proxy(server: _Server) -> _Proxy | None:
    """Return the proxy of this server according to the environment; None without one."""
    named = getproxies().get("https" if server.secure else "http")
    if not named or proxy_bypass(f"{server.host}:{server.port}"):
        return None
    problem = "HTTP_PROXY or HTTPS_PROXY must be an http:// address with a host and a port"
    try:
        parts = urlsplit(named if "://" in named else f"http://{named}")
        host, port = parts.hostname, parts.port or 80
    except ValueError:
        raise ValueError(problem) from None
    if parts.scheme != "http" or not host:
        raise ValueError(problem)
    headers = {}
    if parts.username is not None:
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Proxy-Authorization"] = "Basic " + base64.b64encode(user.encode()).decode()
    return _Proxy(host, port, headers)


def _clean(token: str) -> str:
    """Return the token without surrounding white space; no message contains it."""
    if not isinstance(token, str):
        raise TypeError(f"token must be a str, not {type(token).__name__}")
    token = token.strip()
    if not token:
        raise ValueError("token is empty")
    if not re.fullmatch(r"[\x21-\x7e]+", token):
        raise ValueError("token has a space, line end or other character that no token has")
    return token


def _copy(url: str, token: str, options: dict[str, Any]) -> Client:
    return Client(url, token, **options)


def _line(event: dict[str, Any]) -> bytes:
    try:
        text = json.dumps(event, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        return text.encode()
    except UnicodeEncodeError:
        raise ValueError("the event has a lone surrogate in it, which is not Unicode") from None
    except RecursionError:
        raise ValueError("the event is nested too deeply for JSON") from None


def uuid7() -> str:
    """Return a UUIDv7 (RFC 9562): increasing values keep inserts into the server's index fast."""
    number = (
        (time.time_ns() // 1_000_000) << 80
        | 7 << 76
        | _rng.getrandbits(12) << 64
        | 2 << 62
        | _rng.getrandbits(62)
    )
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _timestamp(moment: datetime | None) -> str:
    if moment is None:
        moment = datetime.now(timezone.utc)  # noqa: UP017
    if not isinstance(moment, datetime):
        raise TypeError(f"timestamp must be a datetime, not {type(moment).__name__}")
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)  # noqa: UP017
    try:
        moment = moment.astimezone(timezone.utc)  # noqa: UP017
    except OverflowError:
        raise ValueError("timestamp is outside of the years 1 to 9999 in UTC") from None
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def _results(body: bytes, count: int) -> list[dict[str, Any]] | None:
    """Return the results of a batch; None if the body is not a response of Marquee."""
    try:
        results = json.loads(body)["results"]
        known = {"accepted", "duplicate", "rejected"}
        if len(results) == count and all(each["status"] in known for each in results):
            return list(results)
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    return None


def _seconds(headers: http.client.HTTPMessage) -> float:
    """Return Retry-After in seconds: it is a number, or a date (RFC 9110, 10.2.3)."""
    value = (headers.get("Retry-After") or "").strip()
    seconds = 0.0
    if value.isascii() and value.isdigit():
        seconds = float(value[:9])
    elif value:
        with contextlib.suppress(ValueError, TypeError, IndexError, OverflowError):
            then = email.utils.parsedate_to_datetime(value)
            # Relative to the response's Date field, as the local clock may be wrong.
            now = headers.get("Date")
            base = email.utils.parsedate_to_datetime(now).timestamp() if now else time.time()
            seconds = then.timestamp() - base
    return min(max(0.0, seconds), _LONGEST_RETRY_AFTER)


_clients: "weakref.WeakSet[Client]" = weakref.WeakSet()
_child_pid = 0


def _close_all() -> None:
    began = time.monotonic()
    clients = list(_clients)
    for client in clients:
        client._stop_accepting()
    for client in clients:
        client.close(max(0.0, client._exit_seconds - (time.monotonic() - began)))


def _close_with_child() -> None:
    """In a child process of `multiprocessing`, close the clients when it ends.

    Such a child, if forked, ends by `os._exit`, which runs no function of `atexit`.
    """
    global _child_pid
    util, process = map(sys.modules.get, ("multiprocessing.util", "multiprocessing.process"))
    if util is None or process is None or _child_pid == os.getpid():
        return
    if process.parent_process() is not None:
        _child_pid = os.getpid()
        # Below 0: after the child's own child processes have ended.
        util.Finalize(None, _close_all, exitpriority=-100)


def _reset_all() -> None:
    for client in list(_clients):
        connection = client._connection
        client._reset()
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.close()  # the child's descriptor; the parent keeps its own


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_all)

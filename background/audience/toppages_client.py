"""Sources of a host's top pages: this server's active visitors, or an upstream over HTTP.

The upstream is not trusted: it may hang, send slowly, disconnect, redirect, or respond with too
much data. Each request has a deadline and bounded memory, and respects the upstream's limits.
"""

import logging
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from time import monotonic
from urllib.parse import urlencode

from cachetools import LRUCache
from tornado.httpclient import HTTPClientError, HTTPRequest, HTTPResponse
from tornado.simple_httpclient import SimpleAsyncHTTPClient

from domain.audience.toppages_format import (
    LEGACY_FORMAT,
    InvalidTopPages,
    TopPagesReading,
    parse_toppages,
)
from domain.audience.upstream_budget import (
    MAX_BACK_OFF_SECONDS,
    MIN_BACK_OFF_SECONDS,
    CircuitBreaker,
    UpstreamBudget,
)
from store.api.errors import StoreRefused, UpstreamUnavailable
from store.cache.active_visitors import ActiveVisitors
from store.sqlite.audience.site_registry import SiteRegistry

LOG = logging.getLogger("marquee.upstream")

TOPPAGES_PATHS = {"legacy": "/live/toppages/", "v3": "/live/toppages/v3/"}
# Value of the query argument `limit`.
PAGES_PER_REQUEST = 1_000
# Requests per minute: for a host, and for all hosts.
HOST_REQUESTS_PER_MINUTE, TOTAL_REQUESTS_PER_MINUTE = 200, 3_000
# Requests per minute for unproven pairs of key and host (without a successful response so far),
# and how many of these may be refused or fail.
UNPROVEN_PER_MINUTE, UNPROVEN_FAILED_PER_MINUTE = 300, 20
# Requests per minute for a host that are reserved for its proven keys.
PROVEN_RESERVE_PER_MINUTE = 100
# Deadline of a request in seconds.
REQUEST_TIMEOUT_SECONDS = 4.0
# Maximum bytes of a response, both compressed and decompressed.
MAX_BODY_BYTES = 2 * 1024 * 1024
MAX_HEADER_BYTES = 32 * 1024
# Concurrent requests for proven fast pairs, proven slow pairs, and unproven pairs.
MAX_CONCURRENT, MAX_CONCURRENT_SLOW, MAX_CONCURRENT_UNPROVEN = 20, 10, 5
# Share of the deadline after which a response is slow; the pair then uses the slow queue.
SLOW_TIMEOUT_SHARE = 0.25
# Sizes of the caches: proven pairs, hosts with a budget, and unproven pairs whose Retry-After has
# not passed.
MAX_PROVEN_PAIRS, MAX_HOST_BUDGETS, MAX_RESTING_PAIRS = 4_000, 2_000, 4_000
# Statuses of an upstream for an unknown key or host.
UNKNOWN_KEY_STATUSES = (400, 401, 403, 404)
TOO_MANY_REQUESTS, SERVICE_UNAVAILABLE = 429, 503
# Default seconds to wait if an upstream sends no Retry-After.
DEFAULT_RETRY_SECONDS = 60.0

KeyHostPair = tuple[str, str]  # key, host


class LocalToppagesSource:
    """This server's own active visitors; the key is an app's public token."""

    name = "own"
    a_minute: int | None = None
    in_all: int | None = None
    refusals_kept = 0.5

    def __init__(self, sites: SiteRegistry, presence: ActiveVisitors) -> None:
        self._sites = sites
        self._presence = presence

    async def read(self, key: str, host: str) -> TopPagesReading:
        """Return the pages of an app's host; raise `StoreRefused` for an unknown app or host."""
        site = await self._sites.get(key)
        if site is None:
            raise StoreRefused("no app has this public token")
        entry = site.matching_host(host)
        if entry is None:
            raise StoreRefused("this app lists no such host")
        return self._presence.reading(site.app, entry)

    def trust(self, pairs: Iterable[KeyHostPair]) -> None:
        """Do nothing: a lookup in memory needs no rate limit."""

    async def close(self) -> None:
        """Do nothing: this source holds no connection."""


class _UpstreamQueue:
    """Requests that share a concurrency limit, a circuit breaker, a budget and a logged error."""

    def __init__(self, at_once: int, a_minute: int, period: float) -> None:
        self.free = at_once
        self.budget = UpstreamBudget(a_minute)
        self.breaker = CircuitBreaker(period)
        self.logged = ""

    def wait(self, now: float) -> float:
        """Return the seconds until the next request may be sent; 0 for now."""
        return max(self.budget.wait(now), self.breaker.wait(now))


class UpstreamToppagesClient:
    """The client of an upstream.

    Clients may send any key and host. Proven pairs (with a successful response before) and unproven
    ones have separate limits, so that invented pairs cannot block valid ones. For the same reason
    fast and slow pairs have separate limits.
    """

    a_minute: int | None = HOST_REQUESTS_PER_MINUTE
    in_all: int | None = TOTAL_REQUESTS_PER_MINUTE
    refusals_kept = 60.0

    def __init__(
        self,
        base: str,
        version: str,
        *,
        period: float,
        deadline: float = REQUEST_TIMEOUT_SECONDS,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """`base` is the upstream's URL without a path, `period` the seconds between tries."""
        self.name = f"{version} {base}"
        self.requests = 0
        self.failures = 0
        self.skipped = 0  # invalid pages, over all responses
        self._address = base.rstrip("/") + TOPPAGES_PATHS[version]
        self._version = version
        self._deadline = deadline
        self._clock = clock
        self._proven: LRUCache[KeyHostPair, UpstreamBudget] = LRUCache(MAX_PROVEN_PAIRS)
        self._budgets: LRUCache[str, UpstreamBudget] = LRUCache(MAX_HOST_BUDGETS)
        self._resting: LRUCache[KeyHostPair, float] = LRUCache(MAX_RESTING_PAIRS)
        self._slow_pairs: LRUCache[KeyHostPair, None] = LRUCache(MAX_PROVEN_PAIRS)
        self._regular = _UpstreamQueue(MAX_CONCURRENT, TOTAL_REQUESTS_PER_MINUTE, period)
        self._slow = _UpstreamQueue(MAX_CONCURRENT_SLOW, TOTAL_REQUESTS_PER_MINUTE, period)
        self._unproven = _UpstreamQueue(MAX_CONCURRENT_UNPROVEN, UNPROVEN_PER_MINUTE, period)
        self._refused = UpstreamBudget(UNPROVEN_FAILED_PER_MINUTE)
        self._skipping = False
        self._client = SimpleAsyncHTTPClient(
            force_instance=True,
            max_clients=MAX_CONCURRENT + MAX_CONCURRENT_SLOW + MAX_CONCURRENT_UNPROVEN,
            max_buffer_size=MAX_BODY_BYTES,
            max_body_size=MAX_BODY_BYTES,
            max_header_size=MAX_HEADER_BYTES,
        )

    def trust(self, pairs: Iterable[KeyHostPair]) -> None:
        """Treat the proven pairs of the previous run as proven."""
        for pair in pairs:
            self._mark_proven(pair)

    async def read(self, key: str, host: str) -> TopPagesReading:
        """Return the pages of a host; `StoreRefused` if the upstream does not know it or the key.

        Raises `UpstreamUnavailable` for an invalid response, and while a limit delays requests.
        """
        now, pair = self._clock(), (key, host)
        proven = self._proven.get(pair)
        queue = self._regular if pair not in self._slow_pairs else self._slow
        if proven is None:
            queue = self._unproven
        if wait := max(queue.wait(now), self._pair_wait(pair, now)):
            raise UpstreamUnavailable("the upstream is not to be asked now", wait)
        if not queue.free:
            raise UpstreamUnavailable("too many questions are on their way to the upstream", 1.0)
        for budget in (queue.budget, self._refused if proven is None else proven):
            budget.spend(now)
        queue.breaker.trying(now)
        queue.free -= 1
        self.requests += 1
        try:
            response = await self._client.fetch(self._request(key, host), raise_error=False)
            self._apply_limits(response, pair)
            reading = self._parse(response)
        except StoreRefused:
            queue.breaker.succeeded()
            raise
        except (
            UpstreamUnavailable,
            InvalidTopPages,
            OSError,
            HTTPClientError,
            ValueError,
        ) as error:
            self._failed(error, queue)
            if isinstance(error, UpstreamUnavailable):
                raise
            raise UpstreamUnavailable(
                f"the upstream gives no answer: {_error_text(error)}"
            ) from None
        finally:
            queue.free += 1
            if self._clock() - now > SLOW_TIMEOUT_SHARE * self._deadline:
                self._slow_pairs[pair] = None
            else:
                self._slow_pairs.pop(pair, None)
        queue.breaker.succeeded()
        if proven is None:
            self._refused.refund(now)
            self._mark_proven(pair).spend(now)
        if queue.logged:
            LOG.info("the upstream answers again")
            queue.logged = ""
        self._note_skipped(reading.skipped)
        return reading

    async def close(self) -> None:
        """Cancel the requests in progress."""
        self._client.close()

    def _mark_proven(self, pair: KeyHostPair) -> UpstreamBudget:
        host = pair[1]
        budget = self._budgets.get(host)
        if budget is None:
            budget = self._budgets[host] = UpstreamBudget(HOST_REQUESTS_PER_MINUTE)
        self._proven[pair] = budget
        return budget

    def _pair_wait(self, pair: KeyHostPair, now: float) -> float:
        """Return the seconds until the pair's own limits allow a request; 0 for now."""
        if (budget := self._proven.get(pair)) is not None:
            return budget.wait(now)
        # An unproven host gets no budget, which would displace that of a valid one from the cache.
        known = self._budgets.get(pair[1])
        waits = (
            self._refused.wait(now),
            0.0 if known is None else known.wait(now, PROVEN_RESERVE_PER_MINUTE),
        )
        return max(*waits, self._resting.get(pair, now) - now)

    def _request(self, key: str, host: str) -> HTTPRequest:
        query: dict[str, object] = {"host": host, "limit": PAGES_PER_REQUEST}
        headers = {"Accept": "application/json", "User-Agent": "Marquee"}
        if self._version == LEGACY_FORMAT:
            query["apikey"] = key
        else:
            headers["X-CB-AK"] = key
        return HTTPRequest(
            f"{self._address}?{urlencode(query)}",
            headers=headers,
            connect_timeout=self._deadline,
            request_timeout=self._deadline,
            follow_redirects=False,
            decompress_response=True,
        )

    def _apply_limits(self, response: HTTPResponse, pair: KeyHostPair) -> None:
        """Apply the response's rate limit fields; raise `UpstreamUnavailable` for 429 or 503."""
        now = self._clock()
        # An unproven key has no budget: its refusal may concern that key alone.
        budget = self._proven.get(pair)
        remaining = response.headers.get("X-RateLimit-Remaining", "").strip()
        if budget is not None and remaining.isascii() and remaining.isdigit():
            budget.told(int(remaining[:9]), now)
        retry_after = response.headers.get("Retry-After", "")
        limited = response.code == TOO_MANY_REQUESTS
        if limited or (response.code == SERVICE_UNAVAILABLE and retry_after):
            wait = min(_retry_after_seconds(retry_after), MAX_BACK_OFF_SECONDS)
            if budget is not None:
                budget.rest(wait, now)
            else:
                self._resting[pair] = now + max(wait, MIN_BACK_OFF_SECONDS)
            reason = "has been asked too often" if limited else "is unavailable"
            raise UpstreamUnavailable(f"the upstream {reason}", wait)

    def _parse(self, response: HTTPResponse) -> TopPagesReading:
        if response.code in UNKNOWN_KEY_STATUSES:
            raise StoreRefused("the upstream knows no such key or host")
        if response.code != 200:
            raise InvalidTopPages(f"it answers {response.code}")
        return parse_toppages(response.body, self._version)

    def _failed(self, error: Exception, queue: _UpstreamQueue) -> None:
        self.failures += 1
        reason = _error_text(error)
        if isinstance(error, UpstreamUnavailable):
            queue.breaker.succeeded()  # the upstream is reachable and says when to retry
        else:
            queue.breaker.failed()
        if reason != queue.logged:
            LOG.warning("the upstream gives no answer: %s", reason)
            queue.logged = reason

    def _note_skipped(self, skipped: int) -> None:
        self.skipped += skipped
        if skipped and not self._skipping:
            LOG.warning("skipped invalid pages of the upstream's response: pages=%d", skipped)
        self._skipping = skipped > 0


def _retry_after_seconds(value: str) -> float:
    """Return the seconds of a Retry-After field, or a default if it is invalid."""
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        moment = parsedate_to_datetime(value)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return max(0.0, (moment - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return DEFAULT_RETRY_SECONDS


def _error_text(error: Exception) -> str:
    """Return the error's message, or its type if it has none; never the URL, which has the key."""
    return str(error) or type(error).__name__

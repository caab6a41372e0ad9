"""Where a host's pages and their visitors are read: from this server itself, or another one.

Another one is asked over HTTP and not trusted: it may hang, drip, break, redirect, or answer
with more than fits. Each question ends within a deadline, costs a bounded amount of memory, and
is asked no more often than the upstream wants.
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
# Pages that are asked for.
PAGES_PER_REQUEST = 1_000
# Requests in a minute: for a host, and for all hosts together.
HOST_REQUESTS_PER_MINUTE, TOTAL_REQUESTS_PER_MINUTE = 200, 3_000
# The same for pairs of key and host that the upstream has not answered before; and how many of
# them may be refused, or fail.
UNPROVEN_PER_MINUTE, UNPROVEN_FAILED_PER_MINUTE = 300, 20
# Requests for a host in a minute that are left to its proven keys.
PROVEN_RESERVE_PER_MINUTE = 100
# Seconds for a question in all.
REQUEST_TIMEOUT_SECONDS = 4.0
# Bytes of an answer, as it comes and as it is when unpacked.
MAX_BODY_BYTES = 2 * 1024 * 1024
MAX_HEADER_BYTES = 32 * 1024
# Requests at once for pairs that are answered quickly, slowly, and that were not answered before.
MAX_CONCURRENT, MAX_CONCURRENT_SLOW, MAX_CONCURRENT_UNPROVEN = 20, 10, 5
# Part of the deadline after which an answer is slow: the pair's next request goes with slow ones.
SLOW_TIMEOUT_SHARE = 0.25
# Kept in memory: pairs of key and host that were answered, hosts with a budget, and unproven pairs
# that the upstream wants to be left alone.
MAX_PROVEN_PAIRS, MAX_HOST_BUDGETS, MAX_RESTING_PAIRS = 4_000, 2_000, 4_000
# An upstream says so of a key or host that it does not know.
UNKNOWN_KEY_STATUSES = (400, 401, 403, 404)
TOO_MANY_REQUESTS, SERVICE_UNAVAILABLE = 429, 503
# Default seconds to wait if an upstream sends no Retry-After.
DEFAULT_RETRY_SECONDS = 60.0

KeyHostPair = tuple[str, str]  # key, host


class LocalToppagesSource:
    """This server's own pageviews: the key is an app's public token."""

    name = "own"
    a_minute: int | None = None
    in_all: int | None = None
    refusals_kept = 0.5

    def __init__(self, sites: SiteRegistry, presence: ActiveVisitors) -> None:
        self._sites = sites
        self._presence = presence

    async def read(self, key: str, host: str) -> TopPagesReading:
        """The pages of an app's host; `StoreRefused` for an unknown app, or a host not its own."""
        site = await self._sites.get(key)
        if site is None:
            raise StoreRefused("no app has this public token")
        entry = site.matching_host(host)
        if entry is None:
            raise StoreRefused("this app lists no such host")
        return self._presence.reading(site.app, entry)

    def trust(self, pairs: Iterable[KeyHostPair]) -> None:
        """Do nothing: a look-up in memory has no limit."""

    async def close(self) -> None:
        """Nothing is to be done."""


class _UpstreamQueue:
    """Requests that share a limit of concurrency, a breaker, a budget and a log message."""

    def __init__(self, at_once: int, a_minute: int, period: float) -> None:
        self.free = at_once
        self.budget = UpstreamBudget(a_minute)
        self.breaker = CircuitBreaker(period)
        self.logged = ""

    def wait(self, now: float) -> float:
        """Seconds until one more request may be sent; 0 for now."""
        return max(self.budget.wait(now), self.breaker.wait(now))


class UpstreamToppagesClient:
    """Another server.

    Anyone may ask for any key and host. Pairs that the upstream has answered before ("proven") do
    not share a limit with others, so that made-up ones cannot hold them up; nor do those that it
    answers quickly with those that it answers slowly, or not at all.
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
        """`base` is its address without a path, `period` the seconds between tries of a host."""
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
        """Treat pairs that were answered before a restart as proven."""
        for pair in pairs:
            self._prove(pair)

    async def read(self, key: str, host: str) -> TopPagesReading:
        """Return the pages of a host; `StoreRefused` if the upstream does not know it or the key.

        `StoreAway` when it gives no answer that can be used, or is not to be asked now.
        """
        now, pair = self._clock(), (key, host)
        proven = self._proven.get(pair)
        queue = self._regular if pair not in self._slow_pairs else self._slow
        if proven is None:
            queue = self._unproven
        if wait := max(queue.wait(now), self._wait(pair, now)):
            raise UpstreamUnavailable("the upstream is not to be asked now", wait)
        if not queue.free:
            raise UpstreamUnavailable("too many questions are on their way to the upstream", 1.0)
        for budget in (queue.budget, self._refused if proven is None else proven):
            budget.spend(now)
        queue.breaker.trying(now)
        queue.free -= 1
        self.requests += 1
        try:
            answer = await self._client.fetch(self._request(key, host), raise_error=False)
            self._heed(answer, pair)
            reading = self._take(answer)
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
            self._prove(pair).spend(now)
        if queue.logged:
            LOG.info("the upstream answers again")
            queue.logged = ""
        self._note_skipped(reading.skipped)
        return reading

    async def close(self) -> None:
        """Cut what is on its way."""
        self._client.close()

    def _prove(self, pair: KeyHostPair) -> UpstreamBudget:
        host = pair[1]
        budget = self._budgets.get(host)
        if budget is None:
            budget = self._budgets[host] = UpstreamBudget(HOST_REQUESTS_PER_MINUTE)
        self._proven[pair] = budget
        return budget

    def _wait(self, pair: KeyHostPair, now: float) -> float:
        """Seconds until one more request may be sent for a pair, by itself; 0 for now."""
        if (budget := self._proven.get(pair)) is not None:
            return budget.wait(now)
        # An invalid host gets no budget, as it would displace that of a valid one.
        known = self._budgets.get(pair[1])
        waits = (
            self._refused.wait(now),
            0.0 if known is None else known.wait(now, PROVEN_RESERVE_PER_MINUTE),
        )
        return max(*waits, self._resting.get(pair, now) - now)

    def _request(self, key: str, host: str) -> HTTPRequest:
        asked: dict[str, object] = {"host": host, "limit": PAGES_PER_REQUEST}
        headers = {"Accept": "application/json", "User-Agent": "Marquee"}
        if self._version == LEGACY_FORMAT:
            asked["apikey"] = key
        else:
            headers["X-CB-AK"] = key
        return HTTPRequest(
            f"{self._address}?{urlencode(asked)}",
            headers=headers,
            connect_timeout=self._deadline,
            request_timeout=self._deadline,
            follow_redirects=False,
            decompress_response=True,
        )

    def _heed(self, answer: HTTPResponse, pair: KeyHostPair) -> None:
        """Do as the upstream says about how often it is asked."""
        now = self._clock()
        # A refusal of an unproven key may concern that key alone.
        budget = self._proven.get(pair)
        left = answer.headers.get("X-RateLimit-Remaining", "").strip()
        if budget is not None and left.isascii() and left.isdigit():
            budget.told(int(left[:9]), now)
        later = answer.headers.get("Retry-After", "")
        if answer.code == TOO_MANY_REQUESTS or (answer.code == SERVICE_UNAVAILABLE and later):
            wait = min(_retry_after_seconds(later), MAX_BACK_OFF_SECONDS)
            if budget is not None:
                budget.rest(wait, now)
            else:
                self._resting[pair] = now + max(wait, MIN_BACK_OFF_SECONDS)
            words = (
                "has been asked too often" if answer.code == TOO_MANY_REQUESTS else "is unavailable"
            )
            raise UpstreamUnavailable(f"the upstream {words}", wait)

    def _take(self, answer: HTTPResponse) -> TopPagesReading:
        if answer.code in UNKNOWN_KEY_STATUSES:
            raise StoreRefused("the upstream knows no such key or host")
        if answer.code != 200:
            raise InvalidTopPages(f"it answers {answer.code}")
        return parse_toppages(answer.body, self._version)

    def _failed(self, error: Exception, queue: _UpstreamQueue) -> None:
        self.failures += 1
        words = _error_text(error)
        if isinstance(error, UpstreamUnavailable):
            queue.breaker.succeeded()  # it is reachable, and names when to retry
        else:
            queue.breaker.failed()
        if words != queue.logged:
            LOG.warning("the upstream gives no answer: %s", words)
            queue.logged = words

    def _note_skipped(self, skipped: int) -> None:
        self.skipped += skipped
        if skipped and not self._skipping:
            LOG.warning("skipped invalid pages of the upstream's response: pages=%d", skipped)
        self._skipping = skipped > 0


def _retry_after_seconds(said: str) -> float:
    """Return the seconds of a Retry-After field, or a default if it is invalid."""
    said = said.strip()
    if said.isascii() and said.isdigit():
        return float(said[:9])
    try:
        moment = parsedate_to_datetime(said)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return max(0.0, (moment - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return DEFAULT_RETRY_SECONDS


def _error_text(error: Exception) -> str:
    """What went wrong, without what was asked."""
    return str(error) or type(error).__name__

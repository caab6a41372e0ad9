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

from rules.budget import LONGEST_WAIT, SHORTEST_WAIT, Breaker, Budget
from rules.toppages import LEGACY, NotPages, Reading, read
from store.errors import StoreAway, StoreRefused
from store.presence import Presence
from store.sites import Sites

LOG = logging.getLogger("marquee.upstream")

PATHS = {"legacy": "/live/toppages/", "v3": "/live/toppages/v3/"}
# Pages that are asked for.
LIMIT = 1_000
# Requests in a minute: for a host, and for all hosts together.
A_MINUTE, IN_ALL = 200, 3_000
# The same for pairs of key and host that the upstream has not answered before; and how many of
# them may be refused, or fail.
UNPROVEN, UNPROVEN_REFUSED = 300, 20
# Requests for a host in a minute that are left to its proven keys.
SPARE = 100
# Seconds for a question in all.
DEADLINE = 4.0
# Bytes of an answer, as it comes and as it is when unpacked.
LARGEST = 2 * 1024 * 1024
LARGEST_HEAD = 32 * 1024
# Requests at once for pairs that are answered quickly, slowly, and that were not answered before.
AT_ONCE, SLOW_AT_ONCE, UNPROVEN_AT_ONCE = 20, 10, 5
# Part of the deadline after which an answer is slow: the pair's next request goes with slow ones.
SLOW = 0.25
# Kept in memory: pairs of key and host that were answered, hosts with a budget, and unproven pairs
# that the upstream wants to be left alone.
PROVEN_KEPT, BUDGETS_KEPT, RESTING_KEPT = 4_000, 2_000, 4_000
# An upstream says so of a key or host that it does not know.
UNKNOWN = (400, 401, 403, 404)
TOO_MANY, UNAVAILABLE = 429, 503
# Default seconds to wait if an upstream sends no Retry-After.
DEFAULT_WAIT = 60.0

Pair = tuple[str, str]  # key, host


class Own:
    """This server's own pageviews: the key is an app's public token."""

    name = "own"
    a_minute: int | None = None
    in_all: int | None = None
    refusals_kept = 0.5

    def __init__(self, sites: Sites, presence: Presence) -> None:
        self._sites = sites
        self._presence = presence

    async def read(self, key: str, host: str) -> Reading:
        """The pages of an app's host; `StoreRefused` for an unknown app, or a host not its own."""
        site = await self._sites.find(key)
        if site is None:
            raise StoreRefused("no app has this public token")
        entry = site.listed(host)
        if entry is None:
            raise StoreRefused("this app lists no such host")
        return self._presence.reading(site.app, entry)

    def trust(self, pairs: Iterable[Pair]) -> None:
        """Do nothing: a look-up in memory has no limit."""

    async def close(self) -> None:
        """Nothing is to be done."""


class _Queue:
    """Requests that share a limit of concurrency, a breaker, a budget and a log message."""

    def __init__(self, at_once: int, a_minute: int, period: float) -> None:
        self.free = at_once
        self.budget = Budget(a_minute)
        self.breaker = Breaker(period)
        self.logged = ""

    def wait(self, now: float) -> float:
        """Seconds until one more request may be sent; 0 for now."""
        return max(self.budget.wait(now), self.breaker.wait(now))


class Upstream:
    """Another server.

    Anyone may ask for any key and host. Pairs that the upstream has answered before ("proven") do
    not share a limit with others, so that made-up ones cannot hold them up; nor do those that it
    answers quickly with those that it answers slowly, or not at all.
    """

    a_minute: int | None = A_MINUTE
    in_all: int | None = IN_ALL
    refusals_kept = 60.0

    def __init__(
        self,
        base: str,
        version: str,
        *,
        period: float,
        deadline: float = DEADLINE,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """`base` is its address without a path, `period` the seconds between tries of a host."""
        self.name = f"{version} {base}"
        self.requests = 0
        self.failures = 0
        self.skipped = 0  # invalid pages, over all responses
        self._address = base.rstrip("/") + PATHS[version]
        self._version = version
        self._deadline = deadline
        self._clock = clock
        self._proven: LRUCache[Pair, Budget] = LRUCache(PROVEN_KEPT)
        self._budgets: LRUCache[str, Budget] = LRUCache(BUDGETS_KEPT)
        self._resting: LRUCache[Pair, float] = LRUCache(RESTING_KEPT)
        self._slow_pairs: LRUCache[Pair, None] = LRUCache(PROVEN_KEPT)
        self._regular = _Queue(AT_ONCE, IN_ALL, period)
        self._slow = _Queue(SLOW_AT_ONCE, IN_ALL, period)
        self._unproven = _Queue(UNPROVEN_AT_ONCE, UNPROVEN, period)
        self._refused = Budget(UNPROVEN_REFUSED)
        self._skipping = False
        self._client = SimpleAsyncHTTPClient(
            force_instance=True,
            max_clients=AT_ONCE + SLOW_AT_ONCE + UNPROVEN_AT_ONCE,
            max_buffer_size=LARGEST,
            max_body_size=LARGEST,
            max_header_size=LARGEST_HEAD,
        )

    def trust(self, pairs: Iterable[Pair]) -> None:
        """Treat pairs that were answered before a restart as proven."""
        for pair in pairs:
            self._prove(pair)

    async def read(self, key: str, host: str) -> Reading:
        """Return the pages of a host; `StoreRefused` if the upstream does not know it or the key.

        `StoreAway` when it gives no answer that can be used, or is not to be asked now.
        """
        now, pair = self._clock(), (key, host)
        proven = self._proven.get(pair)
        queue = self._regular if pair not in self._slow_pairs else self._slow
        if proven is None:
            queue = self._unproven
        if wait := max(queue.wait(now), self._wait(pair, now)):
            raise StoreAway("the upstream is not to be asked now", wait)
        if not queue.free:
            raise StoreAway("too many questions are on their way to the upstream", 1.0)
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
        except (StoreAway, NotPages, OSError, HTTPClientError, ValueError) as error:
            self._failed(error, queue)
            if isinstance(error, StoreAway):
                raise
            raise StoreAway(f"the upstream gives no answer: {_words(error)}") from None
        finally:
            queue.free += 1
            if self._clock() - now > SLOW * self._deadline:
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

    def _prove(self, pair: Pair) -> Budget:
        host = pair[1]
        budget = self._budgets.get(host)
        if budget is None:
            budget = self._budgets[host] = Budget(A_MINUTE)
        self._proven[pair] = budget
        return budget

    def _wait(self, pair: Pair, now: float) -> float:
        """Seconds until one more request may be sent for a pair, by itself; 0 for now."""
        if (budget := self._proven.get(pair)) is not None:
            return budget.wait(now)
        # An invalid host gets no budget, as it would displace that of a valid one.
        known = self._budgets.get(pair[1])
        waits = self._refused.wait(now), 0.0 if known is None else known.wait(now, SPARE)
        return max(*waits, self._resting.get(pair, now) - now)

    def _request(self, key: str, host: str) -> HTTPRequest:
        asked: dict[str, object] = {"host": host, "limit": LIMIT}
        headers = {"Accept": "application/json", "User-Agent": "Marquee"}
        if self._version == LEGACY:
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

    def _heed(self, answer: HTTPResponse, pair: Pair) -> None:
        """Do as the upstream says about how often it is asked."""
        now = self._clock()
        # A refusal of an unproven key may concern that key alone.
        budget = self._proven.get(pair)
        left = answer.headers.get("X-RateLimit-Remaining", "").strip()
        if budget is not None and left.isascii() and left.isdigit():
            budget.told(int(left[:9]), now)
        later = answer.headers.get("Retry-After", "")
        if answer.code == TOO_MANY or (answer.code == UNAVAILABLE and later):
            wait = min(_seconds(later), LONGEST_WAIT)
            if budget is not None:
                budget.rest(wait, now)
            else:
                self._resting[pair] = now + max(wait, SHORTEST_WAIT)
            words = "has been asked too often" if answer.code == TOO_MANY else "is unavailable"
            raise StoreAway(f"the upstream {words}", wait)

    def _take(self, answer: HTTPResponse) -> Reading:
        if answer.code in UNKNOWN:
            raise StoreRefused("the upstream knows no such key or host")
        if answer.code != 200:
            raise NotPages(f"it answers {answer.code}")
        return read(answer.body, self._version)

    def _failed(self, error: Exception, queue: _Queue) -> None:
        self.failures += 1
        words = _words(error)
        if isinstance(error, StoreAway):
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


def _seconds(said: str) -> float:
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
        return DEFAULT_WAIT


def _words(error: Exception) -> str:
    """What went wrong, without what was asked."""
    return str(error) or type(error).__name__

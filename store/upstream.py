"""Where a host's pages and their visitors are read: from this server itself, or another one.

Another one is asked over HTTP and not trusted: it may hang, drip, break, redirect, or answer
with more than fits. Each question ends within a deadline, costs a bounded amount of memory, and
is asked no more often than the upstream wants.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from time import monotonic
from urllib.parse import urlencode

from tornado.httpclient import HTTPClientError, HTTPRequest, HTTPResponse
from tornado.simple_httpclient import SimpleAsyncHTTPClient

from rules.budget import Breaker, Budget
from rules.toppages import LEGACY, NotPages, Reading, read
from store.errors import StoreAway, StoreRefused
from store.presence import Presence
from store.sites import Sites

LOG = logging.getLogger("marquee.upstream")

PATHS = {"legacy": "/live/toppages/", "v3": "/live/toppages/v3/"}
# Pages that are asked for.
LIMIT = 1_000
# Requests for a host in a minute.
A_MINUTE = 200
# Seconds for a question in all.
DEADLINE = 4.0
# Bytes of an answer, as it comes and as it is when unpacked.
LARGEST = 2 * 1024 * 1024
LARGEST_HEAD = 32 * 1024
# Questions at once, and hosts whose budgets are kept.
AT_ONCE, BUDGETS = 20, 2_000
# An upstream says so of a key or host that it does not know.
UNKNOWN = (400, 401, 403, 404)
TOO_MANY = 429


class Own:
    """This server's own pageviews: the key is an app's public token."""

    name = "own"
    a_minute: int | None = None

    def __init__(self, sites: Sites, presence: Presence) -> None:
        self._sites = sites
        self._presence = presence

    async def read(self, key: str, host: str) -> Reading:
        """The pages of an app's host; `StoreRefused` for an unknown app, or a host not its own."""
        site = await self._sites.find(key)
        if site is None:
            raise StoreRefused("no app has this public token")
        if host not in site.hosts:
            raise StoreRefused("this app lists no such host")
        return self._presence.reading(site.app, host)

    async def close(self) -> None:
        """Nothing is to be done."""


class Upstream:
    """Another server."""

    a_minute: int | None = A_MINUTE

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
        self._breaker = Breaker(period)
        self._budgets: OrderedDict[str, Budget] = OrderedDict()
        self._free = AT_ONCE
        self._told = ""
        self._skipping = False
        self._client = SimpleAsyncHTTPClient(
            force_instance=True,
            max_clients=AT_ONCE,
            max_buffer_size=LARGEST,
            max_body_size=LARGEST,
            max_header_size=LARGEST_HEAD,
        )

    async def read(self, key: str, host: str) -> Reading:
        """The pages of a host; `StoreRefused` if it says that it knows no such key or host.

        `StoreAway` when it gives no answer that can be used, or is not to be asked now.
        """
        now, budget = self._clock(), self._budget(host)
        if wait := max(budget.wait(now), self._breaker.wait(now)):
            raise StoreAway("the upstream is not to be asked now", wait)
        if not self._free:
            raise StoreAway("too many questions are on their way to the upstream", 1.0)
        budget.spend(now)
        self._breaker.trying(now)
        self._free -= 1
        self.requests += 1
        try:
            answer = await self._client.fetch(self._request(key, host), raise_error=False)
            self._heed(answer, budget)
            reading = self._take(answer)
        except StoreRefused:
            self._breaker.succeeded()
            raise
        except (StoreAway, NotPages, OSError, HTTPClientError, ValueError) as error:
            self._failed(error)
            if isinstance(error, StoreAway):
                raise
            raise StoreAway(f"the upstream gives no answer: {_words(error)}") from None
        finally:
            self._free += 1
        self._breaker.succeeded()
        if self._told:
            LOG.info("the upstream answers again")
            self._told = ""
        self._note_skipped(reading.skipped)
        return reading

    async def close(self) -> None:
        """Cut what is on its way."""
        self._client.close()

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

    def _heed(self, answer: HTTPResponse, budget: Budget) -> None:
        """Do as the upstream says about how often it is asked."""
        now = self._clock()
        left = answer.headers.get("X-RateLimit-Remaining", "").strip()
        if left.isascii() and left.isdigit():
            budget.told(int(left[:9]), now)
        if answer.code == TOO_MANY:
            wait = _seconds(answer.headers.get("Retry-After", ""))
            budget.rest(wait, now)
            raise StoreAway("the upstream has been asked too often", wait)

    def _take(self, answer: HTTPResponse) -> Reading:
        if answer.code in UNKNOWN:
            raise StoreRefused("the upstream knows no such key or host")
        if answer.code != 200:
            raise NotPages(f"it answers {answer.code}")
        return read(answer.body, self._version)

    def _failed(self, error: Exception) -> None:
        self.failures += 1
        words = _words(error)
        if isinstance(error, StoreAway):
            self._breaker.succeeded()  # it is there, and says when to come back
        else:
            self._breaker.failed()
        if words != self._told:
            LOG.warning("the upstream gives no answer: %s", words)
            self._told = words

    def _note_skipped(self, skipped: int) -> None:
        self.skipped += skipped
        if skipped and not self._skipping:
            LOG.warning("skipped invalid pages of the upstream's response: pages=%d", skipped)
        self._skipping = skipped > 0

    def _budget(self, host: str) -> Budget:
        budget = self._budgets.get(host)
        if budget is None:
            budget = self._budgets[host] = Budget(A_MINUTE)
            if len(self._budgets) > BUDGETS:
                self._budgets.popitem(last=False)
        self._budgets.move_to_end(host)
        return budget


def _seconds(said: str) -> float:
    """What a Retry-After says; a minute if that is nothing to go by."""
    said = said.strip()
    if said.isascii() and said.isdigit():
        return float(said[:9])
    try:
        moment = parsedate_to_datetime(said)
    except ValueError:
        return 60.0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _words(error: Exception) -> str:
    """What went wrong, without what was asked."""
    return str(error) or type(error).__name__

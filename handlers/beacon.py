"""What `static/beacon.js` sends: pageviews, which are logged, and heartbeats, which are not.

It comes as `text/plain`, which browsers send to other hosts without asking first.
"""

import asyncio
import hashlib
from collections.abc import Awaitable
from time import time_ns

from handlers.answers import NO_STORE, ROOT, SECURITY, held, prefetched, problem
from handlers.origins import VARY, preflight, shared
from handlers.taking import LATER, PAUSE
from rules.beacon import VIEW, Sign, read, row
from rules.event import WrongEvent
from rules.hosts import of_origin
from store.batch import Outcome
from store.errors import StoreError
from store.log import Log
from store.presence import Presence
from store.sites import Site, Sites
from wire import Lane, Request, Response, Unhurried

# Without comments and indentation, to keep it within 1 KB.
SCRIPT = b"".join(
    line
    for each in (ROOT / "static" / "beacon.js").read_bytes().splitlines()
    if not (line := each.strip()).startswith(b"//")
)
TAG = f'"{hashlib.sha256(SCRIPT).hexdigest()[:32]}"'
# Every page of a site carries it: it is asked for anew once an hour, and then by its tag.
ABOUT = (
    ("ETag", TAG),
    ("Cache-Control", "public, max-age=3600, stale-while-revalidate=86400"),
    *SECURITY,
    ("Cross-Origin-Resource-Policy", "cross-origin"),
)
WHOLE = Response(200, [("Content-Type", "text/javascript; charset=utf-8"), *ABOUT], SCRIPT)
UNCHANGED = Response(304, ABOUT)
METHODS = "POST, OPTIONS"
LARGEST = 8_192
HEADERS = (NO_STORE, *SECURITY, VARY)
TAKEN = Response(204, HEADERS)
UNKNOWN = problem(404, "No app has this public token.")
FULL = Unhurried(problem(503, "More events are waiting than can be held.", LATER), PAUSE)

Stored = asyncio.Future[list[Outcome]]


class Beacon:
    """The lanes of `POST /api/v1/beacon/{public_token}`, and of the script that sends it."""

    def __init__(self, sites: Sites, presence: Presence, log: Log) -> None:
        self._sites = sites
        self._presence = presence
        self._log = log

    def lanes(self) -> list[Lane]:
        """Their addresses."""
        pattern = r"/api/v1/beacon/([\w.~-]{1,100})"
        return [
            Lane("POST", pattern, self.post, body_limit=LARGEST, name="beacon"),
            Lane("OPTIONS", pattern, self.options, name="beacon"),
            Lane("GET", r"/static/beacon\.js", _script, name="beacon script"),
        ]

    def post(self, request: Request) -> Response | Awaitable[Response]:
        """Take a sign of life: 204 at once, of a pageview when it is on disk."""
        if request.header("Sec-GPC") == "1" or request.header("DNT") == "1":
            return TAKEN
        # A prerendered page reports again when it is shown.
        if prefetched(request):
            return TAKEN
        site = self._sites.known(request.params[0])
        return self._find(request) if site is None else self._take(request, site)

    async def _find(self, request: Request) -> Response:
        site = await self._sites.find(request.params[0])
        if site is None:
            return UNKNOWN
        answer = self._take(request, site)
        return answer if isinstance(answer, Response) else await answer

    def _take(self, request: Request, site: Site) -> Response | Awaitable[Response]:
        try:
            sign = read(request.body)
        except WrongEvent as wrong:
            told = "; ".join(f"{fault.pointer} {fault.message}".strip() for fault in wrong.faults)
            return problem(400, f"This is no sign of life: {told}.")
        origin = request.header("Origin")
        # A page may hide its origin, and then has none.
        if origin not in (None, "null") and of_origin(origin or "") != sign.host:
            return problem(403, f"The page's host {sign.host!r} is not that of its origin.", VARY)
        if site.listed(sign.host) is None:
            return problem(403, f"This app does not list the host {sign.host!r}: add it.", VARY)
        if sign.kind == VIEW and not self._log.room(0):
            return FULL
        answer = shared(TAKEN, origin, site.hosts)
        stored = self.keep(sign, site)
        return answer if stored is None else _answered(stored, answer)

    def keep(self, sign: Sign, site: Site) -> Stored | None:
        """Take a sign: a heartbeat at once, a pageview when the future is done."""
        if sign.kind == VIEW:
            now = time_ns() // 1000
            return self._log.append((row(sign, site.app, now),), received=now, counted=False)
        entry = site.listed(sign.host)
        if entry is not None:
            self._presence.see(site.app, entry, sign.path, sign.session, title=sign.title)
        return None

    async def options(self, request: Request) -> Response:
        """Answer the CORS preflight request of a page that sends JSON."""
        site = await self._sites.find(request.params[0])
        hosts = () if site is None else site.hosts
        return preflight(METHODS, request.header("Origin"), hosts)


def _script(request: Request) -> Response:
    return UNCHANGED if held(request, TAG) else WHOLE


async def _answered(stored: Stored, answer: Response) -> Response:
    try:
        await stored
    except StoreError as error:
        return problem(503, f"This was not stored ({error}).", LATER)
    return answer

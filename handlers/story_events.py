"""Taking the events of stories, from whoever has an app's public token.

They are no authenticated requests: they are in no count of `/metrics`' sum, and one that is wrong
is told so and not kept, as it may hold a user's own id, of which nothing is to stay here.
"""

from collections.abc import Awaitable, Collection
from typing import Any, NamedTuple

from handlers.answers import NO_STORE, PROBLEM, SECURITY, problem, problem_body
from handlers.origins import VARY, preflight, shared
from handlers.taking import ACCEPTED as TAKEN
from handlers.taking import FULL as WAITING
from handlers.taking import JSON, LATER, Clock, kind_of, now
from rules.event import WrongEvent
from rules.faults import Fault
from rules.story_event import pseudonym, read, row
from store.batch import Outcome
from store.log import Log
from store.shelves import Shelf, Shelves
from store.story_types import StoryTypes
from wire import Lane, Later, Request, Response

PATTERN = r"/api/v1/event/([\w.~-]{1,100})"
METHODS = "POST, OPTIONS"
# Bytes of a body: a word, a user's id, and room for how else they may be written.
LARGEST = 8_192
NOBODY = problem(404, "There is no app with this public token.", VARY)
FOREIGN = problem(404, "This app has no such story.", VARY)
FULL = WAITING.extended(VARY)
UNFIT = problem(422, "This event cannot be stored.", VARY)
# What a page sends without asking first is text to a browser.
PLAIN = "text/plain"
NOT_TAKEN = problem(415, f"Send an event as {JSON}, in UTF-8.", VARY)
ACCEPTED = TAKEN.extended(VARY)
# So many heads are known again, the short ones: those of a sender are mostly alike.
MET, SHORT_HEAD = 4_096, 512
WORDS = {400: "This is not JSON as it is read here.", 422: "This is not a right event of a story."}


class StoryEvents:
    """The lane of `POST /api/v1/event/{public_token}`."""

    def __init__(
        self,
        shelves: Shelves[Any],
        log: Log,
        salt: bytes,
        types: StoryTypes,
        clock: Clock = now,
    ) -> None:
        """`salt` is the installation's own; `clock` tells the microseconds since 1970."""
        self._types = types
        self._shelves = shelves
        self._log = log
        self._salt = salt
        self._clock = clock
        self._met: dict[bytes, Said] = {}

    def lanes(self) -> list[Lane]:
        """The address."""
        return [
            Lane("POST", PATTERN, self.post, body_limit=LARGEST, name="story events"),
            Lane("OPTIONS", PATTERN, self.options, name="story events"),
        ]

    async def options(self, request: Request) -> Response:
        """What a browser asks before a page may."""
        shelf = await self._shelves.get(request.params[0])
        hosts = () if shelf is None else shelf.shown.hosts
        return preflight(METHODS, request.header("Origin"), hosts)

    def post(self, request: Request) -> Response | Awaitable[Response]:
        """Take what the body holds."""
        try:
            shelf = self._shelves.peek(request.params[0])
        except KeyError:
            return self._introduced(request)
        return self._take(request, shelf)

    async def _introduced(self, request: Request) -> Response:
        shelf = await self._shelves.get(request.params[0])
        answer = self._take(request, shelf)
        return answer if isinstance(answer, Response) else await answer

    def _take(self, request: Request, shelf: Shelf[Any] | None) -> Response | Awaitable[Response]:
        if shelf is None:
            return NOBODY
        said = self._met.get(request.head) or self._meet(request)
        origin, hosts, body = said.origin, shelf.shown.hosts, request.body
        if not said.is_json:
            return shared(NOT_TAKEN, origin, hosts)
        if not self._log.room(len(body)):
            return shared(FULL, origin, hosts)
        at = self._clock()
        try:
            event = read(body, at)
        except WrongEvent as wrong:
            return shared(_wrong(wrong), origin, hosts)
        if event.story not in shelf.stories:
            return shared(FOREIGN, origin, hosts)
        app = shelf.shown.app
        try:
            if not self._types.takes(app, event.type):
                return shared(self._one_too_many(), origin, hosts)
        except KeyError:
            return self._after_types(request, shelf)
        user = None
        if event.user is not None and not said.is_private:
            user = pseudonym(self._salt, app, event.user)
        rows, answer = (row(event, app, user),), Taken(origin, hosts)
        self._log.take(answer, rows, received=at, size=len(body), counted=False)
        return answer

    async def _after_types(self, request: Request, shelf: Shelf[Any]) -> Response:
        await self._types.load(shelf.shown.app)
        answer = self._take(request, shelf)
        return answer if isinstance(answer, Response) else await answer

    def _one_too_many(self) -> Response:
        fault = Fault("/event_type", f"is new, and this app has {self._types.most:,} types already")
        return _wrong(WrongEvent([fault]))

    def _meet(self, request: Request) -> "Said":
        said = Said(
            request.header("Origin"),
            _is_json(request.header("Content-Type")),
            request.header("Sec-GPC") == "1" or request.header("DNT") == "1",
        )
        if len(request.head) <= SHORT_HEAD:
            if len(self._met) >= MET:
                self._met.clear()
            self._met[request.head] = said
        return said


class Said(NamedTuple):
    """What a request's head says: whose page it comes from, and how it is to be taken."""

    origin: str | None
    is_json: bool
    is_private: bool  # by Global Privacy Control, or what was there before: nobody is to be counted


class Taken(Later):
    """The answer to an event, when it is on disk."""

    __slots__ = ("_hosts", "_origin")

    def __init__(self, origin: str | None, hosts: Collection[str]) -> None:
        super().__init__()
        self._origin = origin
        self._hosts = hosts

    def settled(self, outcomes: list[Outcome]) -> None:
        """Answer what became of it; the log calls this."""
        ((number, verdict),) = outcomes
        answer = ACCEPTED.with_body(b'{"id":"%d"}' % number) if verdict == "stored" else UNFIT
        self.come(shared(answer, self._origin, self._hosts))

    def failed(self, error: Exception) -> None:
        """Answer that it was not stored; the log calls this."""
        answer = problem(503, f"This was not stored ({error}); send it again.", LATER, VARY)
        self.come(shared(answer, self._origin, self._hosts))


def _is_json(said: str | None) -> bool:
    """Whether a `Content-Type` is JSON's, or that which a page sends without asking first."""
    if said is not None and said.lstrip().lower().startswith(PLAIN):
        said = JSON + said.lstrip()[len(PLAIN) :]
    return kind_of(said) == JSON


def _wrong(wrong: WrongEvent) -> Response:
    status = 400 if wrong.malformed else 422
    body = problem_body(status, WORDS[status], wrong.faults)
    return Response(status, [PROBLEM, NO_STORE, VARY, *SECURITY], body)

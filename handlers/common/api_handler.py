"""What addresses that are asked for events share: who may see what, and the query's arguments."""

import asyncio
import difflib
import re
from collections.abc import Awaitable, Hashable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import msgspec

from domain.common.timestamp import InvalidTimestamp, parse_day_or_timestamp
from domain.common.validation_errors import FieldError
from domain.events.event_batch import EVENT_NOT_STORABLE, SENDER_ID_CONFLICT
from handlers.common.base_handler import ApiError, BaseHandler
from httpserver import MemoryBudget, Response, reservation_owners
from store.api.errors import StoreError
from store.sqlite.admin.apps import AppAccess
from store.sqlite.events.commit_batch import AppendOutcome
from store.sqlite.events.event_log import EventLog

T = TypeVar("T")

DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE = 100, 1_000
MAX_INT64 = 2**63 - 1
NUMBER_PATTERN = re.compile("[0-9]{1,19}", re.ASCII)


class ApiHandler(BaseHandler):
    """The base of handlers that take a query apart."""

    async def reader(self) -> int | None:
        """The app whose events may be seen, and are asked for; None for those of all apps.

        A `read` token sees its own app's, an `admin` token all.
        """
        access = await self.access_to("read", "admin")
        app = self.number("app")
        if "admin" in access.scopes:
            return app
        if app not in (None, access.app):
            raise ApiError(403, "A `read` token sees its own app's events; `admin` sees all.")
        return access.app

    async def access_to(self, *scopes: str) -> AppAccess:
        """Who asks, with a token that has one of these scopes."""
        access = await self.who()
        if not access.scopes.intersection(scopes):
            raise ApiError(403, f"This token lacks the scope `{scopes[0]}`.")
        return access

    def only(self, *names: str) -> None:
        """Refuse arguments that are none of these: one that is misspelt would ask for more."""
        for name in self.request.query_arguments:
            if name not in names:
                nearest = difflib.get_close_matches(name, names, 1)
                meant = (
                    f": did you mean `{nearest[0]}`?"
                    if nearest
                    else f"; these are: {', '.join(names)}"
                )
                raise self.wrong(name, f"is not known here{meant}")

    def word(self, name: str) -> str | None:
        """A text argument; None if there is none."""
        return self.get_query_argument(name, None, strip=False)

    def number(self, name: str, *, least: int = 0, most: int = MAX_INT64) -> int | None:
        """A whole number; None if there is none."""
        said = self.word(name)
        if said is None:
            return None
        if not NUMBER_PATTERN.fullmatch(said) or not least <= int(said) <= most:
            raise self.wrong(name, f"is not a whole number from {least} to {most}")
        return int(said)

    def limit(self) -> int:
        """How many are asked for."""
        return self.number("limit", least=1, most=MAX_PAGE_SIZE) or DEFAULT_PAGE_SIZE

    def moment(self, name: str) -> int | None:
        """A moment in µs, as in events; a day alone is its first moment. None if there is none."""
        said = self.word(name)
        if said is None:
            return None
        # A plus that was not escaped came as a blank.
        said = re.sub(r"(:\d\d(?:\.\d+)?) (\d\d(?::?\d\d)?)$", r"\1+\2", said)
        try:
            return parse_day_or_timestamp(said)
        except InvalidTimestamp as error:
            raise self.wrong(name, str(error)) from None

    def wrong(self, name: str, message: str) -> ApiError:
        """The refusal of an argument."""
        return ApiError(422, f"`{name}` {message}.", [FieldError(f"/{name}", message)])

    def make_room(self, log: EventLog, size: int) -> None:
        """Turn a request of `size` bytes away if the log can't hold it now."""
        if not log.room(size):
            log.refuse()
            raise self.later("More events are waiting than can be held")

    async def stored(self, appended: "asyncio.Future[list[AppendOutcome]]") -> AppendOutcome:
        """What became of one event, when it is on disk; (0, "") if none was appended."""
        try:
            outcomes = await appended
        except StoreError as error:
            raise self.later(f"This was not stored ({error})") from None
        return self.judged(outcomes[0] if outcomes else (0, ""))

    def judged(self, outcome: AppendOutcome) -> AppendOutcome:
        """What became of one event, if it was stored; raises `Refusal`."""
        number, verdict = outcome
        if verdict == "conflict":
            words = "Another event came with this `sender_id`; the first one stays."
            raise ApiError(409, words, [SENDER_ID_CONFLICT])
        if verdict == "rejected":
            raise ApiError(422, "This event cannot be stored.", [EVENT_NOT_STORABLE])
        return number, verdict

    async def cleared(self, doing: Awaitable[T]) -> T:
        """What a deletion comes to, once no byte is left in the files."""
        try:
            return await doing
        except StoreError as error:
            raise self.later(f"Not all of this is gone ({error})") from None

    @contextmanager
    def place(self, places: MemoryBudget, full: str, *others: Hashable) -> Iterator[None]:
        """Hold a place for the client's address, and for `others` that it counts for.

        Raises `Refusal` (503) with the message `full` if there is no free one for them.
        """
        owners = (*reservation_owners(self.request.remote_ip or "", None), *others)
        if not places.take(1, owners):
            raise self.later(full)
        try:
            yield
        finally:
            places.leave(1, owners)

    def later(self, words: str) -> ApiError:
        """The refusal of what may be sent again."""
        return ApiError(503, f"{words}; send it again.", headers=[("Retry-After", "1")])

    def send_value(self, value: object) -> None:
        """Answer with `value`, in which JSON may stand as it is."""
        self.set_header("Content-Type", "application/json")
        self.finish(msgspec.json.encode(value))

    def send(self, response: Response) -> None:
        """Answer as a lane does."""
        self.set_status(response.status)
        for name, value in response.headers:
            self.set_header(name, value)
        self.finish(response.body)

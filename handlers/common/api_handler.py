"""Base handler of the JSON API: scopes, query arguments, store errors, responses."""

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
from store.sqlite.admin.token_authenticator import AppAccess
from store.sqlite.events.commit_batch import AppendOutcome
from store.sqlite.events.event_log import EventLog

T = TypeVar("T")

DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE = 100, 1_000
MAX_INT64 = 2**63 - 1
NUMBER_PATTERN = re.compile("[0-9]{1,19}", re.ASCII)


class ApiHandler(BaseHandler):
    """Parses query arguments and maps store errors to problem details."""

    async def readable_app(self) -> int | None:
        """Return the app whose events the token may read; None for the events of all apps.

        A `read` token may read its own app, an `admin` token every app. The query argument `app`
        narrows the result. Raises 403 for another app.
        """
        access = await self.require_any_scope("read", "admin")
        app = self.int_argument("app")
        if "admin" in access.scopes:
            return app
        if app not in (None, access.app):
            raise ApiError(403, "A `read` token reads only events of its own app; use `admin`.")
        return access.app

    async def require_any_scope(self, *scopes: str) -> AppAccess:
        """Return the access of the token; raise 403 unless it has one of these scopes."""
        access = await self.authenticate()
        if not access.scopes.intersection(scopes):
            raise ApiError(403, f"This token lacks the scope `{scopes[0]}`.")
        return access

    def reject_unknown_arguments(self, *names: str) -> None:
        """Raise 422 for query arguments not in `names`.

        A misspelt filter would otherwise be ignored and match more than the client wants.
        """
        for name in self.request.query_arguments:
            if name not in names:
                nearest = difflib.get_close_matches(name, names, 1)
                hint = (
                    f": did you mean `{nearest[0]}`?"
                    if nearest
                    else f"; known arguments: {', '.join(names)}"
                )
                raise self.argument_error(name, f"is unknown{hint}")

    def text_argument(self, name: str) -> str | None:
        """Return a query argument as text, None if it is absent."""
        return self.get_query_argument(name, None, strip=False)

    def int_argument(self, name: str, *, minimum: int = 0, maximum: int = MAX_INT64) -> int | None:
        """Return a query argument as an integer, None if it is absent; raise 422 if invalid."""
        text = self.text_argument(name)
        if text is None:
            return None
        if not NUMBER_PATTERN.fullmatch(text) or not minimum <= int(text) <= maximum:
            raise self.argument_error(name, f"must be a whole number from {minimum} to {maximum}")
        return int(text)

    def page_size(self) -> int:
        """Return the query argument `limit`, or the default page size."""
        return self.int_argument("limit", minimum=1, maximum=MAX_PAGE_SIZE) or DEFAULT_PAGE_SIZE

    def time_argument(self, name: str) -> int | None:
        """Return a timestamp in µs, None if it is absent; a date means its first instant."""
        text = self.text_argument(name)
        if text is None:
            return None
        # An unescaped plus sign of the UTC offset arrives as a blank.
        text = re.sub(r"(:\d\d(?:\.\d+)?) (\d\d(?::?\d\d)?)$", r"\1+\2", text)
        try:
            return parse_day_or_timestamp(text)
        except InvalidTimestamp as error:
            raise self.argument_error(name, str(error)) from None

    def argument_error(self, name: str, message: str) -> ApiError:
        """Return a 422 error for a query argument."""
        return ApiError(422, f"`{name}` {message}.", [FieldError(f"/{name}", message)])

    def require_log_capacity(self, log: EventLog, size: int) -> None:
        """Raise 503 if the event log cannot queue a request of `size` bytes now."""
        if not log.has_room(size):
            log.count_refused()
            raise self.retry_later_error("The event log is overloaded")

    async def await_stored(self, appended: "asyncio.Future[list[AppendOutcome]]") -> AppendOutcome:
        """Return the outcome of one event once it is on disk; (0, "") for an empty append."""
        try:
            outcomes = await appended
        except StoreError as error:
            raise self.retry_later_error(f"Not stored ({error})") from None
        return self.check_outcome(outcomes[0] if outcomes else (0, ""))

    def check_outcome(self, outcome: AppendOutcome) -> AppendOutcome:
        """Return the outcome; raise 409 for a conflict, 422 for an event that is not storable."""
        number, verdict = outcome
        if verdict == "conflict":
            detail = "Another event has this `sender_id`; the stored one is unchanged."
            raise ApiError(409, detail, [SENDER_ID_CONFLICT])
        if verdict == "rejected":
            raise ApiError(422, "This event cannot be stored.", [EVENT_NOT_STORABLE])
        return number, verdict

    async def await_deletion(self, deletion: Awaitable[T]) -> T:
        """Return the result of a deletion once the data is erased from the files."""
        try:
            return await deletion
        except StoreError as error:
            raise self.retry_later_error(f"Not everything is deleted ({error})") from None

    @contextmanager
    def reserve(
        self, budget: MemoryBudget, message: str, *extra_owners: Hashable
    ) -> Iterator[None]:
        """Hold one unit of `budget` for the client address and `extra_owners`.

        Raises 503 with `message` if one of them has no free unit.
        """
        owners = (*reservation_owners(self.request.remote_ip or "", None), *extra_owners)
        if not budget.reserve(1, owners):
            raise self.retry_later_error(message)
        try:
            yield
        finally:
            budget.release(1, owners)

    @staticmethod
    def retry_later_error(message: str) -> ApiError:
        """Return a 503 error for a request that may be retried after a second."""
        return ApiError(503, f"{message}; send it again.", headers=[("Retry-After", "1")])

    def send_struct(self, value: object) -> None:
        """Send a msgspec struct or builtins as JSON; `msgspec.Raw` members stay as they are."""
        self.set_header("Content-Type", "application/json")
        self.finish(msgspec.json.encode(value))

    def send_response(self, response: Response) -> None:
        """Send a response of a fast route."""
        self.set_status(response.status)
        for name, value in response.headers:
            self.set_header(name, value)
        self.finish(response.body)

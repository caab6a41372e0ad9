"""`POST /api/v1/conversions`: store the revenue of a click."""

from time import time_ns

from domain.banners.conversion import CONVERSION_ID_CONFLICT, has_conversion_id
from domain.events.event import InvalidEvent
from domain.events.event_batch import encode_errors
from handlers.common.api_handler import ApiHandler
from handlers.common.base_handler import ApiError
from store.sqlite.core.database import Database
from store.sqlite.events.click_log import resolve_conversion
from store.sqlite.events.commit_batch import AppendOutcome
from store.sqlite.events.event_log import EventLog


class ConversionsHandler(ApiHandler):
    """Accepts `{"click_id": …, "revenue": …}`; with a `conversion_id` a retry is idempotent.

    Conversion ids are unique per app, and independent of the ids in imported files.
    """

    def initialize(self, database: Database, log: EventLog) -> None:
        """`database` holds the clicks; `log` stores the conversions."""
        self._database = database
        self._event_log = log
        self._has_conversion_id = False

    def count_refused(self) -> None:
        """Count the request among the refused events."""
        self._event_log.count_refused()

    async def post(self) -> None:
        """Store a conversion and respond when it is on disk."""
        access = await self.require_any_scope("write")
        body, now = self.request.body, time_ns() // 1000
        self.require_log_capacity(self._event_log, len(body))
        try:
            row = await resolve_conversion(self._database, body, access.app, now)
        except InvalidEvent as error:
            rejected = (access.app, body, encode_errors(error.faults))
            await self.await_stored(
                self._event_log.append((), (rejected,), received=now, size=len(body))
            )
            detail = "The conversion is invalid; it is stored as a rejected event."
            raise ApiError(400 if error.malformed else 422, detail, error.faults) from None
        appended = self._event_log.append((row,), received=now, size=len(body), bodies=(body,))
        self._has_conversion_id = has_conversion_id(row)
        number, _ = await self.await_stored(appended)
        self.set_status(202)
        self.send_json({"id": str(number)})

    def check_outcome(self, outcome: AppendOutcome) -> AppendOutcome:
        """Return the outcome; raise 409 for a used `conversion_id`."""
        if outcome[1] == "conflict" and self._has_conversion_id:
            detail = "Another conversion has this `conversion_id`; the stored one is unchanged."
            raise ApiError(409, detail, [CONVERSION_ID_CONFLICT])
        return super().check_outcome(outcome)

"""`POST /api/v1/conversions`: what a click on a banner has earned."""

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
    """Accepts `{"click_id": …, "revenue": …}`; with a `conversion_id`, a retry is stored once.

    Conversion ids are unique within an app, and independent of those in imported files.
    """

    def initialize(self, database: Database, log: EventLog) -> None:
        """`database` knows the clicks, `log` takes the conversions."""
        self._database = database
        self._journal = log
        self._has_own_id = False

    def count_refused(self) -> None:
        """Count it among the events that were turned away."""
        self._journal.refuse()

    async def post(self) -> None:
        """Take a conversion; answer when it is on disk."""
        access = await self.require_any_scope("write")
        body, now = self.request.body, time_ns() // 1000
        self.require_log_capacity(self._journal, len(body))
        try:
            row = await resolve_conversion(self._database, body, access.app, now)
        except InvalidEvent as wrong:
            reject = (access.app, body, encode_errors(wrong.faults))
            await self.await_stored(
                self._journal.append((), (reject,), received=now, size=len(body))
            )
            words = "This is not a right conversion; it is kept among the rejected events."
            raise ApiError(400 if wrong.malformed else 422, words, wrong.faults) from None
        appended = self._journal.append((row,), received=now, size=len(body), bodies=(body,))
        self._has_own_id = has_conversion_id(row)
        number, _ = await self.await_stored(appended)
        self.set_status(202)
        self.send_json({"id": str(number)})

    def check_outcome(self, outcome: AppendOutcome) -> AppendOutcome:
        """Return the outcome; raise `Refusal` for a conflict."""
        if outcome[1] == "conflict" and self._has_own_id:
            words = "Another conversion with this `conversion_id` exists and was kept."
            raise ApiError(409, words, [CONVERSION_ID_CONFLICT])
        return super().check_outcome(outcome)

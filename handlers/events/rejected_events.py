"""The events that were not right: listed, and replayed when a rule has changed."""

from typing import Any

from domain.events.event import InvalidEvent
from handlers.common.api_handler import MAX_INT64, ApiHandler
from handlers.common.base_handler import ApiError
from store.api.errors import StoreError, StoreRefused
from store.sqlite.core.database import Database
from store.sqlite.events.rejected_event_queries import RejectedEventFilter, rejected_events_page
from store.sqlite.events.rejected_event_replay import RejectedEventReplayer

REJECTED_EVENTS_PATTERN = r"(?:/api/v1)?/rejected-events"


def routes(database: Database, replays: RejectedEventReplayer) -> list[Any]:
    """Where these are."""
    return [
        (REJECTED_EVENTS_PATTERN, RejectedEventsHandler, {"database": database}),
        (
            REJECTED_EVENTS_PATTERN + r"/(\d{1,19})/replay",
            RejectedEventReplayHandler,
            {"replays": replays},
        ),
    ]


class RejectedEventsHandler(ApiHandler):
    """`GET /rejected-events?app=&from=&to=&limit=&cursor=`."""

    def initialize(self, database: Database) -> None:
        """`database` holds them."""
        self._database = database

    async def get(self) -> None:
        """A page of them, newest first."""
        wanted = RejectedEventFilter(
            await self.readable_app(), self.time_argument("from"), self.time_argument("to")
        )
        cursor = self.int_argument("cursor")
        after = None if cursor is None else str(cursor)
        self.send_struct(
            await rejected_events_page(self._database, wanted, self.page_size(), after)
        )


class RejectedEventReplayHandler(ApiHandler):
    """`POST /rejected-events/{id}/replay`."""

    def initialize(self, replays: RejectedEventReplayer) -> None:
        """`replays` judges it by the rules as they are now."""
        self._replays = replays

    async def post(self, said: str) -> None:
        """Take it now; once it is on disk it is no reject any more."""
        access = await self.require_any_scope("write", "admin")
        app = None if "admin" in access.scopes else access.app
        try:
            outcome = await self._replays.replay(min(int(said), MAX_INT64), app)
        except InvalidEvent as wrong:
            raise ApiError(422, "It is still not a right event.", wrong.faults) from None
        except StoreRefused as error:
            raise ApiError(404, f"{str(error).capitalize()}.") from None
        except StoreError as error:
            raise self.retry_later_error(f"This was not stored ({error})") from None
        event, verdict = self.check_outcome(outcome)
        self.send_json({"id": str(event), "status": verdict})

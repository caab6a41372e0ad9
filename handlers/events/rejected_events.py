"""`/rejected-events`: list invalid events, and replay one against the current schemas."""

from domain.events.event import InvalidEvent
from handlers.common.api_handler import MAX_INT64, ApiHandler
from handlers.common.base_handler import ApiError
from handlers.common.route import Route
from store.api.errors import StoreError, StoreRefused
from store.sqlite.core.database import Database
from store.sqlite.events.rejected_event_queries import RejectedEventFilter, rejected_events_page
from store.sqlite.events.rejected_event_replay import RejectedEventReplayer

REJECTED_EVENTS_PATTERN = r"(?:/api/v1)?/rejected-events"


def routes(database: Database, replayer: RejectedEventReplayer) -> list[Route]:
    """Return the Tornado routes of the list and the replay."""
    return [
        Route(
            REJECTED_EVENTS_PATTERN,
            RejectedEventsHandler,
            {"database": database},
            "rejected events",
        ),
        Route(
            REJECTED_EVENTS_PATTERN + r"/(\d{1,19})/replay",
            RejectedEventReplayHandler,
            {"replayer": replayer},
            "rejected event replay",
        ),
    ]


class RejectedEventsHandler(ApiHandler):
    """`GET /rejected-events?app=&from=&to=&limit=&cursor=`."""

    def initialize(self, database: Database) -> None:
        """Set the database that holds the rejected events."""
        self._database = database

    async def get(self) -> None:
        """Send a page of rejected events, newest first."""
        wanted = RejectedEventFilter(
            await self.readable_app(), self.time_argument("from"), self.time_argument("to")
        )
        cursor = self.int_argument("cursor")
        page = await rejected_events_page(
            self._database, wanted, self.page_size(), None if cursor is None else str(cursor)
        )
        self.send_struct(page)


class RejectedEventReplayHandler(ApiHandler):
    """`POST /rejected-events/{id}/replay`."""

    def initialize(self, replayer: RejectedEventReplayer) -> None:
        """Set the replayer, which validates against the current schemas."""
        self._replayer = replayer

    async def post(self, event_id: str) -> None:
        """Store the rejected event as an event and send its id and status."""
        access = await self.require_any_scope("write", "admin")
        app = None if "admin" in access.scopes else access.app
        try:
            outcome = await self._replayer.replay(min(int(event_id), MAX_INT64), app)
        except InvalidEvent as error:
            raise ApiError(422, "The event is still invalid.", error.faults) from None
        except StoreRefused as error:
            raise ApiError(404, f"{str(error).capitalize()}.") from None
        except StoreError as error:
            raise self.retry_later_error(f"Not stored ({error})") from None
        number, verdict = self.check_outcome(outcome)
        self.send_json({"id": str(number), "status": verdict})

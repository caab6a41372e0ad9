"""The events that were not right: listed, and replayed when a rule has changed."""

from typing import Any

from handlers.asking import LARGEST, Asking
from handlers.base import Refusal
from rules.event import WrongEvent
from store.database import Database
from store.errors import StoreError, StoreRefused
from store.event_rejects import Filter, page
from store.replaying import Replays

BASE = r"(?:/api/v1)?/events/rejected"


def routes(database: Database, replays: Replays) -> list[Any]:
    """Where these are."""
    return [
        (BASE, Rejected, {"database": database}),
        (BASE + r"/(\d{1,19})/replay", Replay, {"replays": replays}),
    ]


class Rejected(Asking):
    """`GET /events/rejected?app=&from=&to=&limit=&cursor=`."""

    def initialize(self, database: Database) -> None:
        """`database` holds them."""
        self._database = database

    async def get(self) -> None:
        """A page of them, newest first."""
        wanted = Filter(await self.reader(), self.moment("from"), self.moment("to"))
        cursor = self.number("cursor")
        after = None if cursor is None else str(cursor)
        self.send_value(await page(self._database, wanted, self.limit(), after))


class Replay(Asking):
    """`POST /events/rejected/{id}/replay`."""

    def initialize(self, replays: Replays) -> None:
        """`replays` judges it by the rules as they are now."""
        self._replays = replays

    async def post(self, said: str) -> None:
        """Take it now; once it is on disk it is no reject any more."""
        access = await self.access_to("write", "admin")
        app = None if "admin" in access.scopes else access.app
        try:
            outcome = await self._replays.replay(min(int(said), LARGEST), app)
        except WrongEvent as wrong:
            raise Refusal(422, "It is still not a right event.", wrong.faults) from None
        except StoreRefused as error:
            raise Refusal(404, f"{str(error).capitalize()}.") from None
        except StoreError as error:
            raise self.later(f"This was not stored ({error})") from None
        event, verdict = self.judged(outcome)
        self.send_json({"id": str(event), "status": verdict})

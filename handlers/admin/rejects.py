"""The events that were not right: listed, filtered, one by one, and replayed."""

import asyncio
from collections import Counter
from typing import Any

import msgspec

from handlers.admin.page import Page
from handlers.asking import LARGEST
from handlers.base import Refusal
from rules.event import WrongEvent
from rules.faults import Fault
from rules.words import moment, plural
from store.apps import names
from store.audit import add
from store.database import Database
from store.errors import StoreError, StoreRefused
from store.event_rejects import Filter, Reject, reject, rejects
from store.replaying import NoteReplayed, Replays

LIMIT = 50
# Rejects that one click replays; each is a commit, which others go before.
AT_ONCE = 2_000
OFFERED = 200
# Characters of a body that are shown in a list.
BRIEF = 120


def routes(database: Database, replays: Replays) -> list[Any]:
    """Where these are."""
    parts = {"database": database, "replays": replays}
    return [
        (r"/admin/rejects", Listed, parts),
        (r"/admin/rejects/replay", ReplayAll, parts),
        (r"/admin/rejects/(\d{1,19})", One, parts),
    ]


class Base(Page):
    """What has to do with rejects."""

    def initialize(self, database: Database, replays: Replays) -> None:
        """`replays` judge them again."""
        self.database = database
        self.replays = replays


class Listed(Base):
    """`/admin/rejects?app=&from=&to=&before=`."""

    deeds = {"replayed": "It is right now, and stored."}  # noqa: RUF012

    async def get(self) -> None:
        """A page of them, newest first."""
        await self.list()

    async def list(self, status: int = 200, **more: Any) -> None:
        """Answer with the list, and `more`."""
        wrong, further = "", None
        found: list[Reject] = []
        try:
            wanted = Filter(self.number("app"), self.moment("from"), self.moment("to"))
            found, cursor = await rejects(
                self.database, wanted, before=self.number("before"), limit=LIMIT
            )
            further = self.query(before=cursor) if cursor else None
        except Refusal as refusal:
            wrong, status = refusal.detail, refusal.status_code
        apps = await names(self.database)
        values: dict[str, Any] = {"wrong": wrong, "result": None, **more}
        self.show(
            "rejects.html",
            "Rejects",
            status,
            rejects=[(each, faults(each), brief(each.body)) for each in found],
            apps=apps,
            listed=len(apps) <= OFFERED,
            asked={name: self.word(name) or "" for name in ("app", "from", "to")},
            further=further,
            **values,
        )


class One(Base):
    """`/admin/rejects/{id}`: as it came, and why it was not taken."""

    async def get(self, number: str) -> None:
        """The reject."""
        await self.one(number, [])

    async def post(self, number: str) -> None:
        """Judge it again."""
        try:
            event, verdict = await self.replays.replay(min(int(number), LARGEST))
        except WrongEvent as wrong:
            await self.one(number, wrong.faults, 422, "It is still not a right event.")
            return
        except StoreRefused:
            raise Refusal(404, "There is no such rejected event any more.") from None
        except StoreError as error:
            raise Refusal(503, f"It was not replayed: {error}. Try again in a moment.") from None
        if verdict in ("conflict", "rejected"):
            words = "Another event came with the same `sender_id`, so this one cannot be stored."
            await self.one(number, [], 422, words)
            return
        await add(self.database, self.by, "replayed a reject", f"{number}; stored as event {event}")
        self.done("/admin/rejects", "replayed")

    async def one(
        self, number: str, still: list[Fault], status: int = 200, wrong: str = ""
    ) -> None:
        """Answer with the reject, and what is wrong with it still."""
        found = await reject(self.database, min(int(number), LARGEST))
        if found is None:
            raise Refusal(404, "There is no such rejected event.")
        kept, _ = found
        self.show(
            "reject.html",
            f"Rejected {moment(kept.received)}",
            status,
            wrong=wrong,
            reject=kept,
            faults=still or faults(kept),
            body=pretty(kept.body),
            apps=await names(self.database),
        )


class ReplayAll(Base):
    """`/admin/rejects/replay`: all of a filter, or of all apps."""

    async def post(self) -> None:
        """Judge the newest of them again."""
        said = self.said("app")
        app = self.whole("app") if said else None
        counts: Counter[str] = Counter()
        before, stopped = None, ""
        while sum(counts.values()) < AT_ONCE and not stopped:
            some, before = await rejects(self.database, Filter(app=app), before=before, limit=LIMIT)
            outcomes = await asyncio.gather(*map(self.replay, some))
            counts.update(outcomes)
            stopped = next((each for each in outcomes if each.startswith("!")), "")
            if before is None:
                break
        stored = counts["stored"] + counts["duplicate"]
        wrong = counts["wrong"]
        result = f"{plural(stored, 'event')} stored, {wrong:,} still wrong."
        if stopped:
            result += f" It ended early: {stopped[1:]}."
        elif before is not None:
            result += f" That were the newest {AT_ONCE:,}; older ones were not looked at."
        if stored:
            await NoteReplayed(stored, wrong, by=self.by).run(self.database)
        self.show("replayed.html", "Replayed", result=result, app=app)

    async def replay(self, kept: Reject) -> str:
        """What became of one."""
        try:
            return (await self.replays.told(kept.id)).status
        except StoreError as error:
            return f"!{error}"


def faults(kept: Reject) -> list[Fault]:
    """Why it was not taken."""
    try:
        return msgspec.json.decode(kept.errors, type=list[Fault])
    except msgspec.DecodeError:
        return []


def brief(body: bytes) -> str:
    """The beginning of a body."""
    # A character has at most four bytes, so that none of those shown is cut.
    said = body[: 4 * BRIEF].decode(errors="replace")
    return said if len(said) < BRIEF else said[: BRIEF - 3] + "…"


def pretty(body: bytes) -> str:
    """A body as it came; in lines where it is JSON."""
    try:
        return msgspec.json.format(body, indent=2).decode()
    except (msgspec.DecodeError, UnicodeDecodeError):
        return body.decode(errors="replace")

"""`events`: exported, and those that were not right listed and taken again."""

import argparse
import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from app.settings import Settings
from commands.admin_backend import AdminBackend, open_admin_backend
from commands.console import whole_number
from domain.common.formatting import escape_for_terminal
from domain.common.timestamp import InvalidTimestamp, parse_day_or_timestamp
from domain.events.event import EVENT_SOURCES
from store.api.errors import StoreRefused
from store.sqlite.events.event_export import EventExport
from store.sqlite.events.event_queries import EventFilter
from store.sqlite.events.rejected_event_queries import ListRejectedEvents, RejectedEventResult
from store.sqlite.events.rejected_event_queries import RejectedEventFilter as RejectFilter
from store.sqlite.events.rejected_event_replay import RecordReplay, ReplayResult

# Bytes of a body that a line of the list shows.
BODY_PREVIEW_BYTES = 120


def add(words: Any, common: argparse.ArgumentParser) -> None:
    """The command's words."""
    parser = words.add_parser(
        "events",
        help="export events; list those that were not right, and take them again",
        description="The events that applications sent, also beside a server that runs.",
        epilog="example: python server.py events export --from 2026-01-01 --output events.ndjson",
    )
    deeds = parser.add_subparsers(dest="deed", metavar="DEED", required=True)

    span = argparse.ArgumentParser(add_help=False)
    span.add_argument("--app", type=whole_number, metavar="ID", help="of one app")
    span.add_argument(
        "--from", dest="since", type=_timestamp, metavar="MOMENT", help="from then on"
    )
    span.add_argument("--to", dest="until", type=_timestamp, metavar="MOMENT", help="before then")

    export = deeds.add_parser(
        "export",
        parents=[common, span],
        help="write events in order of occurrence, as a stream of any size",
        epilog="example: python server.py events export --format csv --name pageview >events.csv",
    )
    export.add_argument("--format", choices=("ndjson", "csv"), default="ndjson")
    export.add_argument("--order", choices=("asc", "desc"), default="asc", help="oldest first")
    export.add_argument("--session-id", metavar="ID", help="of one session")
    export.add_argument("--category", help="of one category")
    export.add_argument("--name", help="of one name")
    export.add_argument("--source", choices=tuple(EVENT_SOURCES), help="of one source")
    export.add_argument("--output", type=Path, metavar="FILE", help="instead of the terminal")
    export.set_defaults(run=_run_export)

    rejected = deeds.add_parser(
        "rejected",
        parents=[common, span],
        help="list events that were not right, newest first",
        epilog="example: python server.py events rejected --app 1 --limit 20",
    )
    rejected.add_argument(
        "--limit", type=_positive_number, default=100, metavar="N", help="so many (100)"
    )
    rejected.set_defaults(run=_run_rejected)

    replay = deeds.add_parser(
        "replay",
        parents=[common, span],
        help="take events that were not right again, by the rules as they are now",
        description="What is right by now is stored, and is a reject no more. The exit status is "
        "0 if that is all of them.",
        epilog="example: python server.py events replay --all --app 1",
    )
    replay.add_argument(
        "ids",
        nargs="*",
        type=whole_number,
        metavar="ID",
        help="IDs, as `events rejected` prints them",
    )
    replay.add_argument("--all", action="store_true", help="all, or those of an app or a time")
    replay.set_defaults(run=_run_replay)


def _run_export(said: argparse.Namespace, settings: Settings) -> int:
    wanted = EventFilter(
        said.session_id,
        said.category,
        said.name,
        said.app,
        None if said.source is None else EVENT_SOURCES[said.source],
        said.since,
        said.until,
    )
    export = EventExport(wanted, said.format, said.order == "desc")
    written = asyncio.run(_export(Path(settings.data), export, said.output))
    if said.json and said.output is not None:
        told = {"file": str(said.output), "bytes": written}
        print(msgspec.json.encode(told).decode())
    return 0


async def _export(data: Path, wanted: EventExport, output: Path | None) -> int:
    written = 0
    if output is None and sys.stdout is None:
        raise StoreRefused("stdout is closed: name a file with --output")
    with contextlib.ExitStack() as opened:
        file: BinaryIO = (
            sys.stdout.buffer if output is None else opened.enter_context(output.open("wb"))
        )
        async with open_admin_backend(data) as store:
            async for piece in store.export(wanted):
                file.write(piece)
                written += len(piece)
        file.flush()
    return written


def _run_rejected(said: argparse.Namespace, settings: Settings) -> int:
    found = asyncio.run(_list_rejected(Path(settings.data), _rejected_filter(said), said.limit))
    if said.json:
        print(msgspec.json.encode({"rejected_events": found}).decode())
        return 0
    for each in found:
        reasons = "; ".join(
            f"{fault['pointer']} {fault['message']}".strip()
            for fault in msgspec.json.decode(each.errors)
        )
        body = each.body[:BODY_PREVIEW_BYTES] + "…" * (len(each.body) > BODY_PREVIEW_BYTES)
        told = f"{each.id}  app {each.app}  {each.received_at}  {reasons}"
        print(f"{escape_for_terminal(told)}\n    {body!r}")
    if not found:
        print("No event was rejected.")
    return 0


async def _list_rejected(data: Path, wanted: RejectFilter, limit: int) -> list[RejectedEventResult]:
    async with open_admin_backend(data) as store:
        found: list[RejectedEventResult] = []
        async for each in _iterate_rejected(store, wanted):
            if len(found) == limit:
                break
            found.append(each)
        return found


async def _iterate_rejected(
    store: AdminBackend, wanted: RejectFilter
) -> AsyncIterator[RejectedEventResult]:
    cursor, more = None, True
    while more:
        page = await store.ask(ListRejectedEvents(wanted=wanted, limit=500, cursor=cursor))
        for each in page.rejected_events:
            yield each
        cursor = page.cursor
        more = cursor is not None


def _run_replay(said: argparse.Namespace, settings: Settings) -> int:
    if said.all == bool(said.ids):
        raise StoreRefused("say which rejects are to be taken again: their ids, or --all")
    told = asyncio.run(_replay_rejected(Path(settings.data), said.ids, _rejected_filter(said)))
    if said.json:
        print(msgspec.json.encode({"replayed": told}).decode())
    else:
        for each in told:
            reasons = "; ".join(f"{it.pointer} {it.message}".strip() for it in each.errors)
            print(
                escape_for_terminal(
                    f"{each.reject}  {each.status}  {each.event or reasons}".rstrip()
                )
            )
    return 0 if all(each.event is not None for each in told) else 1


async def _replay_rejected(
    data: Path, numbers: list[int], wanted: RejectFilter
) -> list[ReplayResult]:
    async with open_admin_backend(data) as store:
        if not numbers:
            # As they came, so that what was first is first.
            numbers = sorted([int(each.id) async for each in _iterate_rejected(store, wanted)])
        replayed = [await store.replay(number) for number in numbers]
        stored = sum(each.event is not None for each in replayed)
        if stored:
            await store.ask(RecordReplay(stored, len(replayed) - stored))
        return replayed


def _rejected_filter(said: argparse.Namespace) -> RejectFilter:
    return RejectFilter(said.app, said.since, said.until)


def _timestamp(said: str) -> int:
    try:
        return parse_day_or_timestamp(said)
    except InvalidTimestamp as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _positive_number(said: str) -> int:
    if not said.isascii() or not said.isdigit() or int(said) < 1:
        raise argparse.ArgumentTypeError("is not a number from 1")
    return int(said)

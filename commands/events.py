"""`events`: export events, list rejected events and replay them."""

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
from store.sqlite.events.event_records import EventFilter
from store.sqlite.events.rejected_event_queries import (
    ListRejectedEvents,
    RejectedEventFilter,
    RejectedEventResult,
)
from store.sqlite.events.rejected_event_replay import RecordReplay, ReplayResult

BODY_PREVIEW_BYTES = 120


def add(subparsers: Any, common: argparse.ArgumentParser) -> None:
    """Add the command to `subparsers`; `common` holds the options of all commands."""
    parser = subparsers.add_parser(
        "events",
        help="export events; list and replay rejected events",
        description="Export events, and list or replay rejected events, also while a server runs.",
        epilog="example: python server.py events export --from 2026-01-01 --output events.ndjson",
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    filters = argparse.ArgumentParser(add_help=False)
    filters.add_argument("--app", type=whole_number, metavar="ID", help="only events of this app")
    filters.add_argument(
        "--from",
        dest="since",
        type=_timestamp,
        metavar="TIME",
        help="only events from this time on",
    )
    filters.add_argument(
        "--to", dest="until", type=_timestamp, metavar="TIME", help="only events before this time"
    )

    export = actions.add_parser(
        "export",
        parents=[common, filters],
        help="write events in order of occurrence",
        epilog="example: python server.py events export --format csv --name pageview >events.csv",
    )
    export.add_argument("--format", choices=("ndjson", "csv"), default="ndjson")
    export.add_argument(
        "--order", choices=("asc", "desc"), default="asc", help="order of occurrence (asc)"
    )
    export.add_argument("--session-id", metavar="ID", help="only events of this session")
    export.add_argument("--category", help="only events of this category")
    export.add_argument("--name", help="only events of this name")
    export.add_argument("--source", choices=tuple(EVENT_SOURCES), help="only events of this source")
    export.add_argument("--output", type=Path, metavar="FILE", help="write to this file (stdout)")
    export.set_defaults(run=_run_export)

    rejected = actions.add_parser(
        "rejected",
        parents=[common, filters],
        help="list rejected events, newest first",
        epilog="example: python server.py events rejected --app 1 --limit 20",
    )
    rejected.add_argument(
        "--limit", type=_positive_number, default=100, metavar="N", help="maximum number (100)"
    )
    rejected.set_defaults(run=_run_rejected)

    replay = actions.add_parser(
        "replay",
        parents=[common, filters],
        help="revalidate rejected events against the current schemas",
        description="Valid events are stored and removed from the rejected events. Exits 0 only if "
        "all of them were stored.",
        epilog="example: python server.py events replay --all --app 1",
    )
    replay.add_argument(
        "ids",
        nargs="*",
        type=whole_number,
        metavar="ID",
        help="id of a rejected event, from `events rejected`",
    )
    replay.add_argument(
        "--all", action="store_true", help="replay all rejected events that match the filters"
    )
    replay.set_defaults(run=_run_replay)


def _run_export(arguments: argparse.Namespace, settings: Settings) -> int:
    conditions = EventFilter(
        arguments.session_id,
        arguments.category,
        arguments.name,
        arguments.app,
        None if arguments.source is None else EVENT_SOURCES[arguments.source],
        arguments.since,
        arguments.until,
    )
    export = EventExport(conditions, arguments.format, arguments.order == "desc")
    written = asyncio.run(_export(Path(settings.data), export, arguments.output))
    if arguments.json and arguments.output is not None:
        result = {"file": str(arguments.output), "bytes": written}
        print(msgspec.json.encode(result).decode())
    return 0


async def _export(data: Path, export: EventExport, output: Path | None) -> int:
    written = 0
    if output is None and sys.stdout is None:
        raise StoreRefused("stdout is closed: name a file with --output")
    with contextlib.ExitStack() as opened:
        file: BinaryIO = (
            sys.stdout.buffer if output is None else opened.enter_context(output.open("wb"))
        )
        async with open_admin_backend(data) as backend:
            async for chunk in backend.export_events(export):
                file.write(chunk)
                written += len(chunk)
        file.flush()
    return written


def _run_rejected(arguments: argparse.Namespace, settings: Settings) -> int:
    found = asyncio.run(
        _list_rejected(Path(settings.data), _rejected_filter(arguments), arguments.limit)
    )
    if arguments.json:
        print(msgspec.json.encode({"rejected_events": found}).decode())
        return 0
    for each in found:
        reasons = "; ".join(
            f"{error['pointer']} {error['message']}".strip()
            for error in msgspec.json.decode(each.errors)
        )
        body = each.body[:BODY_PREVIEW_BYTES] + "…" * (len(each.body) > BODY_PREVIEW_BYTES)
        line = f"{each.id}  app {each.app}  {each.received_at}  {reasons}"
        print(f"{escape_for_terminal(line)}\n    {body!r}")
    if not found:
        print("No rejected events.")
    return 0


async def _list_rejected(
    data: Path, conditions: RejectedEventFilter, limit: int
) -> list[RejectedEventResult]:
    async with open_admin_backend(data) as backend:
        found: list[RejectedEventResult] = []
        async for each in _iterate_rejected(backend, conditions):
            if len(found) == limit:
                break
            found.append(each)
        return found


async def _iterate_rejected(
    backend: AdminBackend, conditions: RejectedEventFilter
) -> AsyncIterator[RejectedEventResult]:
    cursor, more = None, True
    while more:
        page = await backend.run_command(
            ListRejectedEvents(conditions=conditions, limit=500, cursor=cursor)
        )
        for each in page.rejected_events:
            yield each
        cursor = page.cursor
        more = cursor is not None


def _run_replay(arguments: argparse.Namespace, settings: Settings) -> int:
    if arguments.all == bool(arguments.ids):
        raise StoreRefused("name the rejected events to replay by id, or use --all")
    replayed = asyncio.run(
        _replay_rejected(Path(settings.data), arguments.ids, _rejected_filter(arguments))
    )
    if arguments.json:
        print(msgspec.json.encode({"replayed": replayed}).decode())
    else:
        for each in replayed:
            reasons = "; ".join(f"{it.pointer} {it.message}".strip() for it in each.errors)
            print(
                escape_for_terminal(
                    f"{each.reject}  {each.status}  {each.event or reasons}".rstrip()
                )
            )
    return 0 if all(each.event is not None for each in replayed) else 1


async def _replay_rejected(
    data: Path, numbers: list[int], conditions: RejectedEventFilter
) -> list[ReplayResult]:
    async with open_admin_backend(data) as backend:
        if not numbers:
            # Oldest first: of two events with one sender_id, the first received is stored.
            numbers = sorted(
                [int(each.id) async for each in _iterate_rejected(backend, conditions)]
            )
        replayed = [await backend.replay_rejected_event(number) for number in numbers]
        stored = sum(each.event is not None for each in replayed)
        if stored:
            await backend.run_command(RecordReplay(stored, len(replayed) - stored))
        return replayed


def _rejected_filter(arguments: argparse.Namespace) -> RejectedEventFilter:
    return RejectedEventFilter(arguments.app, arguments.since, arguments.until)


def _timestamp(text: str) -> int:
    try:
        return parse_day_or_timestamp(text)
    except InvalidTimestamp as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _positive_number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number from 1")
    return int(text)

"""`stories`: import, list and remove the stories of apps."""

import argparse
import asyncio
from collections import Counter
from pathlib import Path
from time import perf_counter
from typing import Any

import msgspec

from app.settings import Settings
from commands.admin_backend import open_admin_backend
from commands.console import add_yes_option, confirm, whole_number
from domain.common.formatting import escape_for_terminal
from domain.common.timestamp import format_timestamp
from domain.stories.story_files import InvalidStoriesFile, StoryFileItem, parse_stories_file
from store.api.errors import StoreRefused
from store.sqlite.stories.stories import (
    ListStories,
    PutStories,
    PutStoryResult,
    RemoveStories,
    StoredStory,
)

# Stories per request to a running server.
STORIES_PER_REQUEST = 200
MAX_FILE_BYTES = 64 * 1024 * 1024
VERDICTS = ("stored", "changed", "duplicate", "rejected")


def add(subparsers: Any, common: argparse.ArgumentParser) -> None:
    """Add the command to `subparsers`; `common` holds the options of all commands."""
    parser = subparsers.add_parser(
        "stories",
        help="import, list and remove the stories of apps",
        description="Manage the stories of apps. A running server serves changes at once.",
        epilog="example: python server.py stories import stories.csv",
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    importing = actions.add_parser(
        "import",
        parents=[common],
        help="import the stories of one or several apps from a file",
        description="FILE is CSV (commas, semicolons, tabs or | between columns) whose header "
        "names id, app, and img or metadata, optionally order, from and until; or a JSON array of "
        "objects with these members. A story replaces the stored one with the same id. Valid "
        "stories are imported; exits 1 if there are invalid ones, which are listed.",
        epilog="example: python server.py stories import stories.json --data data",
    )
    importing.add_argument("file", metavar="FILE", type=Path)
    importing.set_defaults(run=_import_stories)

    listing = actions.add_parser(
        "list",
        parents=[common],
        help="list the stories of all apps, or of one; the output of --json can be imported",
        epilog="example: python server.py stories list token_1",
    )
    listing.add_argument(
        "app", metavar="APP", nargs="?", help="id, name or public token of the app"
    )
    listing.set_defaults(run=_list_stories)

    removing = actions.add_parser(
        "remove",
        parents=[common],
        help="remove stories; their events and counts are kept",
        epilog="example: python server.py stories remove 7 8 --yes",
    )
    removing.add_argument("stories", metavar="ID", nargs="+", type=whole_number)
    add_yes_option(removing)
    removing.set_defaults(run=_remove_stories)


def _import_stories(arguments: argparse.Namespace, settings: Settings) -> int:
    """Import the valid stories of a file; return 1 if any was rejected."""
    started_at = perf_counter()
    items = _read_stories(arguments.file)
    results = asyncio.run(_put_stories(Path(settings.data), items))
    counts = Counter[str](put.verdict for _, put in results)
    rejected = [
        {"place": each.place, "reason": put.reason, "text": each.text}
        for each, put in results
        if put.verdict == "rejected"
    ]
    result = {
        "read": len(items),
        **{verdict: counts[verdict] for verdict in VERDICTS},
        "seconds": round(perf_counter() - started_at, 3),
    }
    if arguments.json:
        print(msgspec.json.encode({**result, "rejected_stories": rejected}).decode())
        return 1 if rejected else 0
    for each in rejected:
        where = f"{arguments.file.name}, {each['place']}: {each['reason']}"
        print(f"{escape_for_terminal(where)}: {each['text']!r}")
    print("".join(f"{name:>11}" for name in result))
    print("".join(f"{value:>11}" for value in result.values()))
    return 1 if rejected else 0


def _read_stories(file: Path) -> list[StoryFileItem]:
    if file.stat().st_size > MAX_FILE_BYTES:
        raise StoreRefused(f"{file} is larger than {MAX_FILE_BYTES} bytes")
    try:
        return list(parse_stories_file(file.read_bytes()))
    except InvalidStoriesFile as error:
        raise StoreRefused(f"{file}: invalid stories file: {error}") from None


async def _put_stories(
    data: Path, items: list[StoryFileItem]
) -> list[tuple[StoryFileItem, PutStoryResult]]:
    valid = [each.story for each in items if each.story is not None]
    puts: list[PutStoryResult] = []
    async with open_admin_backend(data, create=True) as backend:
        for start in range(0, len(valid), STORIES_PER_REQUEST):
            batch = tuple(valid[start : start + STORIES_PER_REQUEST])
            put: list[PutStoryResult] = await backend.run_command(PutStories(batch))
            puts += put
    remaining = iter(puts)
    return [
        (each, PutStoryResult("rejected", each.reason) if each.story is None else next(remaining))
        for each in items
    ]


def _list_stories(arguments: argparse.Namespace, settings: Settings) -> int:
    stories = asyncio.run(_run_command(Path(settings.data), ListStories(arguments.app)))
    if arguments.json:
        print(msgspec.json.encode({"stories": [_story_json(each) for each in stories]}).decode())
        return 0
    for each in stories:
        times = {"from": _format_time(each.shown_from), "until": _format_time(each.shown_until)}
        shown = "".join(f"  {word} {time}" for word, time in times.items() if time)
        print(
            escape_for_terminal(
                f"{each.id}  app {each.app}  order {each.order}{shown}  {each.metadata}"
            )
        )
    if not stories:
        print("No stories.")
    return 0


def _story_json(story: StoredStory) -> dict[str, Any]:
    """Return a story as an item of a stories file."""
    return {
        "id": story.id,
        "app": story.app,
        "order": story.order,
        "from": _format_time(story.shown_from),
        "until": _format_time(story.shown_until),
        "metadata": msgspec.Raw(story.metadata.encode()),
        "changed_at": format_timestamp(story.changed_at),
    }


def _format_time(moment: int | None) -> str | None:
    return None if moment is None else format_timestamp(moment)


def _remove_stories(arguments: argparse.Namespace, settings: Settings) -> int:
    confirm(arguments, f"Remove the stories {', '.join(map(str, arguments.stories))}?")
    removed = asyncio.run(
        _run_command(Path(settings.data), RemoveStories(tuple(arguments.stories)))
    )
    if arguments.json:
        print(msgspec.json.encode(removed).decode())
    else:
        print(f"removed: {', '.join(map(str, removed.removed))}")
    return 0


async def _run_command(data: Path, command: Any) -> Any:
    async with open_admin_backend(data) as backend:
        return await backend.run_command(command)

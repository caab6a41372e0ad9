"""`stories`: what apps show."""

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

# So many in one request to a server, and bytes of a file: more than any app can show.
STORIES_PER_REQUEST, MAX_FILE_BYTES = 200, 64 * 1024 * 1024
VERDICTS = ("stored", "changed", "duplicate", "rejected")


def add(words: Any, common: argparse.ArgumentParser) -> None:
    """The command's words."""
    parser = words.add_parser(
        "stories",
        help="import, list and remove the stories of apps",
        description="The stories that apps show. A change is shown at once, also by a server "
        "that runs.",
        epilog="example: python server.py stories import stories.csv",
    )
    deeds = parser.add_subparsers(dest="deed", metavar="DEED", required=True)

    taking = deeds.add_parser(
        "import",
        parents=[common],
        help="take the stories of one or several apps from a file",
        description="FILE is CSV (commas, semicolons, tabs or | between columns) whose header "
        "names id, app, and img or metadata, and maybe order, from and until; or a JSON array of "
        "objects with these members. A story takes the place of the one with its id. Invalid "
        "stories are listed, the valid ones imported; the exit status is then 1.",
        epilog="example: python server.py stories import stories.json --data data",
    )
    taking.add_argument("file", metavar="FILE", type=Path)
    taking.set_defaults(run=_import_stories)

    listing = deeds.add_parser(
        "list",
        parents=[common],
        help="list the stories of all apps, or of one; what --json prints can be imported",
        epilog="example: python server.py stories list token_1",
    )
    listing.add_argument("app", metavar="APP", nargs="?", help="its id, name or public token")
    listing.set_defaults(run=_list_stories)

    removing = deeds.add_parser(
        "remove",
        parents=[common],
        help="remove stories; what was counted of them stays",
        epilog="example: python server.py stories remove 7 8 --yes",
    )
    removing.add_argument("stories", metavar="ID", nargs="+", type=whole_number)
    add_yes_option(removing)
    removing.set_defaults(run=_remove_stories)


def _import_stories(arguments: argparse.Namespace, settings: Settings) -> int:
    """Import the valid stories of a file; 1 if any was rejected."""
    began = perf_counter()
    found = _read_stories(arguments.file)
    told = asyncio.run(_put_stories(Path(settings.data), found))
    counts = Counter[str](put.verdict for _, put in told)
    rejected = [
        {"place": each.place, "reason": put.reason, "text": each.text}
        for each, put in told
        if put.verdict == "rejected"
    ]
    result = {
        "read": len(found),
        **{verdict: counts[verdict] for verdict in VERDICTS},
        "seconds": round(perf_counter() - began, 3),
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
        raise StoreRefused(f"{file} was not taken: {error}") from None


async def _put_stories(
    data: Path, found: list[StoryFileItem]
) -> list[tuple[StoryFileItem, PutStoryResult]]:
    right = [each.story for each in found if each.story is not None]
    puts: list[PutStoryResult] = []
    async with open_admin_backend(data, begins=True) as store:
        for start in range(0, len(right), STORIES_PER_REQUEST):
            part = tuple(right[start : start + STORIES_PER_REQUEST])
            put: list[PutStoryResult] = await store.ask(PutStories(part))
            puts += put
    left = iter(puts)
    return [
        (each, PutStoryResult("rejected", each.reason) if each.story is None else next(left))
        for each in found
    ]


def _list_stories(arguments: argparse.Namespace, settings: Settings) -> int:
    kept = asyncio.run(_run_command(Path(settings.data), ListStories(arguments.app)))
    if arguments.json:
        print(msgspec.json.encode({"stories": [_story_json(each) for each in kept]}).decode())
        return 0
    for each in kept:
        said = {"from": _format_time(each.shown_from), "until": _format_time(each.shown_until)}
        shown = "".join(f"  {word} {moment}" for word, moment in said.items() if moment)
        print(
            escape_for_terminal(
                f"{each.id}  app {each.app}  order {each.order}{shown}  {each.metadata}"
            )
        )
    if not kept:
        print("There is no story yet.")
    return 0


def _story_json(kept: StoredStory) -> dict[str, Any]:
    """A story as a file has it."""
    return {
        "id": kept.id,
        "app": kept.app,
        "order": kept.order,
        "from": _format_time(kept.shown_from),
        "until": _format_time(kept.shown_until),
        "metadata": msgspec.Raw(kept.metadata.encode()),
        "changed_at": format_timestamp(kept.changed_at),
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
    async with open_admin_backend(data) as store:
        return await store.ask(command)

"""`stories`: what apps show."""

import argparse
import asyncio
from collections import Counter
from pathlib import Path
from time import perf_counter
from typing import Any

import msgspec

from console import add_yes, confirm, whole_number
from rules.story_files import Found, NotStories, stories
from rules.timestamp import text
from rules.words import inert
from settings import Settings
from store.desk import desk
from store.errors import StoreRefused
from store.stories import Kept, ListStories, Put, PutStories, RemoveStories

# So many in one request to a server, and bytes of a file: more than any app can show.
PART, LARGEST = 200, 64 * 1024 * 1024
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
    taking.set_defaults(run=_import)

    listing = deeds.add_parser(
        "list",
        parents=[common],
        help="list the stories of all apps, or of one; what --json prints can be imported",
        epilog="example: python server.py stories list token_1",
    )
    listing.add_argument("app", metavar="APP", nargs="?", help="its id, name or public token")
    listing.set_defaults(run=_list)

    removing = deeds.add_parser(
        "remove",
        parents=[common],
        help="remove stories; what was counted of them stays",
        epilog="example: python server.py stories remove 7 8 --yes",
    )
    removing.add_argument("stories", metavar="ID", nargs="+", type=whole_number)
    add_yes(removing)
    removing.set_defaults(run=_remove)


def _import(arguments: argparse.Namespace, settings: Settings) -> int:
    """Import the valid stories of a file; 1 if any was rejected."""
    began = perf_counter()
    found = _read(arguments.file)
    told = asyncio.run(_put(Path(settings.data), found))
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
        print(msgspec.json.encode({**result, "rejects": rejected}).decode())
        return 1 if rejected else 0
    for each in rejected:
        where = f"{arguments.file.name}, {each['place']}: {each['reason']}"
        print(f"{inert(where)}: {each['text']!r}")
    print("".join(f"{name:>11}" for name in result))
    print("".join(f"{value:>11}" for value in result.values()))
    return 1 if rejected else 0


def _read(file: Path) -> list[Found]:
    if file.stat().st_size > LARGEST:
        raise StoreRefused(f"{file} is larger than {LARGEST} bytes")
    try:
        return list(stories(file.read_bytes()))
    except NotStories as error:
        raise StoreRefused(f"{file} was not taken: {error}") from None


async def _put(data: Path, found: list[Found]) -> list[tuple[Found, Put]]:
    right = [each.story for each in found if each.story is not None]
    puts: list[Put] = []
    async with desk(data, begins=True) as store:
        for start in range(0, len(right), PART):
            part = tuple(right[start : start + PART])
            put: list[Put] = await store.ask(PutStories(part))
            puts += put
    left = iter(puts)
    return [
        (each, Put("rejected", each.reason) if each.story is None else next(left)) for each in found
    ]


def _list(arguments: argparse.Namespace, settings: Settings) -> int:
    kept = asyncio.run(_ask(Path(settings.data), ListStories(arguments.app)))
    if arguments.json:
        print(msgspec.json.encode({"stories": [_told(each) for each in kept]}).decode())
        return 0
    for each in kept:
        said = {"from": _moment(each.shown_from), "until": _moment(each.shown_until)}
        shown = "".join(f"  {word} {moment}" for word, moment in said.items() if moment)
        print(inert(f"{each.id}  app {each.app}  order {each.order}{shown}  {each.metadata}"))
    if not kept:
        print("There is no story yet.")
    return 0


def _told(kept: Kept) -> dict[str, Any]:
    """A story as a file has it."""
    return {
        "id": kept.id,
        "app": kept.app,
        "order": kept.order,
        "from": _moment(kept.shown_from),
        "until": _moment(kept.shown_until),
        "metadata": msgspec.Raw(kept.metadata.encode()),
        "changed_at": text(kept.changed_at),
    }


def _moment(moment: int | None) -> str | None:
    return None if moment is None else text(moment)


def _remove(arguments: argparse.Namespace, settings: Settings) -> int:
    confirm(arguments, f"Remove the stories {', '.join(map(str, arguments.stories))}?")
    removed = asyncio.run(_ask(Path(settings.data), RemoveStories(tuple(arguments.stories))))
    if arguments.json:
        print(msgspec.json.encode(removed).decode())
    else:
        print(f"removed: {', '.join(map(str, removed.removed))}")
    return 0


async def _ask(data: Path, command: Any) -> Any:
    async with desk(data) as store:
        return await store.ask(command)

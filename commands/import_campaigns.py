"""`import`: campaign folders, and what of them was not taken."""

import argparse
import asyncio
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from app.settings import Settings, command_line
from commands.admin_backend import open_admin_backend
from commands.console import add_yes_option, confirm, whole_number
from domain.common.formatting import escape_for_terminal
from imports.import_report import FileImportReport, ImportReport
from imports.import_scan import scan_folder
from imports.importer import import_folder, undo_import
from store.sqlite.imports.rejected_rows import ListRejectedRows, RejectedRowPage


def add(words: Any, common: argparse.ArgumentParser) -> None:
    """The command's words."""
    parser = words.add_parser(
        "import",
        parents=[common],
        help="import a campaign folder, also while a server runs",
        description=(
            "Import impressions, clicks, conversions, targets and images from DIR, whose folders "
            "1 to 4 are the slots. The header of a file names its columns, separated by commas, "
            "semicolons, tabs or |. A file that was imported before for its slot is skipped. Each "
            "file that is not imported is named; the exit status is 1 if one looks like data. "
            "All of it takes effect at once at the end, or nothing does."
        ),
        epilog=(
            "examples: python server.py import ./campaigns --data data; "
            "python server.py import ./corrected --replace; python server.py import undo 7 --yes; "
            "python server.py import --rejected --limit 20"
        ),
    )
    parser.add_argument(
        "words",
        nargs="*",
        metavar="DIR | undo N",
        help="the folder to import; or the number of an import to undo",
    )
    parser.add_argument(
        "--replace",
        action="store_true",
        help="replace what earlier imports counted for the slots and campaigns of DIR",
    )
    add_yes_option(parser)
    parser.add_argument(
        "--rejected", action="store_true", help="show the rows that imports did not take"
    )
    parser.add_argument("--limit", type=whole_number, default=100, help="how many of those (100)")
    parser.add_argument(
        "--progress", action="store_true", help="with --json: also a line for each step on the way"
    )
    parser.add_argument("--source", metavar="WORDS", help="where it is said to come from (DIR)")
    parser.set_defaults(run=run, parser=parser)


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """0 if every file was taken or was a known duplicate."""
    words = arguments.words
    if (arguments.rejected and words) or (arguments.replace and len(words) != 1):
        arguments.parser.error("--rejected takes no DIR, and --replace one")
    if arguments.rejected:
        return asyncio.run(
            _print_rejected_rows(Path(settings.data), arguments.limit, arguments.json)
        )
    if len(words) == 2 and words[0] == "undo":
        if not (words[1].isascii() and words[1].isdigit() and len(words[1]) < 19):
            arguments.parser.error(f"undo: {words[1]!r} is not the number of an import")
        confirm(arguments, f"Take back import {words[1]} and all that it counted?")
        return asyncio.run(_undo_import(int(words[1]), Path(settings.data), arguments.json))
    if len(words) != 1 or (words == ["undo"] and not Path("undo").is_dir()):
        arguments.parser.error("give one folder DIR, or: undo N, or: --rejected")
    return asyncio.run(_import_folder(arguments, Path(settings.data)))


async def _undo_import(number: int, data: Path, as_json: bool) -> int:
    async with open_admin_backend(data) as store:
        own, source = await undo_import(number, store.intake())
    if as_json:
        print(msgspec.json.encode({"number": own, "undone": number, "source": source}).decode())
    else:
        print(escape_for_terminal(f"Import {number} ({source}) was taken back, by import {own}."))
    return 0


async def _import_folder(arguments: argparse.Namespace, data: Path) -> int:
    as_json = arguments.json
    # On a terminal alone; what is piped is read by a program.
    hidden = as_json or not sys.stderr.isatty()
    with (
        tqdm(total=1, unit="B", unit_scale=True, disable=hidden, leave=False) as bar,
        logging_redirect_tqdm(),  # or log lines would run into the bar
    ):

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)
            if as_json and arguments.progress:
                print(msgspec.json.encode({"done": done, "total": total}).decode(), flush=True)

        folder = Path(arguments.words[0])
        scan_folder(folder)  # before the data folder is created: DIR may be mistyped
        async with open_admin_backend(data, begins=True) as store:
            result = await import_folder(
                folder, store.intake(), progress, arguments.source, replace=arguments.replace
            )
    if as_json:
        report = asdict(result) | {"replaced": _replaced_counts(result)}
        print(msgspec.json.encode(report).decode())
    else:
        print(_format_report(result, data))
    return 0 if result.ok else 1


def _replaced_counts(result: ImportReport) -> dict[str, int] | None:
    if (found := result.replaced) is None:
        return None
    return {name: getattr(found, name) for name in found.__struct_fields__}


def _format_report(result: ImportReport, data: Path) -> str:
    lines = [_format_row("file", "read", "stored", "duplicate", "rejected", "seconds")]
    images: dict[str, list[FileImportReport]] = {}
    for each in result.files:
        folder, _, name = each.name.rpartition("/")
        if name.startswith("image_") and each.taken and not each.rejected:
            images.setdefault(folder, []).append(each)
        else:
            lines.append(_sum_row(each.name + ("" if each.taken else " (not taken)"), [each]))
    # Thousands of images are one line, as long as nothing is to be said of each.
    lines += [_sum_row(f"{folder}/image_*", some) for folder, some in images.items()]
    counts = (result.read, result.stored, result.duplicate, result.rejected)
    lines.append(_format_row("in all", *counts, f"{result.seconds:.2f}"))
    lines += [f"not imported: {each.name}: {each.reason}" for each in result.strays]
    if replaced := _replaced_counts(result):
        some = ", ".join(f"{count:,} {name}" for name, count in replaced.items())
        lines.append(f"replaced, of earlier imports: {some}")
    if result.number is not None:
        undo = command_line(f"import undo {result.number}", data)
        lines.append(f"This is import {result.number}. To take it back: {undo}")
    if result.number is None:
        lines.append("Nothing was new, and nothing was changed.")
    if result.rejected:
        lines.append(f"What was rejected, and why: {command_line('import --rejected', data)}")
    return "\n".join(map(escape_for_terminal, lines))


def _sum_row(name: str, some: list[FileImportReport]) -> str:
    known = " (known)" if all(each.known for each in some) else ""
    counts = [
        sum(getattr(each, column) for each in some)
        for column in ("read", "stored", "duplicate", "rejected")
    ]
    return _format_row(name + known, *counts, f"{sum(each.seconds for each in some):.2f}")


def _format_row(name: str, *counts: object) -> str:
    return f"{name:<32}" + "".join(f"{each:>11}" for each in counts)


async def _print_rejected_rows(data: Path, limit: int, as_json: bool) -> int:
    async with open_admin_backend(data) as store:
        page: RejectedRowPage = await store.ask(ListRejectedRows(limit=limit))
    if as_json:
        print(msgspec.json.encode(asdict(page)).decode())
        return 0
    for each in page.rejected:
        where = escape_for_terminal(f"import {each.number}  {each.file}:{each.line}  {each.reason}")
        print(f"{where}: {each.row!r}")
    print(f"{page.kept} kept, {page.dropped} of the oldest dropped")
    return 0

"""`import`: import campaign folders, undo imports, list rejected rows."""

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


def add(subparsers: Any, common: argparse.ArgumentParser) -> None:
    """Add the command to `subparsers`; `common` holds the options of all commands."""
    parser = subparsers.add_parser(
        "import",
        parents=[common],
        help="import a campaign folder, also while a server runs",
        description=(
            "Import impressions, clicks, conversions, targets and images from DIR, whose folders "
            "1 to 4 are the slots. The header of each file names its columns, separated by commas, "
            "semicolons, tabs or |. A file that was imported before for its slot is skipped. Files "
            "that are not imported are listed; exits 1 if one of them looks like data. The import "
            "is published as a whole at the end, or not at all."
        ),
        epilog=(
            "examples: python server.py import ./campaigns --data data; "
            "python server.py import ./corrected --replace; python server.py import undo 7 --yes; "
            "python server.py import --rejected --limit 20"
        ),
    )
    parser.add_argument(
        "operands",
        nargs="*",
        metavar="DIR | undo N",
        help="folder to import, or number of the import to undo",
    )
    parser.add_argument(
        "--replace",
        action="store_true",
        help="replace the stats of earlier imports for the slots and campaigns of DIR",
    )
    add_yes_option(parser)
    parser.add_argument("--rejected", action="store_true", help="list the rejected rows of imports")
    parser.add_argument(
        "--limit", type=whole_number, default=100, help="maximum number of rejected rows (100)"
    )
    parser.add_argument(
        "--progress", action="store_true", help="with --json: also print a line per progress step"
    )
    parser.add_argument(
        "--source", metavar="TEXT", help="source shown in the list of imports (DIR)"
    )
    parser.set_defaults(run=run, parser=parser)


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Return 0 if every data file was imported or imported before."""
    operands = arguments.operands
    if (arguments.rejected and operands) or (arguments.replace and len(operands) != 1):
        arguments.parser.error("--rejected takes no DIR, --replace requires one")
    if arguments.rejected:
        return asyncio.run(
            _print_rejected_rows(Path(settings.data), arguments.limit, arguments.json)
        )
    if len(operands) == 2 and operands[0] == "undo":
        if not (operands[1].isascii() and operands[1].isdigit() and len(operands[1]) < 19):
            arguments.parser.error(f"undo: {operands[1]!r} must be the number of an import")
        confirm(arguments, f"Undo import {operands[1]} and remove its stats?")
        return asyncio.run(_undo_import(int(operands[1]), Path(settings.data), arguments.json))
    if len(operands) != 1 or (operands == ["undo"] and not Path("undo").is_dir()):
        arguments.parser.error("name one folder DIR, or use: undo N, or: --rejected")
    return asyncio.run(_import_folder(arguments, Path(settings.data)))


async def _undo_import(number: int, data: Path, as_json: bool) -> int:
    async with open_admin_backend(data) as backend:
        undo_number, source = await undo_import(number, backend.import_session())
    if as_json:
        print(
            msgspec.json.encode(
                {"number": undo_number, "undone": number, "source": source}
            ).decode()
        )
    else:
        print(
            escape_for_terminal(f"Import {number} ({source}) was undone by import {undo_number}.")
        )
    return 0


async def _import_folder(arguments: argparse.Namespace, data: Path) -> int:
    as_json = arguments.json
    # Piped output is read by a program, which a progress bar would disturb.
    hidden = as_json or not sys.stderr.isatty()
    with (
        tqdm(total=1, unit="B", unit_scale=True, disable=hidden, leave=False) as bar,
        logging_redirect_tqdm(),  # log lines would otherwise break the progress bar
    ):

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)
            if as_json and arguments.progress:
                print(msgspec.json.encode({"done": done, "total": total}).decode(), flush=True)

        folder = Path(arguments.operands[0])
        scan_folder(folder)  # a mistyped DIR must not create a data folder
        async with open_admin_backend(data, create=True) as backend:
            result = await import_folder(
                folder,
                backend.import_session(),
                progress,
                arguments.source,
                replace=arguments.replace,
            )
    if as_json:
        report = asdict(result) | {"replaced": _replaced_counts(result)}
        print(msgspec.json.encode(report).decode())
    else:
        print(_format_report(result, data))
    return 0 if result.ok else 1


def _replaced_counts(result: ImportReport) -> dict[str, int] | None:
    if (replaced := result.replaced) is None:
        return None
    return {name: getattr(replaced, name) for name in replaced.__struct_fields__}


def _format_report(result: ImportReport, data: Path) -> str:
    lines = [_format_row("file", "read", "stored", "duplicate", "rejected", "seconds")]
    images: dict[str, list[FileImportReport]] = {}
    for each in result.files:
        folder, _, name = each.name.rpartition("/")
        if name.startswith("image_") and each.taken and not each.rejected:
            images.setdefault(folder, []).append(each)
        else:
            lines.append(_sum_row(each.name + ("" if each.taken else " (skipped)"), [each]))
    # A folder may hold thousands of images: one line sums those without rejected rows.
    lines += [_sum_row(f"{folder}/image_*", some) for folder, some in images.items()]
    counts = (result.read, result.stored, result.duplicate, result.rejected)
    lines.append(_format_row("total", *counts, f"{result.seconds:.2f}"))
    lines += [f"not imported: {each.name}: {each.reason}" for each in result.strays]
    if replaced := _replaced_counts(result):
        counts_text = ", ".join(f"{count:,} {name}" for name, count in replaced.items())
        lines.append(f"replaced from earlier imports: {counts_text}")
    if result.number is not None:
        undo = command_line(f"import undo {result.number}", data)
        lines.append(f"This is import {result.number}. To undo it: {undo}")
    if result.number is None:
        lines.append("All files were imported before. Nothing was changed.")
    if result.rejected:
        lines.append(f"List of rejected rows: {command_line('import --rejected', data)}")
    return "\n".join(map(escape_for_terminal, lines))


def _sum_row(name: str, some: list[FileImportReport]) -> str:
    suffix = " (imported before)" if all(each.known for each in some) else ""
    counts = [
        sum(getattr(each, column) for each in some)
        for column in ("read", "stored", "duplicate", "rejected")
    ]
    return _format_row(name + suffix, *counts, f"{sum(each.seconds for each in some):.2f}")


def _format_row(name: str, *counts: object) -> str:
    return f"{name:<32}" + "".join(f"{each:>11}" for each in counts)


async def _print_rejected_rows(data: Path, limit: int, as_json: bool) -> int:
    async with open_admin_backend(data) as backend:
        page: RejectedRowPage = await backend.run_command(ListRejectedRows(limit=limit))
    if as_json:
        print(msgspec.json.encode(asdict(page)).decode())
        return 0
    for each in page.rejected:
        where = escape_for_terminal(f"import {each.number}  {each.file}:{each.line}  {each.reason}")
        print(f"{where}: {each.row!r}")
    print(f"{page.kept} stored, {page.dropped} of the oldest dropped")
    return 0

"""Import a folder as `marquee import` does: `python import_client.py DATA FOLDER`.

It prints `reading` after the first row, and `done NUMBER STORED` at the end.
"""

import asyncio
import sys
from pathlib import Path

from commands.admin_backend import open_admin_backend
from imports.importer import import_folder


async def main(data: Path, folder: Path) -> None:
    async with open_admin_backend(data, create=True) as backend:
        is_printed = False

        def report_progress(done: int, total: int) -> None:
            nonlocal is_printed
            if not is_printed:
                print("reading", flush=True)
            is_printed = True

        result = await import_folder(folder, backend.import_session(), report_progress)
        print("done", result.number, result.stored, flush=True)


asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2])))

"""An import in a process of its own, followed by what it prints."""

import asyncio
import sys
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from domain.banners.upload_paths import IgnoredFile
from imports.import_report import FileImportReport, ImportReport
from store.api.errors import StoreError, StoreRefused

# A line may tell of thousands of files.
MAX_LINE_BYTES = 64 * 1024 * 1024
MESSAGE_PREFIX = "marquee: "


async def run_import_process(
    command: Sequence[str], progress: Callable[[int, int], None]
) -> ImportReport:
    """Run the import `command`, which is told to print JSON, and its progress in lines.

    Raises `StoreRefused` in the command's words if it took nothing. Ends it when cancelled.
    """
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe, limit=MAX_LINE_BYTES
    )
    said = asyncio.create_task(_forward_stderr(process))
    found: dict[str, Any] = {}
    try:
        assert process.stdout is not None
        async for line in process.stdout:
            told = msgspec.json.decode(line)
            if "total" in told:
                progress(told["done"], told["total"])
            else:
                found = told
        await process.wait()
        words = await said
    except BaseException:
        said.cancel()
        if process.returncode is None:
            process.terminate()
            await process.wait()
        raise
    if not found:
        if words:
            raise StoreRefused(words)
        raise StoreError(f"the import ended with status {process.returncode}")
    files = [FileImportReport(**each) for each in found["files"]]
    strays = [IgnoredFile(**each) for each in found["strays"]]
    return ImportReport(found["number"], files, strays, found["seconds"])


async def _forward_stderr(process: asyncio.subprocess.Process) -> str:
    """Pass on what it logs; the words with which it ended."""
    words = ""
    assert process.stderr is not None
    async for line in process.stderr:
        text = line.decode(errors="replace")
        if text.startswith(MESSAGE_PREFIX):
            words = text.removeprefix(MESSAGE_PREFIX).strip()
        sys.stderr.write(text)
    return words

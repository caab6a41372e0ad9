"""Import in a separate process, which prints progress and its report as JSON lines."""

import asyncio
import sys
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from domain.banners.upload_paths import IgnoredFile
from imports.import_report import FileImportReport, ImportReport
from store.api.errors import StoreError, StoreRefused

# The report may list thousands of files in one line.
MAX_LINE_BYTES = 64 * 1024 * 1024
MESSAGE_PREFIX = "marquee: "


async def run_import_process(
    command: Sequence[str], on_progress: Callable[[int, int], None]
) -> ImportReport:
    """Run an import command with `--json --progress`; call `on_progress` with bytes done and total.

    Raises `StoreRefused` with the command's error message if it fails. Cancelling terminates it.
    """
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe, limit=MAX_LINE_BYTES
    )
    stderr_task = asyncio.create_task(_forward_stderr(process))
    report: dict[str, Any] = {}
    try:
        assert process.stdout is not None
        async for line in process.stdout:
            message = msgspec.json.decode(line)
            if "total" in message:
                on_progress(message["done"], message["total"])
            else:
                report = message
        await process.wait()
        error_message = await stderr_task
    except BaseException:
        stderr_task.cancel()
        if process.returncode is None:
            process.terminate()
            await process.wait()
        raise
    if not report:
        if error_message:
            raise StoreRefused(error_message)
        raise StoreError(f"the import process exited with status {process.returncode}")
    files = [FileImportReport(**each) for each in report["files"]]
    ignored = [IgnoredFile(**each) for each in report["strays"]]
    return ImportReport(report["number"], files, ignored, report["seconds"])


async def _forward_stderr(process: asyncio.subprocess.Process) -> str:
    """Copy the log lines of the process to stderr; return its last error message, or ""."""
    message = ""
    assert process.stderr is not None
    async for line in process.stderr:
        text = line.decode(errors="replace")
        if text.startswith(MESSAGE_PREFIX):
            message = text.removeprefix(MESSAGE_PREFIX).strip()
        sys.stderr.write(text)
    return message

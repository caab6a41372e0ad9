"""Imports uploaded campaign folders, one at a time, and reports the progress."""

import asyncio
import logging
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from imports.import_report import ImportReport
from imports.upload_folder import UploadFolder
from store.api.errors import StoreBusy, StoreError
from store.sqlite.imports.import_audit import UPLOAD_SOURCE_PREFIX

LOG = logging.getLogger("marquee.uploads")
# Jobs kept for the progress page, and jobs that may be unfinished at a time.
MAX_UPLOAD_JOBS, MAX_WAITING_UPLOADS = 50, 3

ProgressCallback = Callable[[int, int], None]
# Imports an upload's folder under a source name; raises `StoreError`.
UploadImporter = Callable[[UploadFolder, str, ProgressCallback], Awaitable[ImportReport]]


@dataclass
class UploadJob:
    """The progress of an upload: `done` of `total`, then its `result` or the error in `wrong`."""

    id: str
    who: str
    state: str = "waiting"  # then unpacking, importing, and finally done or failed
    done: int = 0
    total: int = 0
    result: ImportReport | None = None
    wrong: str = ""
    strays: list[str] = field(default_factory=list)

    @property
    def over(self) -> bool:
        """Whether the job is done or failed."""
        return self.state in ("done", "failed")


class UploadWorker:
    """Imports uploads in the order of their arrival."""

    def __init__(self, importer: UploadImporter) -> None:
        self._importer = importer
        self._jobs: OrderedDict[str, UploadJob] = OrderedDict()
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def get(self, name: str) -> UploadJob | None:
        """Return a job by its id; None if it is unknown or too old."""
        return self._jobs.get(name)

    def check(self) -> None:
        """Raise `StoreBusy` if no upload is accepted now."""
        if self._closed or len(self._tasks) >= MAX_WAITING_UPLOADS:
            raise StoreBusy("other uploads are being imported")

    def take(self, upload: UploadFolder, who: str) -> UploadJob:
        """Queue a complete upload of user `who`; its folder is removed after the import."""
        self.check()
        job = UploadJob(secrets.token_hex(8), who)
        self._jobs[job.id] = job
        while len(self._jobs) > MAX_UPLOAD_JOBS:
            self._jobs.popitem(last=False)
        task = asyncio.create_task(self._run(job, upload))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return job

    async def close(self) -> None:
        """Cancel unfinished imports; nothing of them is published."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, job: UploadJob, upload: UploadFolder) -> None:
        def progress(done: int, total: int) -> None:
            job.done, job.total = done, total

        try:
            async with self._turn:
                job.state = "unpacking"
                await asyncio.to_thread(upload.unpack)
                job.state = "importing"
                job.result = await self._importer(
                    upload, f"{UPLOAD_SOURCE_PREFIX}{job.who}", progress
                )
                job.state = "done"
        except StoreError as error:
            job.wrong = str(error)
        except Exception:
            LOG.exception("an upload could not be imported")
            job.wrong = "something went wrong here; it has been logged"
        finally:
            job.strays = upload.ignored
            if not job.over:
                job.state = "failed"
            await asyncio.to_thread(upload.remove)

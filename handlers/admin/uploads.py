"""Campaign folders from a browser: taken as they come, imported beside what is served, told of."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tornado.web import stream_request_body

from handlers.admin.page import Page
from handlers.base import Refusal
from loops.uploads import Uploads
from store.database import Database
from store.errors import StoreBusy, StoreError
from store.imports import File, imports, one
from store.outcome import Outcome
from store.rejects import rejects
from store.uploads import Form, Upload

LIMIT = 50
# Uploads that come in at once, and seconds that one may take.
AT_ONCE, PATIENCE = 3, 3_600.0
# What stands around the files of a form, in bytes.
AROUND = 16 * 1024 * 1024


def routes(database: Database, uploads: Uploads, data: Path, most: int) -> list[Any]:
    """Where these are; an upload lies in `data` meanwhile, and may have `most` bytes."""
    parts = {"database": database}
    return [
        (
            r"/admin/campaigns/upload",
            Uploading,
            {"uploads": uploads, "data": data, "most": most},
        ),
        (r"/admin/uploads/(\w{1,40})", Progress, {**parts, "uploads": uploads}),
        (r"/admin/imports", Imports, parts),
        (r"/admin/imports/(\d{1,18})", Import, parts),
    ]


@stream_request_body
class Uploading(Page):
    """`/admin/campaigns/upload`."""

    receiving = 0
    upload: Upload | None = None
    reading: Form | None = None
    refused: StoreError | None = None

    def initialize(self, uploads: Uploads, data: Path, most: int) -> None:
        """See `routes`."""
        self.uploads = uploads
        self.data = data
        self.most = most
        self.busy = self.gone = self.counted = False

    async def prepare(self) -> None:
        """Let in an owner's upload, if there is room for it."""
        await super().prepare()
        if self.request.method != "POST" or self._finished:
            return
        connection: Any = self.request.connection
        connection.set_max_body_size(self.most + AROUND)
        try:
            if Uploading.receiving >= AT_ONCE:
                raise StoreBusy("other uploads are coming in")
            self.uploads.check()
            Uploading.receiving += 1
            self.counted = True
            connection.set_body_timeout(PATIENCE)
            self.upload = await asyncio.to_thread(Upload, self.data, self.most)
            self.reading = Form(self.request.headers.get("Content-Type", ""), self.upload)
        except StoreError as error:
            self.refused = error
        if self.gone:
            self.leave()  # it left when there was nothing yet to let go of

    async def data_received(self, chunk: bytes) -> None:
        """Some of the files; once one was refused, the rest is passed over."""
        if self.refused is not None or self.reading is None:
            return
        self.busy = True
        try:
            await asyncio.to_thread(self.reading.write, chunk)
        except StoreError as error:
            self.refused = error
        finally:
            self.busy = False
            if self.gone:
                self.leave()

    def get(self) -> None:
        """The form."""
        self.form()

    async def post(self) -> None:
        """All of it has come: have it imported, and lead on to where that is told of."""
        try:
            if self.refused is None and self.reading is not None:
                await asyncio.to_thread(self.reading.end)
            if self.refused is not None:
                raise self.refused
            assert self.upload is not None
            if not self.upload.files:
                self.form(422, "No file was chosen.")
                return
            job = self.uploads.take(self.upload, self.by)
            self.leave(remove=False)
        except StoreError as error:
            words = str(error)
            status = 503 if isinstance(error, StoreBusy) else 422
            self.form(status, f"Nothing was imported: {words}.")
            return
        finally:
            self.leave()
        self.done(f"/admin/uploads/{job.id}")

    def on_connection_close(self) -> None:
        """The browser left amid its upload."""
        # What has come whole is imported all the same. Asked before `super`, which ends it.
        whole = self.request._body_future.done()
        super().on_connection_close()
        self.gone = True
        if not (whole or self.busy):
            self.leave()

    def on_finish(self) -> None:
        """Whatever ended it, nothing is left."""
        self.leave()

    def leave(self, remove: bool = True) -> None:
        """Let go of the upload, which is removed unless it is being imported."""
        upload, self.upload = self.upload, None
        Uploading.receiving -= self.counted
        self.counted = False
        if upload is None:
            return
        if self.reading is not None:
            self.reading.close()
        if remove:
            asyncio.get_running_loop().run_in_executor(None, upload.remove)

    def form(self, status: int = 200, wrong: str = "") -> None:
        """Answer with the form."""
        self.show("upload.html", "Upload campaigns", status, wrong=wrong, most=self.most)


class Progress(Page):
    """`/admin/uploads/{id}`: how far it is, and what became of it."""

    def initialize(self, database: Database, uploads: Uploads) -> None:
        """`uploads` know it."""
        self.database = database
        self.uploads = uploads

    async def get(self, name: str) -> None:
        """The page, which looks again by itself until it is over."""
        job = self.uploads.get(name)
        if job is None:
            raise Refusal(404, "This upload is not known any more; see the list of imports.")
        number = job.result.number if job.result else None
        found = None
        if number is not None:
            found = await rejects(self.database, number=number, limit=LIMIT)
        files = grouped(job.result.files) if job.result else []
        self.show("uploaded.html", "Upload", job=job, result=job.result, files=files, found=found)


def grouped(files: Sequence[Outcome | File]) -> list[File]:
    """A row for each file, and one for all images of a folder of which nothing is to be said."""
    rows: dict[str, File] = {}
    for each in files:
        folder, _, name = each.name.rpartition("/")
        image = name.startswith("image_") and not each.rejected
        row = rows.get(said := f"{folder}/image_*" if image else each.name)
        counts = (each.read, each.stored, each.duplicate, each.rejected)
        if row is not None:
            sums = (row.read, row.stored, row.duplicate, row.rejected)
            counts = tuple(map(sum, zip(sums, counts, strict=True)))  # type: ignore[assignment]
        rows[said] = File(said, *counts)
    return list(rows.values())


class Imports(Page):
    """`/admin/imports?before=`."""

    def initialize(self, database: Database) -> None:
        """`database` holds them."""
        self.database = database

    async def get(self) -> None:
        """A page of them, newest first."""
        found, more = await imports(self.database, before=self.number("before"), limit=LIMIT)
        further = None if more is None else self.query(before=more)
        self.show("imports.html", "Imports", imports=found, further=further)


class Import(Page):
    """`/admin/imports/{number}?before=`: its files, and the rows that it did not take."""

    def initialize(self, database: Database) -> None:
        """`database` holds it."""
        self.database = database

    async def get(self, said: str) -> None:
        """The import."""
        number = int(said)
        found = await one(self.database, number)
        if found is None:
            raise Refusal(404, "There is no such import.")
        page = await rejects(
            self.database, number=number, before=self.number("before"), limit=LIMIT
        )
        imported, files = found
        self.show(
            "import.html",
            f"Import {number}",
            imported=imported,
            files=grouped(files),
            rejected=page.rejected,
            kept=page.kept,
            further=self.query(before=page.next) if page.next else None,
        )

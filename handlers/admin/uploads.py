"""Campaign folders from a browser: taken as they come, imported beside what is served, told of."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tornado.web import stream_request_body

from background.banners.upload_worker import UploadWorker
from handlers.admin.admin_page import AdminPage
from handlers.common.base_handler import ApiError
from handlers.common.route import Route
from imports.import_report import FileImportReport
from imports.upload_folder import UploadFolder, UploadForm
from store.api.errors import StoreBusy, StoreError
from store.sqlite.core.database import Database
from store.sqlite.imports.import_list import ImportFileRecord, get_import, list_imports
from store.sqlite.imports.rejected_rows import list_rejected_rows

ROWS_PER_PAGE = 50
# Uploads that come in at once, and seconds that one may take.
MAX_CONCURRENT_UPLOADS, UPLOAD_TIMEOUT_SECONDS = 3, 3_600.0
# What stands around the files of a form, in bytes.
MAX_FORM_OVERHEAD_BYTES = 16 * 1024 * 1024


def routes(database: Database, uploads: UploadWorker, data: Path, most: int) -> list[Route]:
    """Where these are; an upload lies in `data` meanwhile, and may have `most` bytes."""
    parts = {"database": database}
    return [
        Route(
            r"/admin/campaigns/upload",
            AdminUploadPage,
            {"uploads": uploads, "data": data, "most": most},
            "admin upload",
        ),
        Route(
            r"/admin/uploads/(\w{1,40})",
            AdminUploadProgressPage,
            {**parts, "uploads": uploads},
            "admin upload progress",
        ),
        Route(r"/admin/imports", AdminImportsPage, parts, "admin imports"),
        Route(r"/admin/imports/(\d{1,18})", AdminImportDetailPage, parts, "admin import"),
    ]


@stream_request_body
class AdminUploadPage(AdminPage):
    """`/admin/campaigns/upload`."""

    receiving = 0
    upload: UploadFolder | None = None
    reading: UploadForm | None = None
    refused: StoreError | None = None

    def initialize(self, uploads: UploadWorker, data: Path, most: int) -> None:
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
        connection.set_max_body_size(self.most + MAX_FORM_OVERHEAD_BYTES)
        try:
            if AdminUploadPage.receiving >= MAX_CONCURRENT_UPLOADS:
                raise StoreBusy("other uploads are coming in")
            self.uploads.check()
            AdminUploadPage.receiving += 1
            self.counted = True
            connection.set_body_timeout(UPLOAD_TIMEOUT_SECONDS)
            self.upload = await asyncio.to_thread(UploadFolder, self.data, self.most)
            self.reading = UploadForm(self.request.headers.get("Content-Type", ""), self.upload)
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
        AdminUploadPage.receiving -= self.counted
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


class AdminUploadProgressPage(AdminPage):
    """`/admin/uploads/{id}`: how far it is, and what became of it."""

    def initialize(self, database: Database, uploads: UploadWorker) -> None:
        """`uploads` know it."""
        self.database = database
        self.uploads = uploads

    async def get(self, name: str) -> None:
        """The page, which looks again by itself until it is over."""
        job = self.uploads.get(name)
        if job is None:
            raise ApiError(404, "This upload is not known any more; see the list of imports.")
        number = job.result.number if job.result else None
        found = None
        if number is not None:
            found = await list_rejected_rows(self.database, number=number, limit=ROWS_PER_PAGE)
        files = group_image_rows(job.result.files) if job.result else []
        self.show(
            "upload_progress.html", "Upload", job=job, result=job.result, files=files, found=found
        )


def group_image_rows(
    files: Sequence[FileImportReport | ImportFileRecord],
) -> list[ImportFileRecord]:
    """A row for each file, and one for all images of a folder of which nothing is to be said."""
    rows: dict[str, ImportFileRecord] = {}
    for each in files:
        folder, _, name = each.name.rpartition("/")
        image = name.startswith("image_") and not each.rejected
        row = rows.get(said := f"{folder}/image_*" if image else each.name)
        counts = (each.read, each.stored, each.duplicate, each.rejected)
        if row is not None:
            sums = (row.read, row.stored, row.duplicate, row.rejected)
            counts = tuple(map(sum, zip(sums, counts, strict=True)))  # type: ignore[assignment]
        rows[said] = ImportFileRecord(said, *counts)
    return list(rows.values())


class AdminImportsPage(AdminPage):
    """`/admin/imports?before=`."""

    def initialize(self, database: Database) -> None:
        """`database` holds them."""
        self.database = database

    async def get(self) -> None:
        """A page of them, newest first."""
        found, more = await list_imports(
            self.database, before=self.int_argument("before"), limit=ROWS_PER_PAGE
        )
        further = None if more is None else self.query(before=more)
        self.show("imports.html", "Imports", imports=found, further=further)


class AdminImportDetailPage(AdminPage):
    """`/admin/imports/{number}?before=`: its files, and the rows that it did not take."""

    def initialize(self, database: Database) -> None:
        """`database` holds it."""
        self.database = database

    async def get(self, said: str) -> None:
        """The import."""
        number = int(said)
        found = await get_import(self.database, number)
        if found is None:
            raise ApiError(404, "There is no such import.")
        page = await list_rejected_rows(
            self.database, number=number, before=self.int_argument("before"), limit=ROWS_PER_PAGE
        )
        imported, files = found
        self.show(
            "import.html",
            f"Import {number}",
            imported=imported,
            files=group_image_rows(files),
            rejected=page.rejected,
            kept=page.kept,
            further=self.query(before=page.next) if page.next else None,
        )

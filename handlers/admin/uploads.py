"""Uploads of campaign folders, their progress, and the list of imports."""

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
# Concurrent uploads, and seconds until an upload times out.
MAX_CONCURRENT_UPLOADS, UPLOAD_TIMEOUT_SECONDS = 3, 3_600.0
# Bytes of a multipart form besides the contents of its files.
MAX_FORM_OVERHEAD_BYTES = 16 * 1024 * 1024


def routes(database: Database, uploads: UploadWorker, data: Path, max_bytes: int) -> list[Route]:
    """Return the routes; an upload of at most `max_bytes` is stored in `data` until imported."""
    parts = {"database": database}
    return [
        Route(
            r"/admin/campaigns/upload",
            AdminUploadPage,
            {"uploads": uploads, "data": data, "max_bytes": max_bytes},
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
    """`/admin/campaigns/upload`: receive a campaign folder as a multipart form."""

    # Of all instances.
    active_uploads = 0
    upload: UploadFolder | None = None
    form_parser: UploadForm | None = None
    upload_error: StoreError | None = None

    def initialize(self, uploads: UploadWorker, data: Path, max_bytes: int) -> None:
        """Keep the parameters of `routes`."""
        self.uploads = uploads
        self.data = data
        self.max_bytes = max_bytes
        # Whether a chunk is being written, the client left, and this upload is in active_uploads.
        self.writing = self.disconnected = self.is_active = False

    async def prepare(self) -> None:
        """Require a session and reserve one of the concurrent uploads."""
        await super().prepare()
        if self.request.method != "POST" or self._finished:
            return
        connection: Any = self.request.connection
        connection.set_max_body_size(self.max_bytes + MAX_FORM_OVERHEAD_BYTES)
        try:
            if AdminUploadPage.active_uploads >= MAX_CONCURRENT_UPLOADS:
                raise StoreBusy("too many uploads are in progress")
            self.uploads.check()
            AdminUploadPage.active_uploads += 1
            self.is_active = True
            connection.set_body_timeout(UPLOAD_TIMEOUT_SECONDS)
            self.upload = await asyncio.to_thread(UploadFolder, self.data, self.max_bytes)
            self.form_parser = UploadForm(self.request.headers.get("Content-Type", ""), self.upload)
        except StoreError as error:
            self.upload_error = error
        if self.disconnected:
            self.release_upload()  # the client left before there was an upload to release

    async def data_received(self, chunk: bytes) -> None:
        """Write a chunk to the upload folder; after an error, discard the rest of the body."""
        if self.upload_error is not None or self.form_parser is None:
            return
        self.writing = True
        try:
            await asyncio.to_thread(self.form_parser.write, chunk)
        except StoreError as error:
            self.upload_error = error
        finally:
            self.writing = False
            if self.disconnected:
                self.release_upload()

    def get(self) -> None:
        """Send the form."""
        self.send_form()

    async def post(self) -> None:
        """Queue the received folder for import and redirect to its progress page."""
        try:
            if self.upload_error is None and self.form_parser is not None:
                await asyncio.to_thread(self.form_parser.end)
            if self.upload_error is not None:
                raise self.upload_error
            assert self.upload is not None
            if not self.upload.files:
                self.send_form(422, "No file was chosen.")
                return
            job = self.uploads.take(self.upload, self.actor)
            self.release_upload(remove=False)
        except StoreError as error:
            status = 503 if isinstance(error, StoreBusy) else 422
            self.send_form(status, f"Nothing was imported: {error}.")
            return
        finally:
            self.release_upload()
        self.redirect_done(f"/admin/uploads/{job.id}")

    def on_connection_close(self) -> None:
        """Release an incomplete upload when the browser disconnects."""
        # A complete upload is still imported. `super` completes the future, so look at it first.
        is_complete = self.request._body_future.done()
        super().on_connection_close()
        self.disconnected = True
        if not (is_complete or self.writing):
            self.release_upload()

    def on_finish(self) -> None:
        """Release the upload after an error."""
        self.release_upload()

    def release_upload(self, remove: bool = True) -> None:
        """Free the concurrent upload; remove its folder unless the import worker owns it."""
        upload, self.upload = self.upload, None
        AdminUploadPage.active_uploads -= self.is_active
        self.is_active = False
        if upload is None:
            return
        if self.form_parser is not None:
            self.form_parser.close()
        if remove:
            asyncio.get_running_loop().run_in_executor(None, upload.remove)

    def send_form(self, status: int = 200, error: str = "") -> None:
        """Send the form with an error message."""
        values = {"error": error, "max_bytes": self.max_bytes}
        self.send_page("upload.html", "Upload campaigns", status, **values)


class AdminUploadProgressPage(AdminPage):
    """`/admin/uploads/{id}`: the progress and the result of an upload."""

    def initialize(self, database: Database, uploads: UploadWorker) -> None:
        """Keep the parameters of `routes`."""
        self.database = database
        self.uploads = uploads

    async def get(self, name: str) -> None:
        """Send the page, which reloads itself until the import has ended."""
        job = self.uploads.get(name)
        if job is None:
            raise ApiError(404, "This upload is no longer listed here. See the list of imports.")
        number = job.result.number if job.result else None
        rejected_page = None
        if number is not None:
            rejected_page = await list_rejected_rows(
                self.database, number=number, limit=ROWS_PER_PAGE
            )
        files = group_image_rows(job.result.files) if job.result else []
        self.send_page(
            "upload_progress.html",
            "Upload",
            job=job,
            result=job.result,
            files=files,
            rejected_page=rejected_page,
        )


def group_image_rows(
    files: Sequence[FileImportReport | ImportFileRecord],
) -> list[ImportFileRecord]:
    """Return a row for each file; merge the images of a folder without rejected rows into one."""
    rows: dict[str, ImportFileRecord] = {}
    for each in files:
        folder, _, name = each.name.rpartition("/")
        image = name.startswith("image_") and not each.rejected
        row = rows.get(row_name := f"{folder}/image_*" if image else each.name)
        counts = (each.read, each.stored, each.duplicate, each.rejected)
        if row is not None:
            sums = (row.read, row.stored, row.duplicate, row.rejected)
            counts = tuple(map(sum, zip(sums, counts, strict=True)))  # type: ignore[assignment]
        rows[row_name] = ImportFileRecord(row_name, *counts)
    return list(rows.values())


class AdminImportsPage(AdminPage):
    """`/admin/imports?before=`: list imports."""

    def initialize(self, database: Database) -> None:
        """Keep `database`, which holds the imports."""
        self.database = database

    async def get(self) -> None:
        """Send a page of imports, newest first."""
        found, more = await list_imports(
            self.database, before=self.int_argument("before"), limit=ROWS_PER_PAGE
        )
        next_page_url = None if more is None else self.page_url(before=more)
        self.send_page("imports.html", "Imports", imports=found, next_page_url=next_page_url)


class AdminImportDetailPage(AdminPage):
    """`/admin/imports/{number}?before=`: the files and rejected rows of an import."""

    def initialize(self, database: Database) -> None:
        """Keep `database`, which holds the imports."""
        self.database = database

    async def get(self, import_id: str) -> None:
        """Send the import with a page of its rejected rows."""
        number = int(import_id)
        found = await get_import(self.database, number)
        if found is None:
            raise ApiError(404, "There is no import with this number.")
        page = await list_rejected_rows(
            self.database, number=number, before=self.int_argument("before"), limit=ROWS_PER_PAGE
        )
        imported, files = found
        self.send_page(
            "import.html",
            f"Import {number}",
            imported=imported,
            files=group_image_rows(files),
            rejected_rows=page.rejected,
            rejected_count=page.kept,
            next_page_url=self.page_url(before=page.next) if page.next else None,
        )

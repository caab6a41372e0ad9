"""Uploads of campaign folders: files or zip archives, written to a folder for import.

`domain/banners/upload_paths.py` maps each file name to a path of the campaign layout, so that no
name leads outside the folder. Files outside the layout are ignored.
"""

import secrets
import shutil
import zipfile
import zlib
from errno import EDQUOT, EINVAL, ENOSPC
from pathlib import Path
from typing import BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from domain.banners.upload_paths import is_junk_file, path_in_campaign
from store.api.errors import StoreError, StoreFull, StoreRefused
from store.sqlite.core.data_folder import UPLOADS_FOLDER

# Maximum number of files per upload, and of ignored files that are listed.
MAX_UPLOAD_FILES, MAX_LISTED_IGNORED = 20_000, 50
UNPACK_CHUNK_BYTES = 1024 * 1024
# Maximum distance of the end record from the end of a zip file, and maximum size of its directory.
ZIP_TAIL_BYTES, MAX_ZIP_DIRECTORY_BYTES = 65_557, 8_388_608
MAX_FILE_NAME_LENGTH = 200
# Other methods allocate as much memory as the archive asks for, and add code to trust.
ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class UploadFolder:
    """One upload. Its methods block: call them in a thread, one at a time.

    All of them raise a `StoreError` if a file cannot be written.
    """

    def __init__(self, data: Path, max_bytes: int) -> None:
        """`data` is the data folder, `max_bytes` the maximum unpacked size."""
        self.folder = data / UPLOADS_FOLDER / secrets.token_hex(8)
        self.files = 0
        self.size = 0
        self.ignored: list[str] = []
        self._bytes_left = max_bytes
        self._max_bytes = max_bytes
        self._zips: list[Path] = []
        try:
            self.folder.mkdir(mode=0o700, parents=True)
        except OSError as error:
            raise _write_error(error) from error

    def open(self, name: str) -> BinaryIO | None:
        """Open the file for an uploaded `name`; return None if it is ignored."""
        self.files += 1
        if self.files > MAX_UPLOAD_FILES:
            raise StoreRefused(f"an upload has at most {MAX_UPLOAD_FILES:,} files")
        if name.lower().endswith(".zip"):
            path = self.folder / f".{len(self._zips)}.zip"
            self._zips.append(path)
        else:
            relative_path = path_in_campaign(name)
            if relative_path is None:
                self._ignore(name)
                return None
            path = self.folder / relative_path
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            return path.open("xb")
        except FileExistsError:
            raise StoreRefused(f"{path.name} was uploaded twice for the same path") from None
        except OSError as error:
            raise _write_error(error) from error

    def write(self, file: BinaryIO, data: bytes) -> None:
        """Write a part of a file; raise `StoreRefused` if the upload becomes too large."""
        self._bytes_left -= len(data)
        self.size += len(data)
        if self._bytes_left < 0:
            raise StoreRefused(f"the unpacked upload is larger than {self._max_bytes:,} bytes")
        try:
            file.write(data)
        except OSError as error:
            raise _write_error(error) from error

    def unpack(self) -> None:
        """Unpack the zip files; raise `StoreRefused` for an invalid or too large one."""
        for path in self._zips:
            # The packed size no longer counts: the file is removed below.
            self._bytes_left += path.stat().st_size
            self.size -= path.stat().st_size
            try:
                _check_zip_directory(path)
                with zipfile.ZipFile(path) as archive:
                    for entry in archive.infolist():
                        if not entry.is_dir():
                            self._unpack_entry(archive, entry)
            except (zipfile.BadZipFile, zlib.error, EOFError, ValueError) as error:
                raise StoreRefused(f"the zip file cannot be read: {error}") from None
            except (NotImplementedError, RuntimeError) as error:
                raise StoreRefused(f"the zip file cannot be unpacked: {error}") from None
            except OSError as error:
                if error.errno != EINVAL:
                    raise _write_error(error) from error
                # zipfile seeks to a negative offset if the beginning is missing.
                raise StoreRefused(
                    "the zip file cannot be read: its beginning is missing"
                ) from None
            path.unlink()

    def remove(self) -> None:
        """Remove the folder; later writes fail."""
        self._bytes_left = -1
        shutil.rmtree(self.folder, ignore_errors=True)

    def _unpack_entry(self, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
        if entry.filename.lower().endswith(".zip"):
            self._ignore(entry.filename)
            return
        file = self.open(entry.filename)
        if file is None:
            return
        if entry.compress_type not in ZIP_METHODS:
            file.close()
            raise NotImplementedError("its compression method is not supported; use deflate")
        # The sizes in the archive may be false: count the unpacked bytes.
        with file, archive.open(entry) as packed:
            while chunk := packed.read(UNPACK_CHUNK_BYTES):
                self.write(file, chunk)

    def _ignore(self, name: str) -> None:
        if not is_junk_file(name) and len(self.ignored) < MAX_LISTED_IGNORED:
            self.ignored.append(name[:MAX_FILE_NAME_LENGTH])


class UploadForm:
    """Streaming parser of a multipart form that writes its files to an `UploadFolder`."""

    def __init__(self, content_type: str, upload: UploadFolder) -> None:
        """Raise `StoreRefused` for another content type."""
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if kind != b"multipart/form-data" or not boundary:
            raise StoreRefused("the request is not a multipart form")
        self._upload = upload
        self._file: BinaryIO | None = None
        self._header_name, self._header_value, self._file_name = b"", b"", ""
        self._is_complete = False
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin_part,
                    "on_header_field": self._add_header_name,
                    "on_header_value": self._add_header_value,
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._open_file,
                    "on_part_data": self._write_file,
                    "on_part_end": self._close_file,
                    "on_end": self._complete,
                },
            )
        except FormParserError as error:
            raise StoreRefused(f"the multipart form is invalid: {error}") from None

    def write(self, data: bytes) -> None:
        """Parse a part of the body; raise a `StoreError` if it is invalid or cannot be written."""
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise StoreRefused(f"the multipart form is invalid: {error}") from None

    def end(self) -> None:
        """End the body; raise `StoreRefused` if the form is incomplete."""
        self._close_file()
        if not self._is_complete:
            raise StoreRefused("the upload is incomplete")

    def close(self) -> None:
        """Close the open file."""
        self._close_file()

    def _begin_part(self) -> None:
        self._file_name = ""

    def _add_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _add_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _end_header(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            _, options = parse_options_header(self._header_value)
            self._file_name = options.get(b"filename", b"").decode("utf-8", "replace")
        self._header_name = self._header_value = b""

    def _open_file(self) -> None:
        # A file input without a selected file sends an empty file name.
        if self._file_name:
            self._file = self._upload.open(self._file_name)

    def _write_file(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            self._upload.write(self._file, data[start:end])

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _complete(self) -> None:
        self._is_complete = True


def _check_zip_directory(path: Path) -> None:
    """Raise `StoreRefused` for a too large directory before `zipfile` reads it into memory."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - ZIP_TAIL_BYTES))
        tail = file.read()
    end = tail.rfind(b"PK\5\6")
    if end < 0 or len(tail) < end + 22:
        raise StoreRefused("the zip file cannot be read: its end is missing")
    count = int.from_bytes(tail[end + 10 : end + 12], "little")
    length = int.from_bytes(tail[end + 12 : end + 16], "little")
    is_zip64 = tail[max(0, end - 20) :].startswith(b"PK\6\7")
    if is_zip64 or count > MAX_UPLOAD_FILES or length > MAX_ZIP_DIRECTORY_BYTES:
        raise StoreRefused(f"the zip file has more than {MAX_UPLOAD_FILES:,} files")


def remove_stale_uploads(data: Path) -> None:
    """Remove uploads that a stop of the server interrupted."""
    shutil.rmtree(data / UPLOADS_FOLDER, ignore_errors=True)


def _write_error(error: OSError) -> StoreError:
    message = f"the upload cannot be written: {error.strerror}"
    return StoreFull(message) if error.errno in {ENOSPC, EDQUOT} else StoreError(message)

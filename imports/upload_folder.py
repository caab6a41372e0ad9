"""Campaign folders as they come from a browser: files, or a zip of them, laid out to be imported.

What does not belong in such a folder is never written; names decide where a file goes
(`domain/banners/upload_paths.py`), so that none can lead elsewhere.
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

# Files that one upload may have, and strays that are named.
MAX_UPLOAD_FILES, MAX_LISTED_SKIPPED = 20_000, 50
UNPACK_CHUNK_BYTES = 1024 * 1024
# Of a zip file: where its end is looked for, and bytes of its list of files.
ZIP_TAIL_BYTES, MAX_ZIP_DIRECTORY_BYTES = 65_557, 8_388_608
MAX_FILE_NAME_LENGTH = 200
# What is as common as zip files; others want memory as an archive says, and more code to trust.
ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class UploadFolder:
    """One upload; its methods are to be called off the loop, one at a time."""

    def __init__(self, data: Path, most: int) -> None:
        """It lies in the folder `data`; unpacked it may have `most` bytes.

        Raises a `StoreError` if it cannot be written, as may all of these.
        """
        self.folder = data / UPLOADS_FOLDER / secrets.token_hex(8)
        self.files = 0
        self.size = 0
        self.strays: list[str] = []
        self._left = most
        self._most = most
        self._zips: list[Path] = []
        try:
            self.folder.mkdir(mode=0o700, parents=True)
        except OSError as error:
            raise _write_error(error) from error

    def open(self, said: str) -> BinaryIO | None:
        """A file to write what came as `said` to; None if it is not taken."""
        self.files += 1
        if self.files > MAX_UPLOAD_FILES:
            raise StoreRefused(f"an upload has at most {MAX_UPLOAD_FILES:,} files")
        if said.lower().endswith(".zip"):
            path = self.folder / f".{len(self._zips)}.zip"
            self._zips.append(path)
        else:
            where = path_in_campaign(said)
            if where is None:
                self._stray(said)
                return None
            path = self.folder / where
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            return path.open("xb")
        except FileExistsError:
            raise StoreRefused(f"{path.name} came twice for the same place") from None
        except OSError as error:
            raise _write_error(error) from error

    def write(self, file: BinaryIO, data: bytes) -> None:
        """Write some of a file."""
        self._left -= len(data)
        self.size += len(data)
        if self._left < 0:
            raise StoreRefused(f"unpacked it is larger than {self._most:,} bytes")
        try:
            file.write(data)
        except OSError as error:
            raise _write_error(error) from error

    def unpack(self) -> None:
        """Unpack the zips that came; `StoreRefused` for one that is none, or a bomb."""
        for path in self._zips:
            # Its own bytes came within the same bounds.
            self._left += path.stat().st_size
            self.size -= path.stat().st_size
            try:
                _check_zip_directory(path)
                with zipfile.ZipFile(path) as archive:
                    for entry in archive.infolist():
                        if not entry.is_dir():
                            self._unpack(archive, entry)
            except (zipfile.BadZipFile, zlib.error, EOFError, ValueError) as error:
                raise StoreRefused(f"the zip file cannot be read: {error}") from None
            except (NotImplementedError, RuntimeError) as error:
                raise StoreRefused(f"the zip file cannot be unpacked: {error}") from None
            except OSError as error:
                if error.errno != EINVAL:
                    raise _write_error(error) from error
                # It says that something stands before its beginning.
                raise StoreRefused("the zip file cannot be read: it is not whole") from None
            path.unlink()

    def remove(self) -> None:
        """Leave nothing of it; what is still being written fails."""
        self._left = -1
        shutil.rmtree(self.folder, ignore_errors=True)

    def _unpack(self, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
        if entry.filename.lower().endswith(".zip"):
            self._stray(entry.filename)
            return
        file = self.open(entry.filename)
        if file is None:
            return
        if entry.compress_type not in ZIP_METHODS:
            file.close()
            raise NotImplementedError("it is packed in another way than zip files mostly are")
        # Told sizes are not believed: what comes out is counted.
        with file, archive.open(entry) as packed:
            while chunk := packed.read(UNPACK_CHUNK_BYTES):
                self.write(file, chunk)

    def _stray(self, said: str) -> None:
        if not is_junk_file(said) and len(self.strays) < MAX_LISTED_SKIPPED:
            self.strays.append(said[:MAX_FILE_NAME_LENGTH])


class UploadForm:
    """A form with files, read as it comes, its files going to an upload."""

    def __init__(self, content_type: str, upload: UploadFolder) -> None:
        """`StoreRefused` if it is no such form."""
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if kind != b"multipart/form-data" or not boundary:
            raise StoreRefused("this is no form with files")
        self._upload = upload
        self._file: BinaryIO | None = None
        self._name, self._value, self._file_name = b"", b"", ""
        self._ended = False
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_field": self._field,
                    "on_header_value": self._more,
                    "on_header_end": self._header,
                    "on_headers_finished": self._open,
                    "on_part_data": self._data,
                    "on_part_end": self._close,
                    "on_end": self._end,
                },
            )
        except FormParserError as error:
            raise StoreRefused(f"this is no form with files: {error}") from None

    def write(self, data: bytes) -> None:
        """Read on; raises a `StoreError`."""
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise StoreRefused(f"this is no form with files: {error}") from None

    def end(self) -> None:
        """It has come in whole; `StoreRefused` if it has not."""
        self._close()
        if not self._ended:
            raise StoreRefused("the upload broke off before its end")

    def close(self) -> None:
        """Hold no file open."""
        self._close()

    def _begin(self) -> None:
        self._file_name = ""

    def _field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _more(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header(self) -> None:
        if self._name.lower() == b"content-disposition":
            _, options = parse_options_header(self._value)
            self._file_name = options.get(b"filename", b"").decode("utf-8", "replace")
        self._name = self._value = b""

    def _open(self) -> None:
        # A field for files in which none was chosen has a file without a name.
        if self._file_name:
            self._file = self._upload.open(self._file_name)

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            self._upload.write(self._file, data[start:end])

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _end(self) -> None:
        self._ended = True


def _check_zip_directory(path: Path) -> None:
    """Refuse an archive whose list of files is itself a burden, before it is read."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - ZIP_TAIL_BYTES))
        tail = file.read()
    end = tail.rfind(b"PK\5\6")
    if end < 0 or len(tail) < end + 22:
        raise StoreRefused("the zip file cannot be read: it has no end")
    count = int.from_bytes(tail[end + 10 : end + 12], "little")
    length = int.from_bytes(tail[end + 12 : end + 16], "little")
    far = tail[max(0, end - 20) :].startswith(b"PK\6\7")  # ZIP64, which can tell of any number
    if far or count > MAX_UPLOAD_FILES or length > MAX_ZIP_DIRECTORY_BYTES:
        raise StoreRefused(f"the zip file has more than {MAX_UPLOAD_FILES:,} files")


def remove_stale_uploads(data: Path) -> None:
    """Leave nothing of uploads that a stop cut off."""
    shutil.rmtree(data / UPLOADS_FOLDER, ignore_errors=True)


def _write_error(error: OSError) -> StoreError:
    words = f"the upload cannot be written: {error.strerror}"
    return StoreFull(words) if error.errno in {ENOSPC, EDQUOT} else StoreError(words)

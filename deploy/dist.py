"""Build dist/marquee, a single file that runs on machines without Python: `make dist`.

PyInstaller collects the program, its packages and Python in a folder. The result is that folder,
compressed, behind a shell script (onefile.sh) that unpacks it at the first start and then executes
the program. PyInstaller's own one-file mode is not used: it unpacks at each start, leaves its files
behind when killed, and puts a parent process between the supervisor and the server. That parent
would receive the supervisor's signals, sockets and watchdog settings.
"""

import ctypes
import gzip
import hashlib
import io
import runpy
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path

from install import install_lock

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "dist"
TARGET = ROOT / "dist" / "marquee"
LOCK = ROOT / "requirements-dist.lock"
LAUNCHER = ROOT / "deploy" / "onefile.sh"
CODE = (
    *("app", "commands", "demo", "handlers", "background", "imports"),
    *("store", "domain", "httpserver"),
)
# Files that the code opens by a path relative to itself.
DATA = ("store/sqlite/migrations", "store/sqlite/projections/sql", "templates", "static")
# Packages that no import statement names.
HIDDEN_IMPORTS = ("tzdata",)
# Modules that PyInstaller would add although Marquee does not use them.
EXCLUDED_MODULES = (
    *("tkinter", "curses", "unittest", "pydoc", "lib2to3", "setuptools", "pip", "distutils"),
)


def main() -> None:
    """Build the file, unless it exists and was built from the current sources."""
    digest = hash_sources()
    if TARGET.exists() and read_source_hash(TARGET) == digest:
        say(f"{TARGET.relative_to(ROOT)} is up to date")
        return
    if missing := missing_packages():
        needed = "; ".join(f"{tool} is missing" for tool in missing)
        sys.exit(f"dist: {needed}. On Debian: apt install {' '.join(missing.values())}")
    python = install_lock(ROOT / "build" / f"dist-venv-{sysconfig.get_python_version()}", LOCK)
    say("running PyInstaller ...")
    run_pyinstaller(python)
    say("compressing ...")
    TARGET.parent.mkdir(exist_ok=True)
    part = TARGET.with_name(".marquee")
    part.write_bytes(pack(BUILD / "out" / "marquee", digest))
    part.chmod(0o755)
    part.rename(TARGET)
    say(f"{TARGET.relative_to(ROOT)}: {TARGET.stat().st_size / 1e6:.0f} MB")


def missing_packages(path: str | None = None) -> dict[str, str]:
    """Map each missing prerequisite of PyInstaller to the Debian package that contains it.

    Programs are searched in `path`, by default in PATH.
    """
    missing = {}
    try:
        # PyInstaller needs the shared library; a python3 that is linked statically lacks it.
        ctypes.CDLL(sysconfig.get_config_var("INSTSONAME"))
    except OSError:
        missing["the shared library of this Python"] = "libpython3-dev"
    tools = [tool for tool in ("objdump", "strip") if shutil.which(tool, path=path) is None]
    if tools:
        missing[" and ".join(tools)] = "binutils"
    return missing


def say(message: str) -> None:
    """Print a progress line at once, also into a pipe."""
    print(f"dist: {message}", flush=True)


def hash_sources() -> str:
    """Return the SHA-256 over the names, sizes and contents of every input file."""
    digest = hashlib.sha256()
    paths = [LOCK, LAUNCHER, Path(__file__), *ROOT.glob("*.py")]
    for folder in (*CODE, *DATA):
        paths += [path for path in (ROOT / folder).rglob("*") if path.suffix != ".pyc"]
    for path in sorted({path for path in paths if path.is_file()}):
        digest.update(f"{path.relative_to(ROOT)}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def read_source_hash(path: Path) -> str:
    """Return the hash of the sources from which the file `path` was built."""
    with path.open("rb") as file:
        head = file.read(LAUNCHER.stat().st_size + 200)
    return head.partition(b"sources=")[2][:64].decode("ascii", "replace")


def run_pyinstaller(python: Path) -> None:
    """Collect the program in the folder `out/marquee` of BUILD."""
    command = [str(python), "-m", "PyInstaller", "--noconfirm", "--log-level=ERROR", "--onedir"]
    command += ["--clean", "--strip", "--name=marquee", f"--paths={ROOT}"]
    command += [f"--workpath={BUILD / 'work'}", f"--distpath={BUILD / 'out'}"]
    command += [f"--specpath={BUILD}"]
    command += [f"--add-data={ROOT / name}:{name}" for name in DATA]
    command += [f"--collect-all={name}" for name in HIDDEN_IMPORTS]
    command += [f"--exclude-module={name}" for name in EXCLUDED_MODULES]
    command.append(str(ROOT / "server.py"))
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{done.stdout}{done.stderr}dist: PyInstaller failed")


def pack(folder: Path, source_hash: str) -> bytes:
    """Return the launcher followed by `folder` as tar.gz; equal input gives equal bytes."""

    def without_owner(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.mtime = entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        return entry

    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=9, mtime=0) as squeezed,
        tarfile.open(fileobj=squeezed, mode="w") as tar,
    ):
        for path in sorted(folder.rglob("*")):
            tar.add(path, str(path.relative_to(folder)), recursive=False, filter=without_owner)
    body = packed.getvalue()
    values = {
        "version": runpy.run_path(str(ROOT / "domain/common/version.py"))["VERSION"],
        "sources": source_hash,
        "payload": hashlib.sha256(body).hexdigest()[:16],
    }
    launcher = LAUNCHER.read_text()
    for name, value in values.items():
        launcher = launcher.replace(f"{name}=\n", f"{name}={value}\n")
    # Eight digits always, so that writing the offset does not change the launcher's size.
    size = len(launcher.encode()) + 8
    launcher = launcher.replace("begin=\n", f"begin={size + 1:08d}\n")
    return launcher.encode() + body


if __name__ == "__main__":
    main()

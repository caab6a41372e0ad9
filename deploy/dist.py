"""Make the one file: `make dist` writes dist/marquee, which needs no Python where it runs.

PyInstaller gathers the program, its packages and Python into a folder. That folder goes, squeezed,
behind a head in shell (onefile.sh), which unpacks it when it is started for the first time, and
becomes the program then. PyInstaller's own one file would unpack at each start, leave a parent
process in between, to which a supervisor's signals, sockets and watchdog are addressed, and leave
its files behind whenever it is killed.
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
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "dist"
TARGET = ROOT / "dist" / "marquee"
LOCK = ROOT / "requirements-dist.lock"
HEAD = ROOT / "deploy" / "onefile.sh"
CODE = (
    *("app", "commands", "demo", "handlers", "background", "imports"),
    *("store", "domain", "httpserver"),
)
# Read as files, by their places beside the code.
DATA = ("store/sqlite/migrations", "store/sqlite/projections/sql", "templates", "static")
# Found by name alone.
HIDDEN = ("tzdata",)
# What nothing of ours asks for.
EXCLUDED = ("tkinter", "curses", "unittest", "pydoc", "lib2to3", "setuptools", "pip", "distutils")


def main() -> None:
    """Build, unless that was done of these very sources."""
    digest = sources()
    if TARGET.exists() and made_of(TARGET) == digest:
        say(f"{TARGET.relative_to(ROOT)} is of these sources")
        return
    if missing := missing_packages():
        needed = "; ".join(f"{what} is missing" for what in missing)
        sys.exit(f"dist: {needed}. On Debian: apt install {' '.join(missing.values())}")
    python = environment()
    say("gathering ...")
    gather(python)
    say("packing ...")
    TARGET.parent.mkdir(exist_ok=True)
    part = TARGET.with_name(".marquee")
    part.write_bytes(pack(BUILD / "out" / "marquee", digest))
    part.chmod(0o755)
    part.rename(TARGET)
    say(f"{TARGET.relative_to(ROOT)}: {TARGET.stat().st_size / 1e6:.0f} MB")


def missing_packages(path: str | None = None) -> dict[str, str]:
    """Return what PyInstaller needs and this machine lacks, each with its Debian package.

    Programs are looked for in `path`, or in PATH.
    """
    missing = {}
    try:
        # Not every python3 is linked with it; PyInstaller needs the library.
        ctypes.CDLL(sysconfig.get_config_var("INSTSONAME"))
    except OSError:
        missing["the shared library of this Python"] = "libpython3-dev"
    tools = [tool for tool in ("objdump", "strip") if shutil.which(tool, path=path) is None]
    if tools:
        missing[" and ".join(tools)] = "binutils"
    return missing


def say(words: str) -> None:
    """One line for people."""
    print(f"dist: {words}", flush=True)


def sources() -> str:
    """A hash of all that goes into the file."""
    summed = hashlib.sha256()
    paths = [LOCK, HEAD, Path(__file__), *ROOT.glob("*.py")]
    for folder in (*CODE, *DATA):
        paths += [path for path in (ROOT / folder).rglob("*") if path.suffix != ".pyc"]
    for path in sorted({path for path in paths if path.is_file()}):
        summed.update(f"{path.relative_to(ROOT)}\0{path.stat().st_size}\0".encode())
        summed.update(path.read_bytes())
    return summed.hexdigest()


def made_of(path: Path) -> str:
    """The hash of the sources of which a file was made."""
    with path.open("rb") as file:
        head = file.read(HEAD.stat().st_size + 200)
    return head.partition(b"sources=")[2][:64].decode("ascii", "replace")


def environment() -> Path:
    """The Python of an environment that holds what the lock names; made if it does not."""
    folder = ROOT / "build" / "dist-venv"
    python, stamp = folder / "bin" / "python", folder / "lock.sha256"
    wanted = hashlib.sha256(LOCK.read_bytes() + sys.version.encode()).hexdigest()
    if not stamp.exists() or stamp.read_text() != wanted:
        say(f"making {folder.relative_to(ROOT)} ...")
        venv.create(folder, with_pip=True, clear=True)
        install = [
            str(python),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--only-binary=:all:",
        ]
        quiet = ["--disable-pip-version-check", "--require-hashes", "-r", str(LOCK)]
        subprocess.run([*install, *quiet], check=True)
        stamp.write_text(wanted)
    return python


def gather(python: Path) -> None:
    """Have PyInstaller make the folder."""
    command = [str(python), "-m", "PyInstaller", "--noconfirm", "--log-level=ERROR", "--onedir"]
    command += ["--clean", "--strip", "--name=marquee", f"--paths={ROOT}"]
    command += [f"--workpath={BUILD / 'work'}", f"--distpath={BUILD / 'out'}"]
    command += [f"--specpath={BUILD}"]
    command += [f"--add-data={ROOT / name}:{name}" for name in DATA]
    command += [f"--collect-all={name}" for name in HIDDEN]
    command += [f"--exclude-module={name}" for name in EXCLUDED]
    command.append(str(ROOT / "server.py"))
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{done.stdout}{done.stderr}dist: PyInstaller has failed")


def pack(folder: Path, digest: str) -> bytes:
    """The folder behind the head: the same bytes of the same files."""

    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.mtime = entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        return entry

    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=9, mtime=0) as squeezed,
        tarfile.open(fileobj=squeezed, mode="w") as tar,
    ):
        for path in sorted(folder.rglob("*")):
            tar.add(path, str(path.relative_to(folder)), recursive=False, filter=plain)
    body = packed.getvalue()
    values = {
        "version": runpy.run_path(str(ROOT / "release.py"))["VERSION"],
        "sources": digest,
        "payload": hashlib.sha256(body).hexdigest()[:16],
    }
    head = HEAD.read_text()
    for name, value in values.items():
        head = head.replace(f"{name}=\n", f"{name}={value}\n")
    # Where the payload begins is a number of as many digits, whatever it is.
    size = len(head.encode()) + 8
    head = head.replace("begin=\n", f"begin={size + 1:08d}\n")
    return head.encode() + body


if __name__ == "__main__":
    main()

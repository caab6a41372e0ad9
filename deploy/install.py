"""Make `.venv` hold what the lock names: `python3 deploy/install.py [--dev]`.

Needs only a bare Python. What is there and whole is left alone, and then nothing is downloaded;
what is missing, damaged or of another version is installed anew, checked against its hashes.
"""

from __future__ import annotations

import argparse
import csv
import fcntl
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
OLDEST = (3, 11)
# Settings that would have pip or Python look elsewhere than in `.venv`.
ASTRAY = (
    *("PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_CONSTRAINT"),
    *("PYTHONHOME", "PYTHONPATH"),
)


class InstallError(Exception):
    """It cannot be done; the message says why and what to do."""


def main() -> None:
    """Install, or say in one line why that cannot be."""
    parser = argparse.ArgumentParser(description="Make .venv hold what the lock names.")
    parser.add_argument("--dev", action="store_true", help="what tests and checks need, too")
    name = "requirements-dev.lock" if parser.parse_args().dev else "requirements.lock"
    try:
        if sys.version_info < OLDEST:
            raise InstallError(
                f"Python 3.11 or later is needed, {sys.executable} is {sys.version.split()[0]}; "
                "name another: make PYTHON=/path/to/python3.11 ..."
            )
        # Two at once would write the same files; the second one finds all in place.
        with Path(__file__).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            install(name)
    except (InstallError, OSError) as error:
        sys.exit(f"install: {error}")


def install(name: str) -> None:
    """Bring `.venv` to what the lock file `name` says, with as little work as that takes."""
    lock = read_lock(ROOT / name)
    site = ready_venv()
    wanted = amiss(lock, site)
    if not wanted:
        say(f".venv has all {len(lock)} packages of {name}")
        return
    say(f"installing {', '.join(wanted) if len(wanted) < 6 else f'{len(wanted)} packages'} ...")
    with tempfile.TemporaryDirectory() as folder:
        download(wanted, lock, folder)
        if pip_install(wanted, lock, folder) and not amiss(lock, site):
            return
        # Half a package can stand in pip's way for good. All is fetched before anything is removed,
        # so that without a network what still works is not lost.
        say(f"that did not mend .venv: making it anew with {len(lock)} packages ...")
        download(list(lock), lock, folder)
        make_venv()
        if not pip_install(list(lock), lock, folder) or (wanted := amiss(lock, ask_venv()[2])):
            raise InstallError(f"pip did not install {', '.join(wanted)} as {name} says")


def say(words: str) -> None:
    """One line for people, at once also where the output is a pipe."""
    print(f"install: {words}", flush=True)


def read_lock(path: Path) -> dict[str, tuple[str, str]]:
    """Name → (version, the requirement with its hashes) for each package of a lock file."""
    lock = {}
    text = re.sub(r"(?m)^#.*\n", "", path.read_text())
    for block in re.split(r"\n+(?=\S)", text.strip()):
        match = re.fullmatch(r"([\w.-]+)==([\w.!+]+)( \\\n +--hash=sha256:[0-9a-f]{64})+", block)
        if not match:
            raise InstallError(f"{path.name} is not understood at {block[:60]!r}")
        lock[plain(match[1])] = (match[2], block)
    return lock


def plain(name: str) -> str:
    """A package's name in the one form in which names are compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def amiss(lock: dict[str, tuple[str, str]], site: Path) -> list[str]:
    """What `site` (a site-packages folder) lacks, or has otherwise than locked or damaged."""
    found: dict[str, list[Path]] = {}
    for info in site.glob("*.dist-info"):
        found.setdefault(plain(info.stem.rpartition("-")[0]), []).append(info)
    return [
        name
        for name, (version, _) in lock.items()
        if [info.stem.rpartition("-")[2] for info in found.get(name, [])] != [version]
        or not whole(found[name][0])
    ]


def whole(info: Path) -> bool:
    """Whether each file that was installed is there, with its size."""
    try:
        with (info / "RECORD").open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.reader(file) if not row[0].endswith(".pyc")]
        for path, _, size in rows:
            there = os.stat(f"{info.parent}/{path}").st_size  # noqa: PTH116 — of thousands
            # Scripts (the only ones outside) change with the place of `.venv`.
            if size and there != int(size) and not path.startswith("../"):
                return False
    except (OSError, ValueError, IndexError):
        return False
    return any(row[0] == f"{info.name}/RECORD" for row in rows)  # else it was cut short


def ready_venv() -> Path:
    """Make `.venv` an environment of a right Python with pip, for this place; → its packages."""
    if not os.path.lexists(VENV):
        say(f"making .venv with {sys.executable} ...")
        make_venv()
    try:
        version, prefix, site = ask_venv()
        if version < OLDEST or not prefix.samefile(VENV):
            raise InstallError("not ours")
    except (InstallError, OSError, ValueError):
        say(f".venv has no Python that works: making it anew with {sys.executable} ...")
        make_venv()
        version, prefix, site = ask_venv()
    pips = list(site.glob("pip-*.dist-info"))
    if len(pips) != 1 or not whole(pips[0]):
        say(".venv has no pip that works: bringing it back ...")
        need_ensurepip()
        for rest in (site / "pip", *pips):
            shutil.rmtree(rest, ignore_errors=True)
        run("-m", "ensurepip", "--default-pip")
    follow_move()
    return site


def ask_venv() -> tuple[tuple[int, ...], Path, Path]:
    """Version, folder and site-packages of the Python in `.venv`; raises if it does not run."""
    question = (
        "import sys, sysconfig;"
        "print(*sys.version_info[:2], sys.prefix, sysconfig.get_path('purelib'), sep='\\n')"
    )
    major, minor, prefix, site = run("-c", question).splitlines()[-4:]
    return (int(major), int(minor)), Path(prefix), Path(site)


def follow_move() -> None:
    """Scripts name their Python by its full path: after a move or copy, by the wrong one."""
    head = (VENV / "bin" / "pip").read_bytes()[:1024]
    match = re.search(rb"(/[^\"'\n]*)/bin/python", head)
    if not match or Path(os.fsdecode(match[1])).resolve() == VENV.resolve():
        return
    say(f"turning the scripts of .venv from {os.fsdecode(match[1])} to here ...")
    for script in (VENV / "bin").iterdir():
        if not script.is_symlink() and script.stat().st_size < 100_000:
            text = script.read_bytes()
            script.write_bytes(text.replace(match[1] + b"/", os.fsencode(VENV) + b"/"))


def make_venv() -> None:
    """A new `.venv`, in place of whatever is there."""
    need_ensurepip()
    import venv  # here, since Debian ships it apart

    if VENV.is_symlink() or VENV.is_file():
        VENV.unlink()
    elif VENV.exists():
        shutil.rmtree(VENV)
    try:
        venv.create(VENV, symlinks=True, with_pip=True)
    except subprocess.CalledProcessError as error:
        said = (error.output or b"").decode(errors="replace").strip()
        raise InstallError(f"cannot make .venv: {error} {said}") from error


def need_ensurepip() -> None:
    """Say what to install, before anything is removed, where Python comes without its venv."""
    if not (importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")):
        raise InstallError(
            f"{sys.executable} lacks venv and ensurepip; on Debian or Ubuntu: "
            "apt install python3-venv"
        )


def download(names: list[str], lock: dict[str, tuple[str, str]], folder: str) -> None:
    """Fetch the files of `names` (ready-made ones: to build others would run unlocked code)."""
    if not pip("download", names, lock, folder, "--only-binary=:all:", f"--dest={folder}"):
        raise InstallError("pip could not fetch them; what it said stands above")


def pip_install(names: list[str], lock: dict[str, tuple[str, str]], folder: str) -> bool:
    """Install what `download` brought."""
    found = ("--no-index", f"--find-links={folder}", "--force-reinstall")
    return pip("install", names, lock, folder, *found)


def pip(
    verb: str, names: list[str], lock: dict[str, tuple[str, str]], folder: str, *options: str
) -> bool:
    """Let pip of `.venv` treat `names`, hashes checked; → whether it did."""
    wanted = Path(folder, "wanted.txt")
    wanted.write_text("\n".join(lock[name][1] for name in names) + "\n")
    fixed = ("--quiet", "--no-deps", "--require-hashes", "--disable-pip-version-check")
    try:
        run("-m", "pip", verb, *fixed, *options, f"--requirement={wanted}", heard=True)
    except InstallError:
        return False
    return True


def run(*arguments: str, heard: bool = False) -> str:
    """What Python of `.venv` prints; `heard` lets people read it instead."""
    surroundings = {name: value for name, value in os.environ.items() if name not in ASTRAY}
    output = None if heard else subprocess.PIPE
    command = [str(PYTHON), "-I", *arguments]
    done = subprocess.run(
        command, env=surroundings, stdout=output, stderr=output, text=True, check=False
    )
    if done.returncode:
        said = "" if heard else f": {done.stdout}{done.stderr}".rstrip()
        raise InstallError(f"{' '.join(command)} failed{said}")
    return done.stdout or ""


if __name__ == "__main__":
    main()

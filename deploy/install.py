"""Install the locked packages into `.venv`: `python3 deploy/install.py [--dev]`.

A stamp file in the environment holds the hash of each lock file that was installed completely, so
that a second run does nothing. An environment that cannot be used is removed and created again.
"""

import argparse
import fcntl
import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
MIN_PYTHON = (3, 11)


def main() -> None:
    """Install what serves; with `--dev`, what tests and checks need as well."""
    parser = argparse.ArgumentParser(description="Install the locked packages into .venv.")
    parser.add_argument("--dev", action="store_true", help="also install the test packages")
    name = "requirements-dev.lock" if parser.parse_args().dev else "requirements.lock"
    if sys.version_info < MIN_PYTHON:
        sys.exit(
            f"install: Python 3.11 or later is needed, {sys.executable} is "
            f"{sys.version.split()[0]}; name another: make PYTHON=/path/to/python3.11"
        )
    try:
        # Two runs at once would write the same files.
        with Path(__file__).open() as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            install_lock(VENV, ROOT / name)
    except (subprocess.CalledProcessError, OSError) as error:
        sys.exit(f"install: {error}")


def install_lock(folder: Path, lock: Path) -> Path:
    """Bring the environment `folder` to the versions of `lock`; return its Python."""
    stamp = folder / f"{lock.name}.sha256"
    unfinished = folder / "installation-unfinished"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    if not is_usable(folder):
        create(folder)
    elif unfinished.exists():
        # pip takes a half-written package for an installed one. Everything is downloaded before
        # the environment is removed, so that it survives a missing network.
        with tempfile.TemporaryDirectory() as wheels:
            pip(folder, "download", lock, f"--dest={wheels}")
            create(folder)
            unfinished.touch()
            pip(folder, "install", lock, "--no-index", f"--find-links={wheels}")
    elif stamp.exists() and stamp.read_text() == digest:
        return folder / "bin" / "python"
    print(f"install: installing {lock.name} into {folder} ...", flush=True)
    unfinished.touch()
    pip(folder, "install", lock)
    stamp.write_text(digest)
    unfinished.unlink()
    return folder / "bin" / "python"


def is_usable(folder: Path) -> bool:
    """Whether Python and pip of the environment run, and its scripts name this very Python."""
    # A plain `import pip` also succeeds where pip has lost its __init__.py.
    check = "import sys; from pip import main; sys.exit(sys.version_info < (3, 11))"
    try:
        subprocess.run(
            [folder / "bin" / "python", "-I", "-c", check], check=True, capture_output=True
        )
        # Scripts name their Python by its full path: after a move or a copy, another one.
        script = (folder / "bin" / "pip").read_text()
        interpreter = re.search(r"(/[^\"'\n]*)/bin/python", script)
        return interpreter is not None and Path(interpreter[1]).samefile(folder)
    except (subprocess.CalledProcessError, OSError):
        return False


def create(folder: Path) -> None:
    """Create an empty environment in place of whatever is there."""
    print(f"install: creating {folder} with {sys.executable} ...", flush=True)
    if folder.is_symlink() or folder.is_file():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)
    subprocess.run([sys.executable, "-I", "-m", "venv", folder], check=True)


def pip(folder: Path, command: str, lock: Path, *options: str) -> None:
    """Let pip download or install the packages of `lock`, only wheels and with checked hashes."""
    fixed = ["--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes"]
    fixed += ["--disable-pip-version-check", f"--requirement={lock}"]
    python = folder / "bin" / "python"
    subprocess.run([python, "-I", "-m", "pip", command, *fixed, *options], check=True)


if __name__ == "__main__":
    main()

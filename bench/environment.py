"""Environments of their own for what Marquee itself must not depend on.

`python bench/environment.py` makes them all; `python bench/environment.py lock` writes their
lock files anew (the one way in which a version there may change).
"""

import hashlib
import shutil
import subprocess
import sys
import venv
from pathlib import Path

BENCH = Path(__file__).parent
ROOT = BENCH.parent
BUILD = ROOT / "build"
# What each environment holds, and the lock that it must agree with.
LOCKS = {"bench": "requirements", "locust": "requirements-locust"}
SHARED = {"bench": ["--constraint", str(ROOT / "requirements.lock")], "locust": []}
HEAD = "# Made by `python bench/environment.py lock`. Versions and hashes are what is installed.\n"


def python(name: str) -> str:
    """Path of the Python of environment `name`, which is made first if its lock has changed."""
    lock = BENCH / f"{LOCKS[name]}.txt"
    folder = BUILD / f"{name}-venv"
    program, stamp = folder / "bin" / "python", folder / "lock.sha256"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != digest:
        print(f"making {folder.relative_to(ROOT)} from {lock.relative_to(ROOT)}", file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=True)
        install = [str(program), "-m", "pip", "install", "--quiet", "--no-deps"]
        subprocess.run([*install, "--require-hashes", "-r", str(lock)], check=True)
        stamp.write_text(digest)
    return str(program)


def lock(name: str) -> None:
    """Resolve `requirements*.in` into `requirements*.txt` with the hashes of every file."""
    source, target = BENCH / f"{LOCKS[name]}.in", BENCH / f"{LOCKS[name]}.txt"
    options = ["--generate-hashes", "--strip-extras", "--allow-unsafe", "--upgrade", "--quiet"]
    plain = ["--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-options"]
    command = [sys.executable, "-m", "piptools", "compile", str(source), *options, *plain]
    subprocess.run([*command, *SHARED[name], "--output-file", str(target)], check=True)
    target.write_text(HEAD + target.read_text())


if __name__ == "__main__":
    for each in LOCKS:
        if sys.argv[1:] == ["lock"]:
            lock(each)
        else:
            print(python(each))

"""Write the lock files anew from setup.cfg: `make lock`, the one command that changes versions.

Run it with the oldest Python that is served on: what only that one needs is then locked, too.
"""

import configparser
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEAD = "# Made by `make lock` from setup.cfg. Versions and hashes are what every install uses.\n"


def main() -> None:
    """Lock what serves, then what tests and what makes the one file, on the versions that serve."""
    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / "setup.cfg")
    serves = config["options"]["install_requires"]
    tests = config["options.extras_require"]["dev"]
    makes = config["options.extras_require"]["dist"]
    # The tool lives outside .venv: what it needs is then no part of what is locked and tested.
    tool = ROOT / "build" / "lock"
    venv.create(tool, with_pip=True, clear=True)
    python = str(tool / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "--quiet", "pip-tools"], check=True)
    lock(python, serves, ROOT / "requirements.lock")
    lock(python, f"-c {ROOT}/requirements.lock\n{serves}\n{tests}", ROOT / "requirements-dev.lock")
    lock(python, f"-c {ROOT}/requirements.lock\n{serves}\n{makes}", ROOT / "requirements-dist.lock")
    sys.stdout.write("lock: done; see what changed with `git diff --stat`, then `make test`\n")


def lock(python: str, wanted: str, path: Path) -> None:
    """Resolve `wanted` (requirement lines) into `path`, with the hashes of all its files."""
    resolve = ["--generate-hashes", "--strip-extras", "--allow-unsafe", "--upgrade", "--quiet"]
    plain = ["--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-options"]
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "wanted.in"), Path(folder, "lock")
        source.write_text(wanted)
        command = [python, "-m", "piptools", "compile", *resolve, *plain, f"--output-file={target}"]
        subprocess.run([*command, str(source)], check=True)
        path.write_text(HEAD + target.read_text())


if __name__ == "__main__":
    main()

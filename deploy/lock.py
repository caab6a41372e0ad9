"""Write the lock files anew from setup.cfg: `make lock`, the one command that may change a version."""

import configparser
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
HEAD = "# Made by `make lock` from setup.cfg. Versions and hashes are what every install uses.\n"


def main() -> None:
    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / "setup.cfg")
    run = config["options"]["install_requires"]
    dev = config["options.extras_require"]["dev"]
    # The two are made in this order so that a test runs on the versions that are served.
    lock(run, ROOT / "requirements.lock")
    lock(f"-c {ROOT / 'requirements.lock'}\n{run}\n{dev}", ROOT / "requirements-dev.lock")


def lock(wanted: str, path: Path) -> None:
    """Resolve `wanted` (requirement lines) into `path`, with the hashes of all files of a version."""
    options = ["--generate-hashes", "--strip-extras", "--allow-unsafe", "--upgrade", "--quiet"]
    plain = ["--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-options"]
    with tempfile.NamedTemporaryFile("w", suffix=".in") as source:
        source.write(wanted)
        source.flush()
        command = [sys.executable, "-m", "piptools", "compile", source.name, *options, *plain]
        subprocess.run([*command, "--output-file", str(path)], check=True)
    path.write_text(HEAD + path.read_text())


if __name__ == "__main__":
    main()

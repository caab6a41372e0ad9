"""Look all locked packages up among the known vulnerabilities: `make audit`.

The exit status is 0 only if every package of every lock file was looked up and nothing is known of
any: 1 if something is, 2 if some could not be looked up, which is no good news.
"""

import json
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ("requirements.lock", "requirements-dev.lock", "requirements-dist.lock")


def main() -> int:
    """Audit each lock file, in an environment of the tool's own."""
    tool = ROOT / "build" / "audit"
    python = tool / "bin" / "python"
    if not (tool / "bin" / "pip-audit").exists():
        venv.create(tool, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "pip-audit"], check=True)
    found = set()
    for name in LOCKS:
        lines, status = judge(look_up(python, ROOT / name))
        sys.stdout.write("".join(f"{name}: {line}\n" for line in lines))
        found.add(status)
    return 1 if 1 in found else max(found)


def look_up(python: Path, lock: Path) -> Any:
    """What pip-audit tells of a lock file, whose hashes it needs no download for."""
    options = ["--require-hashes", "--disable-pip", "--format", "json", "--progress-spinner", "off"]
    command = [str(python), "-m", "pip_audit", *options, "--requirement", str(lock)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        return json.loads(done.stdout)
    except ValueError:
        return {"failed": done.stderr.strip().splitlines()[-1:] or ["pip-audit said nothing"]}


def judge(said: Any) -> tuple[list[str], int]:
    """What is to be told of a lock file, and the status that this comes to."""
    if "failed" in said:
        return [f"not looked up: {said['failed'][0]}"], 2
    lines, vulnerable, unknown = [], 0, 0
    for package in said["dependencies"]:
        if "skip_reason" in package:
            unknown += 1
            lines.append(f"not looked up: {package['name']}: {package['skip_reason']}")
        for each in package.get("vulns", ()):
            vulnerable += 1
            mended = ", ".join(each["fix_versions"]) or "no version yet"
            lines.append(
                f"{package['name']} {package['version']}: {each['id']}, mended in {mended}"
            )
    looked_up = len(said["dependencies"]) - unknown
    lines.append(f"{looked_up} packages looked up, {vulnerable} vulnerabilities known")
    return lines, 1 if vulnerable else 2 if unknown or not looked_up else 0


if __name__ == "__main__":
    sys.exit(main())

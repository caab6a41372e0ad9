"""Check all locked packages against the known vulnerabilities: `make audit`.

The exit status is 0 if every package of every lock file was checked and none is vulnerable, 1 if
one is vulnerable, and 2 if a package could not be checked.
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
    """Audit each lock file with pip-audit, which has an environment of its own."""
    tool = ROOT / "build" / "audit"
    python = tool / "bin" / "python"
    if not (tool / "bin" / "pip-audit").exists():
        venv.create(tool, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "pip-audit"], check=True)
    statuses = set()
    for name in LOCKS:
        lines, status = summarize(run_pip_audit(python, ROOT / name))
        sys.stdout.write("".join(f"{name}: {line}\n" for line in lines))
        statuses.add(status)
    return 1 if 1 in statuses else max(statuses)


def run_pip_audit(python: Path, lock: Path) -> Any:
    """Return the JSON report of pip-audit; with hashes it needs no download of the packages."""
    options = ["--require-hashes", "--disable-pip", "--format", "json", "--progress-spinner", "off"]
    command = [str(python), "-m", "pip_audit", *options, "--requirement", str(lock)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        return json.loads(done.stdout)
    except ValueError:
        return {"failed": done.stderr.strip().splitlines()[-1:] or ["pip-audit printed nothing"]}


def summarize(report: Any) -> tuple[list[str], int]:
    """Return the lines to print for a lock file, and its exit status."""
    if "failed" in report:
        return [f"not checked: {report['failed'][0]}"], 2
    lines, vulnerable, unknown = [], 0, 0
    for package in report["dependencies"]:
        if "skip_reason" in package:
            unknown += 1
            lines.append(f"not checked: {package['name']}: {package['skip_reason']}")
        for each in package.get("vulns", ()):
            vulnerable += 1
            fixed = ", ".join(each["fix_versions"]) or "no version yet"
            lines.append(f"{package['name']} {package['version']}: {each['id']}, fixed in {fixed}")
    checked = len(report["dependencies"]) - unknown
    lines.append(f"{checked} packages checked, {vulnerable} known vulnerabilities")
    return lines, 1 if vulnerable else 2 if unknown or not checked else 0


if __name__ == "__main__":
    sys.exit(main())

"""Parser of requirements.lock files."""

import re

from tests.support import ROOT


def normalize_name(name: str) -> str:
    """Return the form in which package names are compared (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_lock(name: str) -> dict[str, str]:
    """Return versions by package name; require a pinned version and a SHA-256 of each package."""
    lock = {}
    text = re.sub(r"(?m)^#.*\n", "", (ROOT / name).read_text())
    for block in re.split(r"\n+(?=\S)", text.strip()):
        match = re.fullmatch(r"([\w.-]+)==([\w.!+]+)( \\\n +--hash=sha256:[0-9a-f]{64})+", block)
        assert match, f"{name}: not a pinned package: {block[:60]!r}"
        lock[normalize_name(match[1])] = match[2]
    return lock

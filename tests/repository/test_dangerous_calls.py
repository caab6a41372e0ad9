"""What no code of ours does: run text, call a shell, read XML or pickles, hash by what broke."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import ROOT

CODE = (
    *("app", "commands", "demo", "handlers", "background", "imports"),
    *("store", "domain", "httpserver", "client"),
)
FILES = sorted(
    [*ROOT.glob("*.py"), *(path for name in CODE for path in (ROOT / name).rglob("*.py"))]
)
CALLS = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "hashlib.md5", "hashlib.sha1",
    "subprocess.getoutput", "subprocess.getstatusoutput", "asyncio.create_subprocess_shell",
    "tempfile.mktemp",
}  # fmt: skip
MODULES = {
    "pickle",
    "marshal",
    "shelve",
    "dill",
    "yaml",
    "xml",
    "lxml",
    "xmlrpc",
    "telnetlib",
    "imp",
}
# Where what nobody may guess is made: by `secrets` alone.
GUARDED = (
    "store/sqlite/admin/apps.py",
    "store/sqlite/admin/tokens.py",
    "store/sqlite/admin/login_sessions.py",
    "store/sqlite/admin/password_hashing.py",
)


def wrong(text: str) -> Iterator[str]:
    """What of the above some code does."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            shell = any(each.arg == "shell" for each in node.keywords)
            if name in CALLS or shell:
                yield f"line {node.lineno}: {name}"
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
            yield from (each for each in names if each.partition(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in MODULES:
            yield f"line {node.lineno}: {node.module}"


@pytest.mark.parametrize("path", FILES, ids=lambda it: str(it.relative_to(ROOT)))
def test_no_code_does_what_is_dangerous(path: Path) -> None:
    assert list(wrong(path.read_text())) == []


@pytest.mark.parametrize(
    "text",
    ["eval(x)", "import os\nos.system(x)", "subprocess.run(x, shell=True)", "import pickle",
     "from xml.etree import ElementTree", "hashlib.md5(x)", "exec(compile(x, y, z))"],
)  # fmt: skip
def test_what_is_dangerous_would_be_seen(text: str) -> None:
    assert list(wrong(text))


@pytest.mark.parametrize("name", GUARDED)
def test_what_nobody_may_guess_is_made_by_the_systems_chance(name: str) -> None:
    text = (ROOT / name).read_text()
    assert not re.search(r"(?m)^(import random|from random|from uuid|import uuid)", text)
    assert re.search(
        r"secrets\.(token_urlsafe|token_bytes|token_hex|choice|randbits)|os\.urandom", text
    )


def test_scripts_in_pages_run_no_text_and_keep_nothing() -> None:
    scripts = [*(ROOT / "static").glob("*.js")]
    assert scripts
    for path in scripts:
        text = path.read_text()
        found = re.findall(
            r"\b(?:eval|Function|document\.write|insertAdjacentHTML|outerHTML|localStorage"
            r"|sessionStorage|indexedDB|document\.cookie|postMessage|setTimeout\(['\"])",
            text,
        )
        # The beacon knows a visit by a number of chance, for as long as its tab is open.
        assert found == (["sessionStorage"] if path.name == "beacon.js" else []), path
        # Only what templates made comes as markup: tests/attacks/browser/test_stored_xss.py.
        assert len(re.findall(r"innerHTML", text)) <= 1, path

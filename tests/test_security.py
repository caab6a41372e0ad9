"""The checklist of security names tests that there are; and what no other test shows."""

import ast
import re
import ssl
from pathlib import Path

from server import certificate
from settings import Settings

ROOT = Path(__file__).parents[1]
ROW = re.compile(r"^\| (\d+\.\d+\.\d+) \| (.+) \| (.*) \|$", re.MULTILINE)
# Level 1 of ASVS 5.0.0: how many requirements each of its chapters has.
CHAPTERS = {1: 8, 2: 4, 3: 8, 4: 2, 5: 4, 6: 13, 7: 6, 8: 4, 9: 4, 10: 5, 11: 3, 12: 3}
CHAPTERS |= {13: 1, 14: 2, 15: 3}
OURS = ("wire", "rules", "store", "loops", "handlers", "checks", "commands")


def sources():
    yield from ROOT.glob("*.py")
    for name in OURS:
        yield from (ROOT / name).rglob("*.py")


def test_the_checklist_has_each_requirement_once_and_names_tests_that_there_are():
    rows = ROW.findall((ROOT / "docs" / "asvs.md").read_text())
    numbers = [number for number, *_ in rows]
    assert len(numbers) == len(set(numbers)) == 70
    found = dict.fromkeys(CHAPTERS, 0)
    for number in numbers:
        found[int(number.split(".")[0])] += 1
    assert found == CHAPTERS
    for number, words, shown in rows:
        assert shown or words.startswith("does not apply"), number
        if shown:
            path, _, name = shown.strip("`").partition("::")
            assert not name or f"def {name}(" in (ROOT / path).read_text(), number
            assert (ROOT / path).exists(), number


def test_nothing_is_evaluated():
    """No eval, no exec, no pickle, no XML, and no shell."""
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                direct = isinstance(node.func, ast.Name)
                assert not (direct and name in ("eval", "exec", "compile", "__import__")), path
                assert name not in ("system", "popen"), path
                shell = [each for each in node.keywords if each.arg == "shell"]
                assert not shell, path
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [each.name for each in node.names] + [getattr(node, "module", "") or ""]
                for each in names:
                    first = each.split(".")[0]
                    assert first not in ("pickle", "marshal", "shelve", "xml", "yaml"), path


def test_versions_are_locked_with_their_hashes():
    for path in ROOT.glob("requirements*.lock"):
        text = path.read_text()
        pinned = re.findall(
            r"^([A-Za-z0-9_.-]+)==[^\s\\]+ \\\n    --hash=sha256:", text, re.MULTILINE
        )
        named = re.findall(r"^[A-Za-z0-9_.-]+==", text, re.MULTILINE)
        assert len(pinned) == len(named) > 10, path
        assert not re.search(r"^(-e|git\+|https?:)", text, re.MULTILINE), path


def test_no_older_tls_than_1_2_is_spoken(tmp_path):
    import shutil
    import subprocess

    import pytest

    if shutil.which("openssl") is None:
        pytest.skip("openssl is not here to make a certificate")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    words += ["-nodes", "-subj", "/CN=localhost", "-days", "2", "-keyout", key, "-out", cert]
    subprocess.run(words, check=True, capture_output=True)
    context = certificate(Settings(tls_cert=str(cert), tls_key=str(key)))
    assert context is not None
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2

"""The checklist of OWASP ASVS 5.0: complete, and every test that it names is there."""

import ast
import re
from functools import cache

import pytest

from tests.support import ROOT

TEXT = (ROOT / "docs" / "asvs.md").read_text()
ROWS = re.findall(r"(?m)^\| (V[\d.]+) \| (.+?) \| (.+) \|$", TEXT)
NAMED = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", TEXT)
# All of level 1 in version 5.0.0.
LEVEL_1 = [
    "V1.2.1", "V1.2.2", "V1.2.3", "V1.2.4", "V1.2.5", "V1.3.1", "V1.3.2", "V1.5.1",
    "V2.1.1", "V2.2.1", "V2.2.2", "V2.3.1",
    "V3.2.1", "V3.2.2", "V3.3.1", "V3.4.1", "V3.4.2", "V3.5.1", "V3.5.2", "V3.5.3",
    "V4.1.1", "V4.4.1",
    "V5.2.1", "V5.2.2", "V5.3.1", "V5.3.2",
    "V6.1.1", "V6.2.1", "V6.2.2", "V6.2.3", "V6.2.4", "V6.2.5", "V6.2.6", "V6.2.7", "V6.2.8",
    "V6.3.1", "V6.3.2", "V6.4.1", "V6.4.2",
    "V7.2.1", "V7.2.2", "V7.2.3", "V7.2.4", "V7.4.1", "V7.4.2",
    "V8.1.1", "V8.2.1", "V8.2.2", "V8.3.1",
    "V9.1.1", "V9.1.2", "V9.1.3", "V9.2.1",
    "V10.4.1", "V10.4.2", "V10.4.3", "V10.4.4", "V10.4.5",
    "V11.3.1", "V11.3.2", "V11.4.1",
    "V12.1.1", "V12.2.1", "V12.2.2",
    "V13.4.1",
    "V14.2.1", "V14.3.1",
    "V15.1.1", "V15.2.1", "V15.3.1",
]  # fmt: skip


@cache
def names_in(path: str) -> set[str]:
    """The names of a file's tests."""
    tree = ast.parse((ROOT / path).read_text())
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(tree) if isinstance(node, kinds)}


def test_every_requirement_of_level_1_has_one_row_in_its_place() -> None:
    assert len(LEVEL_1) == 70 == len(set(LEVEL_1))
    assert [number for number, *_ in ROWS] == LEVEL_1


@pytest.mark.parametrize(("path", "name"), sorted(set(NAMED)))
def test_every_test_that_is_named_is_there(path: str, name: str) -> None:
    assert (ROOT / path).is_file()
    assert not name or (name.startswith("test_") and name in names_in(path))


@pytest.mark.parametrize(("number", "asks", "here"), ROWS)
def test_every_row_names_a_test_or_says_why_it_has_none(number: str, asks: str, here: str) -> None:
    state = re.match(r"Met|Partly|Not here: \w", here)
    assert state and len(asks) > 10, number
    assert state[0].startswith("Not") or "::test_" in here, number


def test_time_frames_are_written_down() -> None:
    text = (ROOT / "SECURITY.md").read_text()
    assert re.search(r"\b7 days\b", text) and re.search(r"\b30 days\b", text)
    assert "make audit" in text and "make lock" in text


@pytest.mark.parametrize("name", ["docs/threat-model.md", "docs/asvs.md", "SECURITY.md"])
def test_what_these_pages_lead_to_is_there(name: str) -> None:
    path = ROOT / name
    for place in re.findall(r"\]\((?!https?://|#)([^)#]+)", path.read_text()):
        assert (path.parent / place).exists(), place
    for place, test in re.findall(r"`(tests/[\w/.]+)(?:::(\w+))?`", path.read_text()):
        assert (ROOT / place).exists(), place
        assert not test or test in names_in(place), test

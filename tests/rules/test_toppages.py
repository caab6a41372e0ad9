import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules import toppages
from rules.toppages import LEGACY, V3, NotPages, Reading, read, tell

PAGES = [("/a", "Same title", 12), ("/b", "Same title", 7), ("/c", "", 0)]


@pytest.mark.parametrize("version", [LEGACY, V3])
def test_what_is_told_is_read_again(version):
    found = read(tell(PAGES, version), version)
    assert found == Reading({"/a": 12, "/b": 7, "/c": 0}, {"/a": "Same title", "/b": "Same title"})


def test_the_forms_are_those_of_the_field():
    assert json.loads(tell(PAGES[:1], LEGACY)) == [
        {"i": "Same title", "path": "/a", "visitors": 12}
    ]
    assert json.loads(tell(PAGES[:1], V3)) == {
        "pages": [{"path": "/a", "title": "Same title", "stats": {"people": 12}}]
    }


def test_what_else_a_server_tells_is_left_aside():
    body = b'[{"path":"/","visitors":3,"i":"T","sections":["x"]},{"path":"/","visitors":2}]'
    assert read(body, LEGACY) == Reading({"/": 5}, {"/": "T"})
    body = b'{"site":1,"pages":[{"path":"/","title":null,"stats":{"people":3.0,"idle":1}}]}'
    assert read(body, V3) == Reading({"/": 3}, {})


@pytest.mark.parametrize(
    "body",
    [
        b"", b"null", b"<html>", b"[1]", b"{}", b'[{"path":"/"}]', b'{"pages":[{"path":"/"}]}',
        b'[{"path":"/","visitors":-1}]', b'[{"path":"/","visitors":"many"}]', b"[" * 100_000,
        b'[{"path":7,"visitors":1}]', b'[{"path":"\xff","visitors":1}]', b'{"pages":{}}',
        b'[{"path":"/","visitors":1e300}]', b'[{"path":"/","visitors":NaN}]',
    ],
)  # fmt: skip
def test_what_tells_no_pages_is_refused(body):
    for version in (LEGACY, V3):
        with pytest.raises(NotPages):
            read(body, version)


@given(st.binary(max_size=200))
def test_nothing_raises_otherwise(body):
    for version in (LEGACY, V3):
        with contextlib.suppress(NotPages):
            read(body, version)


def test_an_answer_is_taken_up_to_its_bounds(monkeypatch):
    monkeypatch.setattr(toppages, "PAGES", 3)
    many = [(f"/{number}", "t" * 1_000, number) for number in range(5)]
    found = read(tell([("/" * 3_000, "", 1), *many], LEGACY), LEGACY)
    assert set(found.visitors) == {"/0", "/1", "/2"}
    assert len(found.titles["/0"]) == toppages.LONGEST_TITLE

"""Answers made of answers."""

import pytest

from httpserver import Response


@pytest.mark.parametrize("body", [b"", b"y", b"z" * 9, b"q" * 1_000_000])
def test_an_answer_with_another_body_is_as_one_made_with_it(body: bytes) -> None:
    headers = [("Content-Type", "a/b"), ("X", "Content-Length: 5")]
    made = Response(202, headers, b"x").with_body(body)
    anew = Response(202, headers, body)
    assert all(getattr(made, name) == getattr(anew, name) for name in Response.__slots__)


def test_an_answer_that_has_no_body_gets_none() -> None:
    with pytest.raises(ValueError):
        Response(204).with_body(b"x")

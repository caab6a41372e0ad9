"""Response.with_body."""

import pytest

from httpserver import Response


@pytest.mark.parametrize("body", [b"", b"y", b"z" * 9, b"q" * 1_000_000])
def test_with_body_equals_a_response_built_with_that_body(body: bytes) -> None:
    headers = [("Content-Type", "a/b"), ("X", "Content-Length: 5")]
    made = Response(202, headers, b"x").with_body(body)
    anew = Response(202, headers, body)
    assert all(getattr(made, name) == getattr(anew, name) for name in Response.__slots__)


def test_a_status_without_a_body_rejects_one() -> None:
    with pytest.raises(ValueError):
        Response(204).with_body(b"x")

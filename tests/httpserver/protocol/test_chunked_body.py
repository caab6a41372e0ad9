"""The end of a chunked body is found for every split."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from httpserver.protocol.chunked_body import ChunkedBodyScanner
from httpserver.refusal import RequestRefusal

PARTS = st.lists(st.binary(min_size=1, max_size=40), max_size=6)
EXTENSIONS = st.sampled_from([b"", b";a", b";a=b", b';a="0 b"'])
TRAILERS = st.lists(st.sampled_from([b"X: y\r\n", b"0: 0\r\n"]), max_size=2)


@given(PARTS, EXTENSIONS, TRAILERS, st.binary(max_size=30), st.lists(st.integers(0, 400)))
def test_a_chunked_body_ends_exactly_at_its_last_chunk(
    parts: list[bytes], extension: bytes, trailers: list[bytes], behind: bytes, cuts: list[int]
) -> None:
    body = b"".join(b"%X%b\r\n%b\r\n" % (len(part), extension, part) for part in parts)
    body += b"0%b\r\n" % extension + b"".join(trailers) + b"\r\n"
    data = body + behind
    chunks = ChunkedBodyScanner(trailer_limit=1000)
    at = 0
    for stop in [*sorted(min(cut, len(data)) for cut in cuts), len(data)]:
        while at < stop and not chunks.done:
            at, _ = chunks.scan(data, at, stop)
        if chunks.done:
            break
    assert chunks.done
    assert at == len(body)
    assert chunks.announced_bytes == sum(map(len, parts))


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n",
        b"x\r\n",
        b"-1\r\n",
        b"0x1\r\n",
        b"1 \r\n",
        b"1\n",
        b"1" * 16 + b"\r\n",
        b"1;" + b"a" * 2000,
        b"1;aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\nx\r\n" * 1000,
        b"0\r\n" + b"X: y\r\n" * 1000,
        b"0\r\n" + b"X" * 2000,
    ],
)
def test_an_invalid_chunk_size_or_excessive_framing_is_rejected(data: bytes) -> None:
    with pytest.raises(RequestRefusal):
        ChunkedBodyScanner(trailer_limit=1000).scan(data, 0, len(data))

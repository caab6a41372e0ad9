"""Fuzzing: each valid request gets a response; no input causes an error or a hang."""

import time
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.support.httpserver.echo_application import FAST_ROUTES, SMUGGLED_PATHS, echo_application
from tests.support.httpserver.raw_client import RawResponse, build_get, parse_responses, split_at
from tests.support.httpserver.reference_parser import ParsedRequest, StreamEnd, parse_stream
from tests.support.httpserver.server_thread import RunningServer, ServerThread

Cuts = list[tuple[str, float]]
PLANES = ["/fast/echo", "/app/echo"]
BOUND = 60.0  # seconds until the last response; far longer than a busy machine needs
QUIET = settings(
    deadline=None,
    max_examples=200,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope="module")
def served(stage: ServerThread) -> RunningServer:
    return stage.serve(echo_application(), FAST_ROUTES)


@pytest.fixture(autouse=True)
def all_is_well_afterwards(served: RunningServer) -> Iterator[None]:
    yield
    served.ping()
    assert not SMUGGLED_PATHS
    served.thread.assert_no_loop_errors()


def exchange(served: RunningServer, parts: list[bytes], methods: list[str]) -> list[RawResponse]:
    """Send the parts, half-close, and return all responses."""
    begun = time.monotonic()
    with served.connect(seconds=BOUND) as peer:
        for part in parts:
            if not peer.send(part):
                break
            if part is not parts[-1]:
                served.ping()  # by then the server has read the part
        peer.half_close()
        answers = parse_responses(peer.read_to_end(), methods)
    assert time.monotonic() - begun < BOUND
    return answers


def echoed(asked: ParsedRequest) -> bool:
    """Return whether the response to this is an echo with a body."""
    path = asked.target.partition(b"?")[0].decode("latin-1")
    if path not in PLANES or (path == "/fast/echo" and asked.method not in ("GET", "POST")):
        return False
    return asked.method not in ("HEAD", "OPTIONS")


def judge(answers: list[RawResponse], data: bytes) -> None:
    """Compare the responses with a strict parser's reading of the same bytes."""
    reading = parse_stream(data)
    asked = reading.requests
    assert len(answers) >= len(asked)
    for request, answer in zip(asked, answers, strict=False):
        if echoed(request):
            assert answer.status == 200, (request, answer)
            line, _, body = answer.body.split(b"\n", 2)
            assert line == request.method.encode() + b" " + request.target
            assert body == request.body
        else:
            assert answer.status in (200, 204, 404, 405)
    others = answers[len(asked) :]
    match reading.end:
        case StreamEnd.CLOSE:
            assert not others
        case StreamEnd.WAIT:
            large = len(data) > 16_384
            assert [each.status for each in others] in ([], [400], *[[414], [431]] * large)
        case StreamEnd.REJECT:
            assert len(others) == 1
            assert others[0].status in (400, 413, 414, 417, 431, 501, 505), others[0]
            assert others[0].closes_connection
        case StreamEnd.UNSPECIFIED:
            pass


# Valid requests.

token = st.text("abcXYZ019-_!~", min_size=1, max_size=12)
value = st.text(
    st.characters(min_codepoint=33, max_codepoint=255, blacklist_characters="\x7f",
                  blacklist_categories=["Cc"]), max_size=20,
)  # fmt: skip
body = st.one_of(
    st.binary(max_size=300),
    st.sampled_from([b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n", b"\r\n", b"0\r\n\r\n", b"\n\n"]),
)


USUAL = ["GET", "GET", "POST", "POST", "PUT", "DELETE", "OPTIONS"]


@st.composite
def right(draw: st.DrawFn, methods: Sequence[str] = ("HEAD", *USUAL)) -> bytes:
    """Generate a well-formed request."""
    method = draw(st.sampled_from(methods))
    path = draw(st.sampled_from([*PLANES, "/fast/late/1", "/app/late/1", "/missing"]))
    query = draw(st.one_of(st.just(""), token.map("?a={}".format)))
    lines = ["Host: " + draw(st.sampled_from(["a.example", "b:80", "[::1]"]))]
    lines += [f"X-{name}: {text}" for name, text in draw(st.lists(st.tuples(token, value),
              max_size=3))]  # fmt: skip
    content = b""
    match draw(st.sampled_from(["none", "none", "length", "chunks"])):
        case "length":
            content = draw(body)
            lines.append(f"Content-Length: {len(content)}")
        case "chunks":
            lines.append("Transfer-Encoding: chunked")
            for part in draw(st.lists(body.filter(bool), max_size=4)):
                extension = draw(st.sampled_from([b"", b"", b";a", b";a=b"]))
                content += b"%x%s\r\n%s\r\n" % (len(part), extension, part)
            content += b"0\r\n" + draw(st.sampled_from([b"", b"", b"X-Trailer: 1\r\n"])) + b"\r\n"
    lines = draw(st.permutations(lines))
    head = "\r\n".join([f"{method} {path}{query} HTTP/1.1", *lines, "", ""])
    return head.encode("latin-1") + content


def cut(data: bytes, cuts: Cuts) -> list[bytes]:
    """Split `data` at percentages of its length or of its number of lines."""
    ends = [at + 1 for at, byte in enumerate(data) if byte == 10] or [0]
    places = {"anywhere": range(len(data) + 1), "after a line": ends}
    return split_at(data, [places[kind][int(at * (len(places[kind]) - 1))] for kind, at in cuts])


cuts = st.lists(
    st.tuples(st.sampled_from(["anywhere", "after a line"]), st.floats(0, 1)), max_size=6
)


@QUIET
@given(st.lists(right(), max_size=6), cuts)
def test_each_valid_request_is_answered_in_order(
    served: RunningServer, requests: list[bytes], where: Cuts
) -> None:
    data = b"".join(requests)
    reading = parse_stream(data)
    assert len(reading.requests) == len(requests)
    answers = exchange(served, cut(data, where), [each.method for each in reading.requests])
    assert len(answers) == len(requests)
    judge(answers, data)


# Mutated requests.

EDITS = [
    b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\n\n", b" ", b"\t", b"\x00", b":", b";", b",", b"0", b"1",
    b"f", b"-", b"+", b"\x7f", b"\xff", b"HTTP/1.0", b"HTTP/2.0", b"Content-Length: 3\r\n",
    b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip\r\n",
    b"Host: b\r\n", b"Connection: close\r\n", b"Connection: Upgrade\r\nUpgrade: h2c\r\n",
    b"Expect: 100-continue\r\n", b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n", b"0\r\n\r\n", b"x",
    b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"X: " ,
]  # fmt: skip


@st.composite
def nearly(draw: st.DrawFn) -> bytes:
    """Generate well-formed requests with a few bytes inserted, removed or changed.

    None of them is HEAD: nobody could tell where its answer ends, if it is in doubt at all.
    """
    data = b"".join(draw(st.lists(right(USUAL), min_size=1, max_size=4)))
    for _ in range(draw(st.integers(1, 4))):
        lines = [each for each in range(len(data)) if data[each : each + 1] == b"\n"]
        anywhere = st.integers(0, len(data))
        at = draw(st.one_of(anywhere, st.sampled_from(lines).map(lambda x: x + 1)) if lines
                  else anywhere)  # fmt: skip
        edit = draw(st.sampled_from(EDITS))
        match draw(st.sampled_from(["put", "put", "cut", "change"])):
            case "put":
                data = data[:at] + edit + data[at:]
            case "cut":
                data = data[:at] + data[at + draw(st.integers(1, 20)) :]
            case "change":
                data = data[:at] + edit + data[at + len(edit) :]
    return data


SMUGGLERS = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"


def quiet_canary(data: bytes) -> bool:
    """Return whether the canary stands between requests, where it is an ordinary request."""
    return any(each.target == b"/smuggled" for each in parse_stream(data).requests)


@QUIET
@given(nearly(), cuts)
@example(b"GET /fast/echo\nHost: a\r\nContent-Length: 40\r\n\r\n" + SMUGGLERS, [])
@example(b"POST /fast/echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\n\r\n", [])
@example(b"POST /fast/echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLERS, [])
@example(build_get("/fast/echo", "Connection: Upgrade", "Upgrade: h2c") * 2, [("anywhere", 0.9)])
@example(build_get("/fast/echo") * 2 + build_get("/fast/echo", "X-A: b"), [("after a line", 0.6)])
@example(build_get("/fast/echo"), [("anywhere", 0.05)])
@example(build_get("/app/echo") + b"\r\n\r\n", [])
@example(build_get("/fast/echo") + b"\r\n\r\n", [])
def test_a_mutated_request_is_parsed_as_the_rfcs_require(
    served: RunningServer, data: bytes, where: Cuts
) -> None:
    reading = parse_stream(data)
    answers = exchange(served, cut(data, where), [each.method for each in reading.requests])
    judge(answers, data)
    if quiet_canary(data) or reading.end is StreamEnd.UNSPECIFIED:
        SMUGGLED_PATHS.clear()
    assert not SMUGGLED_PATHS


@QUIET
@given(st.one_of(st.binary(max_size=400), st.lists(st.sampled_from(EDITS)).map(b"".join)), cuts)
@example(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", [])
@example(b"\x00" * 100_000, [])
@example(b"\r\n" * 50_000, [])
@example(b"A" * 100_000, [("anywhere", 0.5)])
@example(b"GET / HTTP/1.1\r\n" + b"a" * 100_000, [("anywhere", 0.5)])
@example(b"GET / HTTP/1.1\r\n" + b"a:b\r\n" * 50_000, [("anywhere", 0.5)])
def test_arbitrary_bytes_cause_no_error_and_no_hang(
    served: RunningServer, data: bytes, where: Cuts
) -> None:
    reading = parse_stream(data)
    answers = exchange(served, cut(data, where), [each.method for each in reading.requests])
    judge(answers, data)
    SMUGGLED_PATHS.clear()

"""Log lines: one an event, and never a secret."""

import json
import logging

import pytest

from app.logging_setup import JsonFormatter, TextFormatter


def record(message: str, *values: object, error: BaseException | None = None) -> logging.LogRecord:
    info = (type(error), error, error.__traceback__) if error else None
    return logging.LogRecord("marquee", logging.ERROR, __file__, 1, message, values, info)


def raised() -> Exception:
    try:
        raise ValueError("first\nsecond mq_1_secret")
    except ValueError as error:
        return error


@pytest.mark.parametrize("form", [TextFormatter(), JsonFormatter()])
def test_an_event_is_one_line_whatever_it_says(form):
    forged = "b\r\nGET /forged\x1b[31m\x9b31m\u2028GET /x\x85GET /y\u202egpj.exe"
    line = form.format(record("a %s", forged, error=raised()))
    assert len(line.splitlines()) == 1
    assert line.isprintable()
    assert "second" in line


@pytest.mark.parametrize("form", [TextFormatter(), JsonFormatter()])
def test_a_token_is_never_written(form):
    line = form.format(record("with %s", "Bearer mq_12_Ab-c_9", error=raised()))
    assert "Ab-c_9" not in line
    assert "secret" not in line


def test_json_has_the_parts_by_name():
    entry = json.loads(JsonFormatter().format(record("hello %s", "you")))
    assert entry["message"] == "hello you"
    assert entry["level"] == "error"
    assert entry["time"].endswith("Z")

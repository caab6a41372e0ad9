"""Log formatters: one line per record, no secrets."""

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
def test_a_record_is_formatted_as_one_printable_line(form):
    forged = "b\r\nGET /forged\x1b[31m\x9b31m\u2028GET /x\x85GET /y\u202egpj.exe"
    line = form.format(record("a %s", forged, error=raised()))
    assert len(line.splitlines()) == 1
    assert line.isprintable()
    assert "second" in line


@pytest.mark.parametrize("form", [TextFormatter(), JsonFormatter()])
def test_tokens_are_removed_from_log_lines(form):
    line = form.format(record("with %s", "Bearer mq_12_Ab-c_9", error=raised()))
    assert "Ab-c_9" not in line
    assert "secret" not in line


def test_a_json_line_has_message_level_and_time():
    entry = json.loads(JsonFormatter().format(record("hello %s", "you")))
    assert entry["message"] == "hello you"
    assert entry["level"] == "error"
    assert entry["time"].endswith("Z")

"""Log lines on stderr: one line an event, as text for people or as JSON for collectors."""

import json
import logging
import re
import sys
import time

# What is never to be read in a log, however it got into a message.
SECRET_TOKEN = re.compile(r"mq_[0-9A-Za-z]+_[0-9A-Za-z_-]+")
# Of no line: what moves a terminal's cursor, ends a line, or turns the order of letters round.
CONTROL_ESCAPES = {number: f"\\x{number:02x}" for number in [*range(32), 127]}
UNICODE_ESCAPES = {
    number: f"\\u{number:04x}"
    for number in (*range(128, 160), *range(0x2028, 0x202F), *range(0x2066, 0x206A))
}


class TextFormatter(logging.Formatter):
    """One line of text: time (UTC), level, logger, message, and a traceback behind it."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line without secrets; control characters are escaped."""
        whole = super().format(record).replace("\n", " | ")
        return SECRET_TOKEN.sub("mq_***", whole).translate(CONTROL_ESCAPES | UNICODE_ESCAPES)


class JsonFormatter(TextFormatter):
    """One JSON object a line: time, level, logger, message, and the traceback as `exception`."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one JSON object without secrets."""
        entry = {
            "time": self.formatTime(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return SECRET_TOKEN.sub("mq_***", json.dumps(entry, ensure_ascii=False)).translate(
            UNICODE_ESCAPES
        )


def configure_logging(level: str, form: str) -> None:
    """Send all logging to stderr at `level` (debug, info, …) in `form` (text or json)."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # Each is a line a request or a connection, which the access log says better.
    logging.getLogger("tornado.access").setLevel(logging.CRITICAL)

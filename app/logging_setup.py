"""Logging to stderr, one line per event: text for people, JSON for log collectors."""

import json
import logging
import re
import sys
import time

# Secret tokens are masked in every message.
SECRET_TOKEN = re.compile(r"mq_[0-9A-Za-z]+_[0-9A-Za-z_-]+")
# Escaped in every line: control characters, line separators, bidirectional overrides.
CONTROL_ESCAPES = {number: f"\\x{number:02x}" for number in [*range(32), 127]}
UNICODE_ESCAPES = {
    number: f"\\u{number:04x}"
    for number in (*range(128, 160), *range(0x2028, 0x202F), *range(0x2066, 0x206A))
}


class TextFormatter(logging.Formatter):
    """One line of text: time (UTC), level, logger, message, and the traceback of an exception."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line, with secrets masked and control characters escaped."""
        line = super().format(record).replace("\n", " | ")
        return SECRET_TOKEN.sub("mq_***", line).translate(CONTROL_ESCAPES | UNICODE_ESCAPES)


class JsonFormatter(TextFormatter):
    """One JSON object per line: time, level, logger, message, and a traceback as `exception`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one JSON object with secrets masked."""
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
    """Log to stderr at `level` (debug, info, …) in `form` (text or json)."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # Tornado logs each request there; the access log replaces it.
    logging.getLogger("tornado.access").setLevel(logging.CRITICAL)

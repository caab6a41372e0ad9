"""Search of rejected events for a session, so that erasing the session removes them."""

import json
import re
from typing import Any


def mentions_session(body: bytes, session: str) -> bool:
    """Return whether `body` mentions the session.

    In JSON, a member `session_id` must equal `session`. Any other body matches if the id occurs as
    a whole word: erasing too much is better than too little.
    """
    try:
        return _value_mentions_session(json.loads(body), session)
    except (ValueError, RecursionError):
        pass
    word = re.compile(rf"(?<![\w-]){re.escape(session)}(?![\w-])")
    text = body.decode(errors="replace")
    if word.search(text):
        return True
    unescaped = body.decode("unicode_escape", errors="replace") if "\\" in text else ""
    return bool(word.search(unescaped))


def _value_mentions_session(value: Any, session: str) -> bool:
    if isinstance(value, dict):
        found = value.get("session_id")
        if found is not None and (found == session or str(found) == session):
            return True
        return any(_value_mentions_session(each, session) for each in value.values())
    return isinstance(value, list) and any(_value_mentions_session(each, session) for each in value)

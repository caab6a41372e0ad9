"""Whether bytes that were no right event tell of a session."""

import json
import re
from typing import Any


def mentions_session(body: bytes, session: str) -> bool:
    """Whether `body` is, or holds, something of the session.

    In JSON that is a member `session_id`, however it is escaped; in bytes of another kind it is
    the id as a word of its own, so that rather too much is found there than too little.
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
        said = value.get("session_id")
        if said is not None and (said == session or str(said) == session):
            return True
        return any(_value_mentions_session(each, session) for each in value.values())
    return isinstance(value, list) and any(_value_mentions_session(each, session) for each in value)

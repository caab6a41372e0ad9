"""Text shown on pages: error messages as sentences, JSON indented or shortened."""

import msgspec


def as_sentence(message: object) -> str:
    """Return an error message with a capital first letter and a full stop."""
    text = str(message)
    return f"{text[:1].upper()}{text[1:]}."


def indent_json(data: bytes) -> str:
    """Return JSON indented by two spaces; anything else is decoded as it is."""
    try:
        return msgspec.json.format(data, indent=2).decode()
    except (msgspec.DecodeError, UnicodeDecodeError):
        return data.decode(errors="replace")


def shorten(data: bytes, length: int = 120) -> str:
    """Return the first `length` characters of UTF-8 data, with an ellipsis if there are more."""
    # A character has at most four bytes, so the slice holds at least length + 1 characters.
    text = data[: 4 * (length + 1)].decode(errors="replace")
    return text if len(text) <= length else text[: length - 1] + "…"

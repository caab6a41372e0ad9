"""Unicode normalisation of user names and passwords.

Keyboards, browsers and files encode "é" as one code point or as two.
"""

from unicodedata import category, normalize


def normalize_user_name(name: str) -> str:
    """Return a user name in the form in which it is stored and shown."""
    return normalize("NFKC", name)


def user_name_key(name: str) -> str:
    """Return the case-insensitive key for comparing user names."""
    return normalize("NFKC", normalize("NFKC", name).casefold())


def normalize_password(password: str) -> str:
    """Return a password as it is hashed (RFC 8265, OpaqueString): NFC, each space a plain one."""
    if password.isascii():
        return password
    spaced = "".join(" " if category(each) == "Zs" else each for each in password)
    return normalize("NFC", spaced)

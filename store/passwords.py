"""Passwords, of which only an argon2id digest is kept (RFC 9106, its second choice, in one lane).

Each of these takes some tenths of a second of a core, and 64 MiB: off the loop, and not many at
once.
"""

import secrets

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

HASHER = PasswordHasher(time_cost=3, memory_cost=65_536, parallelism=1)
# Of no password: so that nobody learns from the time it takes that a user is not known.
NOBODY = f"$argon2id$v=19$m=65536,t=3,p=1${'A' * 22}${'A' * 43}"


def digest(password: str) -> str:
    """What is kept of a password."""
    return HASHER.hash(password.encode("utf-8", "surrogatepass"))


def matches(kept: str | None, password: str) -> bool:
    """Whether this is the password; takes as long where nothing is kept (None)."""
    try:
        HASHER.verify(kept or NOBODY, password.encode("utf-8", "surrogatepass"))
    except (VerificationError, InvalidHashError):
        return False
    return kept is not None


def make_up() -> str:
    """A password of 96 bits of chance, in groups that can be read out."""
    letters = "abcdefghijkmnpqrstuvwxyz23456789"
    return "-".join("".join(secrets.choice(letters) for _ in range(5)) for _ in range(4))

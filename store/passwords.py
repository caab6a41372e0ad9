"""Passwords, of which only an argon2id digest is kept (RFC 9106, its second choice, in one lane).

Each of these takes some tenths of a second of a core, and 64 MiB: off the loop, and not many at
once.
"""

import secrets

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from rules.user_names import prepared

HASHER = PasswordHasher(time_cost=3, memory_cost=65_536, parallelism=1)
# Of no password: so that nobody learns from the time it takes that a user is not known.
NOBODY = f"$argon2id$v=19$m=65536,t=3,p=1${'A' * 22}${'A' * 43}"


def digest(password: str) -> str:
    """What is kept of a password."""
    return HASHER.hash(prepared(password).encode("utf-8", "surrogatepass"))


def matches(kept: str | None, password: str) -> bool:
    """Whether this is the password; takes as long where nothing is kept (None)."""
    # A digest may have been made of the text as it was typed; both are tried for nobody, too.
    for said in dict.fromkeys((prepared(password), password)):
        try:
            HASHER.verify(kept or NOBODY, said.encode("utf-8", "surrogatepass"))
        except (VerificationError, InvalidHashError):
            continue
        return kept is not None
    return False


def make_up() -> str:
    """A password of 96 bits of chance, in groups that can be read out."""
    letters = "abcdefghijkmnpqrstuvwxyz23456789"
    return "-".join("".join(secrets.choice(letters) for _ in range(5)) for _ in range(4))

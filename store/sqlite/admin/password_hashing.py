"""Passwords, of which only an argon2id digest is kept (RFC 9106, its second choice, in one lane).

Each of these takes some tenths of a second of a core, and 64 MiB: off the loop, and not many at
once.
"""

import secrets

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from domain.admin.user_names import normalize_password

PASSWORD_HASHER = PasswordHasher(time_cost=3, memory_cost=65_536, parallelism=1)
# Of no password: so that nobody learns from the time it takes that a user is not known.
DUMMY_DIGEST = f"$argon2id$v=19$m=65536,t=3,p=1${'A' * 22}${'A' * 43}"


def hash_password(password: str) -> str:
    """What is kept of a password."""
    return PASSWORD_HASHER.hash(normalize_password(password).encode("utf-8", "surrogatepass"))


def verify_password(kept: str | None, password: str) -> bool:
    """Whether this is the password; takes as long where nothing is kept (None)."""
    # A digest may have been made of the text as it was typed; both are tried for nobody, too.
    for said in dict.fromkeys((normalize_password(password), password)):
        try:
            PASSWORD_HASHER.verify(kept or DUMMY_DIGEST, said.encode("utf-8", "surrogatepass"))
        except (VerificationError, InvalidHashError):
            continue
        return kept is not None
    return False


def generate_password() -> str:
    """A password of 96 bits of chance, in groups that can be read out."""
    letters = "abcdefghijkmnpqrstuvwxyz23456789"
    return "-".join("".join(secrets.choice(letters) for _ in range(5)) for _ in range(4))

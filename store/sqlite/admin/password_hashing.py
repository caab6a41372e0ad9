"""Password hashing with argon2id: the second recommended option of RFC 9106, with one lane.

Each call takes tenths of a second of CPU time and 64 MiB; run few at once, and off the event loop.
"""

import secrets

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from domain.admin.user_names import normalize_password

PASSWORD_HASHER = PasswordHasher(time_cost=3, memory_cost=65_536, parallelism=1)
# Matches no password. Verifying it hides from the response time that a user does not exist.
DUMMY_DIGEST = f"$argon2id$v=19$m=65536,t=3,p=1${'A' * 22}${'A' * 43}"


def hash_password(password: str) -> str:
    """Return the digest to store."""
    return PASSWORD_HASHER.hash(normalize_password(password).encode("utf-8", "surrogatepass"))


def verify_password(digest: str | None, password: str) -> bool:
    """Return whether the password matches; take as long for an unknown user (None)."""
    # Older digests were computed without normalization; DUMMY_DIGEST gets both attempts as well.
    for text in dict.fromkeys((normalize_password(password), password)):
        try:
            PASSWORD_HASHER.verify(digest or DUMMY_DIGEST, text.encode("utf-8", "surrogatepass"))
        except (VerificationError, InvalidHashError):
            continue
        return digest is not None
    return False


def generate_password() -> str:
    """Return a random password of 100 bits, in groups that are easy to dictate."""
    letters = "abcdefghijkmnpqrstuvwxyz23456789"
    return "-".join("".join(secrets.choice(letters) for _ in range(5)) for _ in range(4))

"""Password policy: a minimum length, and no easily guessed passwords (NIST SP 800-63B)."""

from math import log10

from domain.admin.user_names import normalize_password

MIN_PASSWORD_LENGTH, MAX_PASSWORD_LENGTH = 10, 500
# Required guesses, as a power of ten: more than any list of common passwords has, also with digits,
# symbols, keyboard patterns or dates added.
MIN_GUESSES_LOG10 = 8
# Characters scored; scoring takes longer with length, and this many suffice.
MAX_SCORED_CHARACTERS = 72
COMMON_PASSWORDS = ("password", "passwort", "letmein", "iloveyou", "marquee", "administrator")


def password_problem(password: str, name: str) -> str | None:
    """Return why the user `name` cannot have this password; None if it is acceptable.

    Takes milliseconds, longer on the first call: do not call it on the event loop.
    """
    password = normalize_password(password)
    if not MIN_PASSWORD_LENGTH <= len(password) <= MAX_PASSWORD_LENGTH:
        return f"a password has {MIN_PASSWORD_LENGTH} to {MAX_PASSWORD_LENGTH} characters"
    stripped = password.lower().strip("0123456789!?.-_ ")
    if (
        stripped in COMMON_PASSWORDS
        or stripped == name.lower()
        or _guesses_log10(password, name) < MIN_GUESSES_LOG10
    ):
        return "this password is one of the first that anyone would try"
    return None


def _guesses_log10(password: str, name: str) -> float:
    # Imported here as its word lists take 14 MB; most processes set no password.
    from zxcvbn import zxcvbn

    found = zxcvbn(password[:MAX_SCORED_CHARACTERS], user_inputs=[name, "marquee"])
    return log10(float(found["guesses"]))

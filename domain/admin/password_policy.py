"""What a password must be: long enough, and not what is tried first (NIST SP 800-63B)."""

from math import log10

from domain.admin.user_names import normalize_password

MIN_PASSWORD_LENGTH, MAX_PASSWORD_LENGTH = 10, 500
# Guesses that a password must outlast, as a power of ten: more than any list of what many people
# have, and than those words with digits, signs, keys or dates put to them.
MIN_GUESSES_LOG10 = 8
# More characters than these are not looked at: what begins so well is good enough.
MAX_SCORED_CHARACTERS = 72
COMMON_PASSWORDS = ("password", "passwort", "letmein", "iloveyou", "marquee", "administrator")


def password_problem(password: str, name: str) -> str | None:
    """Why this is no password for the user `name`, in words; None if it can be one.

    Takes some milliseconds, the first time some more: not for the loop.
    """
    password = normalize_password(password)
    if not MIN_PASSWORD_LENGTH <= len(password) <= MAX_PASSWORD_LENGTH:
        return f"a password has {MIN_PASSWORD_LENGTH} to {MAX_PASSWORD_LENGTH} characters"
    plain = password.lower()
    rest = plain.strip("0123456789!?.-_ ")
    if (
        rest in COMMON_PASSWORDS
        or rest == name.lower()
        or _guesses_log10(password, name) < MIN_GUESSES_LOG10
    ):
        return "this password is one of the first that anyone would try"
    return None


def _guesses_log10(password: str, name: str) -> float:
    # Its lists of 30,000 passwords and many more words take 14 MB; most processes set none.
    from zxcvbn import zxcvbn

    found = zxcvbn(password[:MAX_SCORED_CHARACTERS], user_inputs=[name, "marquee"])
    return log10(float(found["guesses"]))

"""What a password must be: long enough, and not what is tried first (NIST SP 800-63B)."""

from math import log10

from rules.user_names import prepared

SHORTEST, LONGEST = 10, 500
# Guesses that a password must outlast, as a power of ten: more than any list of what many people
# have, and than those words with digits, signs, keys or dates put to them.
GUESSES = 8
# More characters than these are not looked at: what begins so well is good enough.
LOOKED_AT = 72
COMMON = ("password", "passwort", "letmein", "iloveyou", "marquee", "administrator")


def fault(password: str, name: str) -> str | None:
    """Why this is no password for the user `name`, in words; None if it can be one.

    Takes some milliseconds, the first time some more: not for the loop.
    """
    password = prepared(password)
    if not SHORTEST <= len(password) <= LONGEST:
        return f"a password has {SHORTEST} to {LONGEST} characters"
    plain = password.lower()
    rest = plain.strip("0123456789!?.-_ ")
    if rest in COMMON or rest == name.lower() or _guesses(password, name) < GUESSES:
        return "this password is one of the first that anyone would try"
    return None


def _guesses(password: str, name: str) -> float:
    # Its lists of 30,000 passwords and many more words take 14 MB; most processes set none.
    from zxcvbn import zxcvbn

    found = zxcvbn(password[:LOOKED_AT], user_inputs=[name, "marquee"])
    return log10(float(found["guesses"]))

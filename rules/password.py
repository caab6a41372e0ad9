"""What a password must be: long enough, and not what is tried first (NIST SP 800-63B)."""

SHORTEST, LONGEST = 10, 500
# Different characters that it has at least.
DIFFERENT = 5
RUNS = ("0123456789" * 2, "abcdefghijklmnopqrstuvwxyz", "qwertzuiopasdfgh", "qwertyuiopasdfgh")
COMMON = ("password", "passwort", "letmein", "iloveyou", "marquee", "administrator")


def fault(password: str, name: str) -> str | None:
    """Why this is no password for the user `name`, in words; None if it can be one."""
    if not SHORTEST <= len(password) <= LONGEST:
        return f"a password has {SHORTEST} to {LONGEST} characters"
    plain = password.lower()
    if len(set(plain)) < DIFFERENT or any(plain in run for run in RUNS):
        return "a password is not the same few characters again and again, nor a row of keys"
    rest = plain.strip("0123456789!?.-_ ")
    if rest in COMMON or rest == name.lower():
        return "this password is one of the first that anyone would try"
    return None

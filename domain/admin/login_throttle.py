"""Login throttle: growing delays after wrong passwords; bounded in memory."""

import hashlib
from collections import OrderedDict
from collections.abc import Iterable
from ipaddress import ip_address
from typing import NamedTuple

from domain.admin.user_names import user_name_key

# Wrong passwords without a delay; each further one doubles the delay, which begins at 1 s.
FREE_ATTEMPTS = 5
# Short, as strangers can lock users out: of an account from anywhere, of an address that many
# users share.
MAX_ACCOUNT_WAIT_SECONDS, MAX_ADDRESS_WAIT_SECONDS = 30.0, 120.0
# Time after the last wrong password when the count restarts.
FORGET_AFTER_SECONDS = 3_600.0
MAX_TRACKED_ATTEMPTS = 20_000


class _AttemptRecord(NamedTuple):
    wrong: int
    until: float
    last: float


class LoginThrottle:
    """Failed logins by account and by address; times are seconds of a monotonic clock."""

    def __init__(self, kept: int = MAX_TRACKED_ATTEMPTS, salt: bytes = b"") -> None:
        """Keep at most `kept` records of each kind; hash known addresses with `salt`."""
        self._kept = kept
        self._salt = salt
        self._attempts: OrderedDict[tuple[str, ...], _AttemptRecord] = OrderedDict()
        self._known: OrderedDict[tuple[str, bytes], None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._attempts) + len(self._known)

    def known(self, account: str, address: str) -> bool:
        """Return whether a login from this address to this account has succeeded before."""
        return (user_name_key(account), self.hashed(address)) in self._known

    def hashed(self, address: str) -> bytes:
        """Return the salted hash of an address, or of its network, by which it is known."""
        return hashlib.blake2b(
            client_network(address).encode(), digest_size=8, key=self._salt
        ).digest()

    def trust(self, known: Iterable[tuple[str, bytes]]) -> None:
        """Add earlier logins: accounts with addresses as returned by `hashed`."""
        for account, address in known:
            login = user_name_key(account), address
            self._known[login] = None
            self._known.move_to_end(login)
            if len(self._known) > self._kept:
                self._known.popitem(last=False)

    def wait(self, account: str, address: str, now: float) -> float:
        """Return the seconds until the address may try a password of the account."""
        ends = (self._attempt(key, now).until for key in self._keys(account, address))
        return max(0.0, max(ends) - now)

    def failed(self, account: str, address: str, now: float) -> None:
        """Count a wrong password."""
        limits = (MAX_ACCOUNT_WAIT_SECONDS, MAX_ADDRESS_WAIT_SECONDS)
        for key, limit in zip(self._keys(account, address), limits, strict=False):
            wrong = self._attempt(key, now).wrong + 1
            wait = (
                min(limit, 2.0 ** min(wrong - FREE_ATTEMPTS - 1, 20))
                if wrong > FREE_ATTEMPTS
                else 0.0
            )
            self._attempts[key] = _AttemptRecord(wrong, now + wait, now)
            self._attempts.move_to_end(key)
        while len(self._attempts) > self._kept:
            self._attempts.popitem(last=False)

    def succeeded(self, account: str, address: str) -> None:
        """Reset the counts; attempts from other addresses no longer delay this one."""
        for key in self._keys(account, address):
            self._attempts.pop(key, None)
        self.trust([(account, self.hashed(address))])

    def _keys(self, account: str, address: str) -> list[tuple[str, ...]]:
        name, network = user_name_key(account), client_network(address)
        # Attempts from other addresses do not delay an address with a successful login.
        if self.known(account, address):
            return [("account", name, network)]
        return [("account", name), ("address", network)]

    def _attempt(self, key: tuple[str, ...], now: float) -> _AttemptRecord:
        found = self._attempts.get(key)
        if found and now - found.last < FORGET_AFTER_SECONDS:
            return found
        return _AttemptRecord(0, 0.0, now)


def client_network(address: str) -> str:
    """Return the network that one client is assumed to hold: an IPv4 address or an IPv6 /64."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.version == 6:
        mapped = parsed.ipv4_mapped
        return str(mapped) if mapped else parsed.exploded[:19]
    return str(parsed)

"""How long whoever gave a wrong password waits for the next try; bounded in memory."""

import hashlib
from collections import OrderedDict
from collections.abc import Iterable
from ipaddress import ip_address
from typing import NamedTuple

from domain.admin.user_names import user_name_key

# So many wrong ones cost nothing; each further one doubles the wait, from 1 s on.
FREE_ATTEMPTS = 5
# Seconds. Neither is long, as strangers can bring both about: an account's from anywhere, an
# address's where many come by one.
MAX_ACCOUNT_WAIT_SECONDS, MAX_ADDRESS_WAIT_SECONDS = 30.0, 120.0
# After so many seconds without a try all is forgotten.
FORGET_AFTER_SECONDS = 3_600.0
MAX_TRACKED_ATTEMPTS = 20_000


class _AttemptRecord(NamedTuple):
    wrong: int
    until: float
    last: float


class LoginThrottle:
    """Wrong tries by account and by address; moments are seconds, by a clock that only rises."""

    def __init__(self, kept: int = MAX_TRACKED_ATTEMPTS, salt: bytes = b"") -> None:
        """The oldest beyond `kept` are forgotten; known addresses are hashed with `salt`."""
        self._kept = kept
        self._salt = salt
        self._held: OrderedDict[tuple[str, ...], _AttemptRecord] = OrderedDict()
        self._friends: OrderedDict[tuple[str, bytes], None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held) + len(self._friends)

    def known(self, account: str, address: str) -> bool:
        """Return whether a login from this address to this account has succeeded before."""
        return (user_name_key(account), self.hashed(address)) in self._friends

    def hashed(self, address: str) -> bytes:
        """Return the salted hash of an address, or of its network, by which it is known."""
        return hashlib.blake2b(
            client_network(address).encode(), digest_size=8, key=self._salt
        ).digest()

    def trust(self, known: Iterable[tuple[str, bytes]]) -> None:
        """Add earlier logins: accounts with addresses as returned by `hashed`."""
        for account, address in known:
            friend = user_name_key(account), address
            self._friends[friend] = None
            self._friends.move_to_end(friend)
            if len(self._friends) > self._kept:
                self._friends.popitem(last=False)

    def wait(self, account: str, address: str, now: float) -> float:
        """Seconds until the account may be tried from the address."""
        untils = (self._of(held, now).until for held in self._keys(account, address))
        return max(0.0, max(untils) - now)

    def failed(self, account: str, address: str, now: float) -> None:
        """Count a wrong password."""
        longest = (MAX_ACCOUNT_WAIT_SECONDS, MAX_ADDRESS_WAIT_SECONDS)
        for held, most in zip(self._keys(account, address), longest, strict=False):
            wrong = self._of(held, now).wrong + 1
            wait = (
                min(most, 2.0 ** min(wrong - FREE_ATTEMPTS - 1, 20))
                if wrong > FREE_ATTEMPTS
                else 0.0
            )
            self._held[held] = _AttemptRecord(wrong, now + wait, now)
            self._held.move_to_end(held)
        while len(self._held) > self._kept:
            self._held.popitem(last=False)

    def succeeded(self, account: str, address: str) -> None:
        """Forget what was wrong; from here, others' tries no longer hold this account up."""
        for held in self._keys(account, address):
            self._held.pop(held, None)
        self.trust([(account, self.hashed(address))])

    def _keys(self, account: str, address: str) -> list[tuple[str, ...]]:
        name, party = user_name_key(account), client_network(address)
        # Attempts from other addresses do not delay an address with a successful login.
        if self.known(account, address):
            return [("account", name, party)]
        return [("account", name), ("address", party)]

    def _of(self, who: tuple[str, ...], now: float) -> _AttemptRecord:
        held = self._held.get(who)
        return (
            held if held and now - held.last < FORGET_AFTER_SECONDS else _AttemptRecord(0, 0.0, now)
        )


def client_network(address: str) -> str:
    """What one party can be expected to have: an IPv4 address, or 64 bits of an IPv6 one."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.version == 6:
        mapped = parsed.ipv4_mapped
        return str(mapped) if mapped else parsed.exploded[:19]
    return str(parsed)

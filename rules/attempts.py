"""How long whoever gave a wrong password waits for the next try; bounded in memory."""

from collections import OrderedDict
from ipaddress import ip_address
from typing import NamedTuple

from rules.user_names import key

# So many wrong ones cost nothing; each further one doubles the wait, from 1 s on.
FREE = 5
# Seconds. Neither is long, as strangers can bring both about: an account's from anywhere, an
# address's where many come by one.
OF_ACCOUNT, OF_ADDRESS = 30.0, 120.0
# After so many seconds without a try all is forgotten.
FORGOTTEN = 3_600.0
KEPT = 20_000


class _Held(NamedTuple):
    wrong: int
    until: float
    last: float


class Attempts:
    """Wrong tries by account and by address; moments are seconds, by a clock that only rises."""

    def __init__(self, kept: int = KEPT) -> None:
        """The oldest beyond `kept` are forgotten."""
        self._kept = kept
        self._held: OrderedDict[tuple[str, ...], _Held] = OrderedDict()
        self._friends: OrderedDict[tuple[str, str], None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held) + len(self._friends)

    def known(self, account: str, address: str) -> bool:
        """Whether the account has been logged in to from the address."""
        return (key(account), network(address)) in self._friends

    def wait(self, account: str, address: str, now: float) -> float:
        """Seconds until the account may be tried from the address."""
        untils = (self._of(held, now).until for held in self._keys(account, address))
        return max(0.0, max(untils) - now)

    def failed(self, account: str, address: str, now: float) -> None:
        """Count a wrong password."""
        longest = (OF_ACCOUNT, OF_ADDRESS)
        for held, most in zip(self._keys(account, address), longest, strict=False):
            wrong = self._of(held, now).wrong + 1
            wait = min(most, 2.0 ** min(wrong - FREE - 1, 20)) if wrong > FREE else 0.0
            self._held[held] = _Held(wrong, now + wait, now)
            self._held.move_to_end(held)
        while len(self._held) > self._kept:
            self._held.popitem(last=False)

    def succeeded(self, account: str, address: str) -> None:
        """Forget what was wrong; from here, others' tries no longer hold this account up."""
        for held in self._keys(account, address):
            self._held.pop(held, None)
        known = key(account), network(address)
        self._friends[known] = None
        self._friends.move_to_end(known)
        if len(self._friends) > self._kept:
            self._friends.popitem(last=False)

    def _keys(self, account: str, address: str) -> list[tuple[str, ...]]:
        name, party = key(account), network(address)
        # Where an owner has logged in before, others' tries do not count, wherever they come from.
        if self.known(account, address):
            return [("account", name, party)]
        return [("account", name), ("address", party)]

    def _of(self, who: tuple[str, ...], now: float) -> _Held:
        held = self._held.get(who)
        return held if held and now - held.last < FORGOTTEN else _Held(0, 0.0, now)


def network(address: str) -> str:
    """What one party can be expected to have: an IPv4 address, or 64 bits of an IPv6 one."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.version == 6:
        mapped = parsed.ipv4_mapped
        return str(mapped) if mapped else parsed.exploded[:19]
    return str(parsed)

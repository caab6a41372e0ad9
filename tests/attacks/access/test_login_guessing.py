"""Logins: guessing is slow whatever the guesser changes, and no session is one that was planted.

How long one waits is a rule of its own: tests/domain/admin/test_login_throttle.py.
"""

import http.client
from collections.abc import Callable, Iterator
from itertools import count
from urllib.parse import urlencode

import pytest

from tests.support.web.admin_session import AdminBrowser, owner_credentials
from tests.support.web.attack_target import AttackTarget, UnprotectedProcess

TRIES = 12
# Wrong ones that cost nothing, by address; a moment or two may pass while they are looked at.
MOST = 9
addresses = count(2)


@pytest.fixture(scope="module")
def weakened(tmp_path_factory):
    """One of its own, as who has guessed too often waits there, too."""
    made = AttackTarget(UnprotectedProcess, tmp_path_factory.mktemp("weakened") / "data")
    yield made
    made.stop()


class Guesser:
    """Someone who comes from an address of this machine that nobody else has."""

    def __init__(self, target: AttackTarget) -> None:
        self.target = target
        self.address = f"127.0.77.{next(addresses)}"

    def post(self, path: str, fields: dict[str, str], **headers: str) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.target.server.port, timeout=120, source_address=(self.address, 0)
        )
        said = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Sec-Fetch-Site": "same-origin",
        }
        more = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("POST", path, urlencode(fields), {**said, **more})
        response = connection.getresponse()
        response.read()
        connection.close()
        return response

    def looked_at(self, tries: Iterator[tuple[dict[str, str], dict[str, str]]]) -> int:
        """How many of the tries were looked at, and not told to wait."""
        found = [self.post("/admin/login", fields, **headers).status for fields, headers in tries]
        assert set(found) <= {422, 429}
        return found.count(422)


def one_account(name: str) -> Iterator:
    for number in range(TRIES):
        yield {"name": name, "password": f"guess {number}"}, {}


def one_password(name: str) -> Iterator:
    for number in range(TRIES):
        yield {"name": f"{name}{number}", "password": "correct horse"}, {}


def other_letters(name: str) -> Iterator:
    for number in range(TRIES):
        spelt = f"{' ' * number}{name.upper() if number % 2 else name} "
        yield {"name": spelt, "password": f"{number}"}, {}


def other_claims(name: str) -> Iterator:
    """All else that a request says of where it is from, and of who it is."""
    for number in range(TRIES):
        claims = {
            "X_Forwarded_For": f"10.0.0.{number}",
            "X_Real_IP": f"10.0.1.{number}",
            "Forwarded": f"for=10.0.2.{number}",
            "User_Agent": f"{number}",
            "Cookie": f"mq_owner={number}",
        }
        yield {"name": name, "password": f"{number}", "next": f"/admin/{number}"}, claims


WAYS: list[Callable[[str], Iterator]] = [one_account, one_password, other_letters, other_claims]


@pytest.mark.parametrize("way", WAYS)
def test_guesses_have_to_wait(target, way):
    assert Guesser(target).looked_at(way(f"guessed-{way.__name__}")) <= MOST


def test_an_accounts_guesses_have_to_wait_from_wherever_they_come(target):
    looked_at = [
        Guesser(target).looked_at(iter([({"name": "everyone", "password": str(n)}, {})]))
        for n in range(TRIES)
    ]
    assert sum(looked_at) <= MOST
    # And whoever was here before comes in meanwhile.
    AdminBrowser(target.server).log_in(*owner_credentials(target.server))


def test_without_the_guard_all_are_looked_at(weakened):
    assert Guesser(weakened).looked_at(one_account("guessed")) == TRIES


PLANTED = ["planted-by-someone-else", "x" * 43, "A" * 4_000, "", '"quoted"']


def adopted(target: AttackTarget, planted: str) -> bool:
    """Whether a session that someone planted in a browser is the owner's after the login."""
    victim = AdminBrowser(target.server)
    victim.cookie = f"mq_owner={planted}"
    victim.log_in(*owner_credentials(target.server))
    attacker = AdminBrowser(target.server)
    attacker.cookie = f"mq_owner={planted}"
    return attacker.get("/admin/users").status == 200


@pytest.mark.parametrize("planted", PLANTED, ids=range(len(PLANTED)))
def test_a_session_that_was_planted_is_nobodys(target, planted):
    assert not adopted(target, planted)


@pytest.mark.parametrize("place", ["/admin/login?mq_owner={}", "/admin/login;mq_owner={}"])
def test_a_session_in_an_address_is_none(target, place):
    token = target.owner.cookie.partition("=")[2]
    assert AdminBrowser(target.server).get(place.format(token)).status in (200, 404)
    assert AdminBrowser(target.server).get(f"/admin/users?mq_owner={token}").status == 303


def test_without_the_guard_it_is_the_owners(weakened):
    assert adopted(weakened, PLANTED[0])

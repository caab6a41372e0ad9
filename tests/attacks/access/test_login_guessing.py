"""Password guessing is slowed down whatever the attacker varies; planted sessions are ignored.

tests/domain/admin/test_login_throttle.py tests the delays.
"""

import http.client
from collections.abc import Callable, Iterator
from itertools import count
from urllib.parse import urlencode

import pytest

from tests.support.web.admin_session import AdminBrowser, owner_credentials
from tests.support.web.attack_target import AttackTarget, UnprotectedProcess

GUESSES = 12
# Wrong passwords without a delay, plus those that become possible while the test runs.
MAX_UNDELAYED = 9
addresses = count(2)


@pytest.fixture(scope="module")
def unprotected(tmp_path_factory):
    """A server of its own, since guesses of one test delay those of others."""
    target = AttackTarget(UnprotectedProcess, tmp_path_factory.mktemp("unprotected") / "data")
    yield target
    target.stop()


class Guesser:
    """An attacker with an IP address of its own."""

    def __init__(self, target: AttackTarget) -> None:
        self.target = target
        self.address = f"127.0.77.{next(addresses)}"

    def post(self, path: str, fields: dict[str, str], **headers: str) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.target.server.port, timeout=120, source_address=(self.address, 0)
        )
        form_headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Sec-Fetch-Site": "same-origin",
        }
        extra_headers = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("POST", path, urlencode(fields), {**form_headers, **extra_headers})
        response = connection.getresponse()
        response.read()
        connection.close()
        return response

    def count_checked(self, guesses: Iterator[tuple[dict[str, str], dict[str, str]]]) -> int:
        """Return how many guesses the server checked (422) instead of delaying them (429)."""
        statuses = [
            self.post("/admin/login", fields, **headers).status for fields, headers in guesses
        ]
        assert set(statuses) <= {422, 429}
        return statuses.count(422)


def guess_passwords_of_one_account(name: str) -> Iterator:
    for number in range(GUESSES):
        yield {"name": name, "password": f"guess {number}"}, {}


def guess_accounts_with_one_password(name: str) -> Iterator:
    for number in range(GUESSES):
        yield {"name": f"{name}{number}", "password": "correct horse"}, {}


def vary_spelling_of_name(name: str) -> Iterator:
    for number in range(GUESSES):
        spelling = f"{' ' * number}{name.upper() if number % 2 else name} "
        yield {"name": spelling, "password": f"{number}"}, {}


def vary_headers_and_cookies(name: str) -> Iterator:
    """Vary everything a request claims about its origin and identity."""
    for number in range(GUESSES):
        headers = {
            "X_Forwarded_For": f"10.0.0.{number}",
            "X_Real_IP": f"10.0.1.{number}",
            "Forwarded": f"for=10.0.2.{number}",
            "User_Agent": f"{number}",
            "Cookie": f"mq_owner={number}",
        }
        yield {"name": name, "password": f"{number}", "next": f"/admin/{number}"}, headers


STRATEGIES: list[Callable[[str], Iterator]] = [
    guess_passwords_of_one_account,
    guess_accounts_with_one_password,
    vary_spelling_of_name,
    vary_headers_and_cookies,
]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_guesses_are_delayed(target, strategy):
    assert Guesser(target).count_checked(strategy(f"guessed-{strategy.__name__}")) <= MAX_UNDELAYED


def test_guesses_of_an_account_are_delayed_from_all_addresses(target):
    checked = [
        Guesser(target).count_checked(iter([({"name": "everyone", "password": str(n)}, {})]))
        for n in range(GUESSES)
    ]
    assert sum(checked) <= MAX_UNDELAYED
    # The owner can still log in.
    AdminBrowser(target.server).log_in(*owner_credentials(target.server))


def test_unprotected_server_delays_no_guesses(unprotected):
    assert Guesser(unprotected).count_checked(guess_passwords_of_one_account("guessed")) == GUESSES


PLANTED_COOKIES = ["planted-by-someone-else", "x" * 43, "A" * 4_000, "", '"quoted"']


def is_planted_session_adopted(target: AttackTarget, planted: str) -> bool:
    """Return whether a cookie planted in a browser is the owner's session after the login."""
    victim = AdminBrowser(target.server)
    victim.cookie = f"mq_owner={planted}"
    victim.log_in(*owner_credentials(target.server))
    attacker = AdminBrowser(target.server)
    attacker.cookie = f"mq_owner={planted}"
    return attacker.get("/admin/users").status == 200


@pytest.mark.parametrize("planted", PLANTED_COOKIES, ids=range(len(PLANTED_COOKIES)))
def test_planted_session_is_not_adopted(target, planted):
    assert not is_planted_session_adopted(target, planted)


@pytest.mark.parametrize("url", ["/admin/login?mq_owner={}", "/admin/login;mq_owner={}"])
def test_session_in_url_is_ignored(target, url):
    token = target.owner.cookie.partition("=")[2]
    assert AdminBrowser(target.server).get(url.format(token)).status in (200, 404)
    assert AdminBrowser(target.server).get(f"/admin/users?mq_owner={token}").status == 303


def test_unprotected_server_adopts_planted_session(unprotected):
    assert is_planted_session_adopted(unprotected, PLANTED_COOKIES[0])

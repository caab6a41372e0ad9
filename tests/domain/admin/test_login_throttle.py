"""How long wrong passwords make one wait."""

import pytest

from domain.admin.login_throttle import (
    FORGET_AFTER_SECONDS,
    FREE_ATTEMPTS,
    MAX_ACCOUNT_WAIT_SECONDS,
    MAX_ADDRESS_WAIT_SECONDS,
    LoginThrottle,
    client_network,
)


def fail(
    attempts: LoginThrottle, times: int, account: str = "maria", address: str = "192.0.2.1"
) -> None:
    for _ in range(times):
        attempts.failed(account, address, 0.0)


def test_the_first_wrong_ones_cost_nothing_then_the_wait_doubles() -> None:
    attempts = LoginThrottle()
    waits = []
    for _ in range(FREE_ATTEMPTS + 4):
        fail(attempts, 1)
        waits.append(attempts.wait("maria", "192.0.2.1", 0.0))
    assert waits == [0.0] * FREE_ATTEMPTS + [1.0, 2.0, 4.0, 8.0]
    assert attempts.wait("maria", "192.0.2.1", 5.0) == 3.0
    assert attempts.wait("maria", "192.0.2.1", 8.0) == 0.0


def test_an_address_waits_whatever_account_it_tries_and_an_account_wherever_it_is_tried() -> None:
    attempts = LoginThrottle()
    fail(attempts, 200)
    assert attempts.wait("other", "192.0.2.1", 0.0) == MAX_ADDRESS_WAIT_SECONDS
    assert attempts.wait("MARIA", "198.51.100.7", 0.0) == MAX_ACCOUNT_WAIT_SECONDS
    assert attempts.wait("other", "198.51.100.7", 0.0) == 0.0


def test_strangers_do_not_hold_up_an_owner_where_she_has_got_in_before() -> None:
    attempts = LoginThrottle()
    attempts.succeeded("maria", "203.0.113.5")
    fail(attempts, 200)
    assert attempts.wait("maria", "203.0.113.5", 0.0) == 0.0
    assert attempts.wait("maria", "203.0.113.6", 0.0) == MAX_ACCOUNT_WAIT_SECONDS


def test_strangers_from_many_addresses_do_not_count_where_an_owner_has_got_in_before() -> None:
    attempts = LoginThrottle()
    attempts.succeeded("Maria", "2001:db8:1:2::5")
    for number in range(30_000):
        attempts.failed("maria", f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 0.0)
    fail(attempts, 200, account="otto", address="2001:db8:1:2::6")
    assert attempts.known("MARIA", "2001:db8:1:2::7")
    assert attempts.wait("maria", "2001:db8:1:2::7", 0.0) == 0.0
    assert not attempts.known("otto", "2001:db8:1:2::7")
    assert attempts.wait("otto", "2001:db8:1:2::7", 0.0) > 0.0
    # Guesses from there count as anywhere.
    fail(attempts, 200, address="2001:db8:1:2::6")
    assert attempts.wait("maria", "2001:db8:1:2::7", 0.0) == MAX_ACCOUNT_WAIT_SECONDS


def test_getting_in_forgets_what_was_wrong() -> None:
    attempts = LoginThrottle()
    fail(attempts, FREE_ATTEMPTS + 3)
    attempts.succeeded("maria", "192.0.2.1")
    fail(attempts, FREE_ATTEMPTS)
    assert attempts.wait("maria", "192.0.2.1", 0.0) == 0.0


def test_all_is_forgotten_after_an_hour() -> None:
    attempts = LoginThrottle()
    fail(attempts, 200)
    attempts.failed("maria", "192.0.2.1", FORGET_AFTER_SECONDS)
    assert attempts.wait("maria", "192.0.2.1", FORGET_AFTER_SECONDS) == 0.0


def test_it_holds_no_more_than_it_may_however_many_try() -> None:
    attempts = LoginThrottle(kept=100)
    for number in range(1_000):
        attempts.failed(f"user{number}", f"10.0.{number // 250}.{number % 250}", 0.0)
        attempts.succeeded(f"friend{number}", f"10.1.{number // 250}.{number % 250}")
    assert len(attempts) <= 200


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("192.0.2.1", "192.0.2.2", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("", "", True),
    ],
)
def test_an_ipv6_party_is_known_by_its_network(one: str, other: str, same: bool) -> None:
    assert (client_network(one) == client_network(other)) is same

"""The old portal: register, log in, see the bill."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fewseconds import contracts as c

if TYPE_CHECKING:
    from tests.mock_psp.conftest import Reply, World


def log_in(world: World, login: str, password: str) -> Reply:
    """Log in."""
    return world.ask("POST", "portal", c.PORTAL_LOG_IN, c.PortalLogIn(login, password))


def shown(world: World, token: str) -> Reply:
    """Look at the bill."""
    return world.ask("GET", "portal", c.PORTAL_BILL, authorization=f"Bearer {token}")


def test_who_registered_long_ago_logs_in_and_sees_the_bill(world: World) -> None:
    """A consumer's own password opens a session, which shows that consumer's bill."""
    bill = world.bill(500)
    opened = log_in(world, bill.consumer, c.portal_password(world.seed, 500))
    assert opened.status == 201
    found = shown(world, opened.body["token"])
    assert (found.status, found.body["bill_number"]) == (200, bill.number)
    assert found.body["amount_paise"] == bill.amount_paise
    again = log_in(world, bill.consumer, c.portal_password(world.seed, 500))
    assert again.body["token"] != opened.body["token"]


def test_a_new_account_works_with_its_own_password_only(world: World) -> None:
    """Registering twice with one password is one account; another password is refused."""
    number = world.bill(501).consumer
    account = c.PortalAccount("asha", "correct horse", number)
    for _ in range(2):
        assert world.ask("POST", "portal", c.PORTAL_REGISTER, account).status == 201
    other = c.PortalAccount("asha", "battery staple", number)
    assert world.ask("POST", "portal", c.PORTAL_REGISTER, other).status == 409
    assert log_in(world, "asha", "battery staple").status == 401
    token = log_in(world, "asha", "correct horse").body["token"]
    assert shown(world, token).body["consumer_number"] == number


@pytest.mark.parametrize(
    ("login", "password"),
    [("2000005025", "wrong password"), ("nobody", "wrong password"), ("2999999990", "")],
)
def test_a_wrong_login_tells_nothing(world: World, login: str, password: str) -> None:
    """Whatever is wrong, the answer is the same."""
    reply = log_in(world, login, password)
    assert (reply.status, reply.body["detail"]) == (401, "login or password is wrong")


@pytest.mark.parametrize("token", ["", "guess"])
def test_a_bill_needs_a_session(world: World, token: str) -> None:
    """Without a session nobody sees a bill."""
    assert shown(world, token).status == 401


@pytest.mark.parametrize(
    ("password", "number"), [("short", "2000005025"), ("x" * 129, "2000005025"), ("x" * 8, "1")]
)
def test_an_account_that_makes_no_sense_is_refused(
    world: World, password: str, number: str
) -> None:
    """Passwords have 8 to 128 characters, and consumer numbers their check digit."""
    account = c.PortalAccount("new", password, number)
    assert world.ask("POST", "portal", c.PORTAL_REGISTER, account).status == 400

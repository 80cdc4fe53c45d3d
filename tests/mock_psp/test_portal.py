"""The old portal: register, log in, see the bill."""

from __future__ import annotations

import datetime as dt
import json
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import psutil
import pytest

from fewseconds import contracts as c
from fewseconds.identity import IST, Bill
from fixtures import consumers
from mock_psp import auditor, portal
from mock_psp.serve import Options, Services

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fewseconds.scenario import Scenario
    from tests.mock_psp.conftest import Reply, World


def log_in(world: World, login: str, password: str) -> Reply:
    """Log in."""
    return world.ask("POST", "portal", c.PORTAL_LOG_IN, c.PortalLogIn(login, password))


def shown(world: World, token: str) -> Reply:
    """Look at the bill."""
    return world.ask("GET", "portal", c.PORTAL_BILL, authorization=f"Bearer {token}")


def until_posted(world: World, name: str) -> None:
    """Wait for the receipt of a payment."""
    world.until(lambda: world.ask("GET", "biller", f"{c.BILLER_RECEIPTS}/{name}").status == 200)


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


def test_a_paid_bill_is_not_offered_again(world: World) -> None:
    """Whoever paid it, and wherever: the portal learns from the biller that nothing is owed."""
    bill = world.bill(541)
    token = log_in(world, bill.consumer, c.portal_password(world.seed, 541)).body["token"]
    assert shown(world, token).status == 200
    name = world.pay(541).body["transaction_id"]
    until_posted(world, name)
    found = shown(world, token)
    assert (found.status, found.body["code"]) == (409, "YG")


def test_the_bills_of_a_file_are_shown_one_after_the_other_at_what_is_owed(
    quick: Callable[..., Scenario], enter: Callable[[Services], World], tmp_path: Path
) -> None:
    """The late one comes first, with its eightieth more; what is shown is what the biller takes."""
    today = dt.datetime.now(IST).date()
    late, due = today - dt.timedelta(days=2), today + dt.timedelta(days=10)
    own = (
        Bill(0, "INV-1", "A-1", 80_000, 0, late, late, "+910500000001"),
        Bill(1, "INV-2", "A-1", 999, 0, due, due),
    )
    billing = {"billing": {"source": "test", "early_days": 7, "early_discount": 0.01,
                           "late_charge": 0.0125}}  # fmt: skip
    with Services(quick(billing), 7, tmp_path, options=Options(bills=own)) as services:
        world, paid = enter(services), []
        token = log_in(world, "A-1", c.portal_password(7, 0)).body["token"]
        while (found := shown(world, token)).status == 200:
            owed = {key: found.body[key] for key in ("bill_number", "amount_paise")}
            paid.append((*owed.values(),))
            name = world.pay(3, attempt=len(paid), **owed).body["transaction_id"]
            until_posted(world, name)
        assert paid == [("INV-1", 81_000), ("INV-2", 999)]
        assert found.status == 409
        assert log_in(world, world.bill(3).consumer, c.portal_password(7, 3)).status == 401
        account = c.PortalAccount("ravi", "correct horse", world.bill(3).consumer)
        assert world.ask("POST", "portal", c.PORTAL_REGISTER, account).status == 400
    assert [one.first for one in auditor.audit(tmp_path).checks if not one.passed] == []


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


def test_nobody_takes_the_number_of_another_consumer_for_a_login(world: World) -> None:
    """Who registered before this run, with the number on the bill, would be locked out."""
    mine, theirs = world.bill(511).consumer, world.bill(512).consumer
    account = c.PortalAccount(theirs, "correct horse", mine)
    assert world.ask("POST", "portal", c.PORTAL_REGISTER, account).status == 409
    token = log_in(world, theirs, c.portal_password(world.seed, 512)).body["token"]
    assert shown(world, token).body["consumer_number"] == theirs
    own = c.PortalAccount(mine, "correct horse", mine)
    assert world.ask("POST", "portal", c.PORTAL_REGISTER, own).status == 201


@pytest.mark.parametrize(
    ("login", "password"),
    [("2000005025", "wrong password"), ("nobody", "wrong password"), ("2999999990", "")],
)
def test_a_wrong_login_tells_nothing(world: World, login: str, password: str) -> None:
    """Whatever is wrong, the answer is the same."""
    reply = log_in(world, login, password)
    assert (reply.status, reply.body["detail"]) == (401, "login or password is wrong")


def forget(world: World, login: str) -> Reply:
    """Ask for a code."""
    return world.ask("POST", "portal", c.PORTAL_FORGOTTEN, c.PortalForgotten(login))


def new_password(world: World, login: str, code: str, password: str) -> Reply:
    """Set a password with a code."""
    return world.ask("POST", "portal", c.PORTAL_RESET, c.PortalReset(login, code, password))


def codes(world: World, index: int) -> list[str]:
    """The codes on a consumer's handset, the latest last."""
    phone = consumers.consumer(world.seed, index).phone
    path = f"{c.INBOX}/{phone}?wait_ms=5000"
    found = world.ask("GET", "sms", path, fewseconds_token=world.secrets.token).body["messages"]
    texts = [one["text"] for one in found if one["reference"].startswith("code_")]
    return [text.removeprefix("BEST: ")[:6] for text in texts]


def test_a_forgotten_password_is_set_anew_with_the_code_on_the_phone(world: World) -> None:
    """The code works once; the old password and the open session are worth nothing then."""
    login = world.bill(502).consumer
    old = c.portal_password(world.seed, 502)
    token = log_in(world, login, old).body["token"]
    assert forget(world, login).status == 202
    (code,) = codes(world, 502)
    wrong = f"{(int(code) + 1) % 10**6:06d}"
    assert new_password(world, login, wrong, "battery staple").status == 401
    assert new_password(world, login, code, "short").status == 400
    assert new_password(world, login, code, "battery staple").status == 201
    assert new_password(world, login, code, "another horse").status == 401
    assert shown(world, token).status == 401
    assert log_in(world, login, old).status == 401
    assert log_in(world, login, "battery staple").status == 201


def test_accounts_and_passwords_outlive_a_kill(
    quick: Callable[..., Scenario], enter: Callable[[Services], World], tmp_path: Path
) -> None:
    """Who was told of an account or of a new password has it after a kill, and logs in again."""
    with Services(quick(), 7, tmp_path) as services:
        world = enter(services)
        number = world.bill(1).consumer
        account = c.PortalAccount("asha", "correct horse", number)
        assert world.ask("POST", "portal", c.PORTAL_REGISTER, account).status == 201
        token = log_in(world, "asha", "correct horse").body["token"]
        changed = world.bill(2).consumer
        assert forget(world, changed).status == 202
        (code,) = codes(world, 2)
        assert new_password(world, changed, code, "battery staple").status == 201
        services.kill("portal")
        services.restart("portal")
        assert shown(world, token).status == 401
        again = log_in(world, "asha", "correct horse").body["token"]
        assert shown(world, again).body["consumer_number"] == number
        assert log_in(world, changed, "battery staple").status == 201
        assert log_in(world, changed, c.portal_password(7, 2)).status == 401
        taken = c.PortalAccount("asha", "battery staple", changed)
        assert world.ask("POST", "portal", c.PORTAL_REGISTER, taken).status == 409
    written = tmp_path / "accounts.private"
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    assert b"horse" not in written.read_bytes()


def test_of_two_who_want_a_login_at_once_one_gets_it(world: World) -> None:
    """The other is refused, and the first one's password stays."""
    passwords = [f"a password, number {place}" for place in range(4)]

    def register(password: str) -> int:
        account = c.PortalAccount("wanted", password, world.bill(508).consumer)
        return world.ask("POST", "portal", c.PORTAL_REGISTER, account).status

    with ThreadPoolExecutor(len(passwords)) as pool:
        told = list(pool.map(register, passwords))
    assert sorted(told) == [201, 409, 409, 409]
    opened = [log_in(world, "wanted", one).status for one in passwords]
    assert opened == [201 if status == 201 else 401 for status in told]


def test_a_code_survives_five_wrong_guesses_and_no_more(world: World) -> None:
    """After them the right one is refused as well."""
    login = world.bill(503).consumer
    assert forget(world, login).status == 202
    (code,) = codes(world, 503)
    guesses = [f"{(int(code) + step) % 10**6:06d}" for step in range(1, 6)]
    for guess in (*guesses, code):
        assert new_password(world, login, guess, "battery staple").status == 401


def test_asking_for_a_code_tells_nothing_and_rings_once(world: World) -> None:
    """The answer for a login that nobody has is the same, and a second request is no second SMS."""
    login = world.bill(506).consumer
    answers = [forget(world, name) for name in (login, login, "nobody", "")]
    assert len(set(map(str, answers))) == 1
    last_digits = consumers.consumer(world.seed, 506).phone[-4:]
    lines = world.services.folder.messages.read_text().splitlines()
    sent = [one for one in map(json.loads, lines) if one["reference"].startswith("code_")]
    ours = {one["reference"] for one in sent if one["to"].endswith(last_digits)}
    assert len(ours) == 1


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


def test_a_storm_of_logins_is_real_work(world: World) -> None:
    """Eight log-ins at once take eight hashes of the portal's processor time, not a sleep."""

    def spent_s() -> float:
        times = psutil.Process(world.services.pid("portal")).cpu_times()
        return float(times.user + times.system)

    people = [(world.bill(n).consumer, c.portal_password(world.seed, n)) for n in range(520, 528)]
    consumers.consumer(world.seed, 0)
    before_s = spent_s()
    with ThreadPoolExecutor(len(people)) as pool:
        opened = list(pool.map(lambda one: log_in(world, *one).status, people))
    after_s = spent_s()
    assert opened == [201] * len(people)
    begun_s = time.process_time()
    portal.HASHER.hash("a password of some length")
    one_s = time.process_time() - begun_s
    # Half: a hash is cheaper where nobody else wants the memory.
    assert after_s - before_s > len(people) * one_s / 2


def test_passwords_cost_what_the_standards_recommend() -> None:
    """A hash says so itself: RFC 9106's second recommendation, which is above OWASP's minimum."""
    _, kind, version, costs, salt, tag = portal.HASHER.hash("a password of some length").split("$")
    assert (kind, version) == ("argon2id", "v=19")
    said = {name: int(value) for name, value in (one.split("=") for one in costs.split(","))}
    # RFC 9106, section 4: 3 passes, 4 lanes, 2^16 KiB, a salt of 128 bits, a tag of 256.
    assert said == {"m": 65_536, "t": 3, "p": 4}
    assert (len(salt) * 6 // 8, len(tag) * 6 // 8) == (16, 32)
    # OWASP's password storage sheet: 19 MiB and two passes at least, or 46 MiB and one.
    assert said["m"] >= 19 * 1024
    assert said["t"] >= 2

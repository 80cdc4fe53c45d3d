"""What a kill at a bad moment may and may not do."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

import sqlalchemy as sa

from fewseconds import contracts as c
from fewseconds import outcomes
from mock_psp import auditor
from mock_psp import schema as t
from mock_psp.message_log import log_entries
from mock_psp.serve import Options, Services

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fewseconds.scenario import Scenario
    from tests.mock_psp.conftest import Crashed, World


def test_a_killed_biller_loses_no_payment(crashed: Crashed) -> None:
    """After the restart the ledger agrees with the banks, the screens and the gateway."""
    audit = auditor.audit(crashed.folder.root)
    assert [check.first for check in audit.checks if not check.passed] == []
    checked = {check.name: check.checked for check in audit.checks}
    assert checked["every posting has two lines that balance"] >= len(crashed.confirmed)


def test_every_confirmed_payment_has_one_sms_in_spite_of_the_crash(crashed: Crashed) -> None:
    """The gateway accepted one message for each payment, however often it was sent."""
    log = log_entries(crashed.folder.messages)
    accepted = Counter(entry.reference for entry in log if entry.entry == "accepted")
    assert {name: accepted[name] for name in crashed.confirmed.values()} == dict.fromkeys(
        crashed.confirmed.values(), 1
    )


def test_a_restarted_biller_sends_what_was_unsent(crashed: Crashed) -> None:
    """The SMS that nobody took before the kill arrives after the restart."""
    assert crashed.left_unsent == [crashed.confirmed[330]]


def test_what_is_under_way_at_a_stop_is_unfinished(crashed: Crashed) -> None:
    """The question that the PSP would have put to the switch 45 s later has a row of its own."""
    rows = outcomes.read(crashed.folder.outcomes, "server").to_pylist()
    asked = [row["outcome"] for row in rows if row["step"] == "ask_switch"]
    assert asked == ["unfinished"]


def test_a_stop_lets_go_whoever_waits_for_an_sms(crashed: Crashed) -> None:
    """A long poll ends with an answer when the gateway is told to stop."""
    assert crashed.interrupted == []


def test_outcomes_written_before_a_kill_are_kept(crashed: Crashed) -> None:
    """Both lives of the biller have their rows, under names of their own."""
    rows = outcomes.read(crashed.folder.outcomes, "server")
    processes = set(rows["process"].cast("string").to_pylist())
    assert {"psp", "biller.3", "sms.2"} <= processes


def test_a_killed_payment_service_goes_on_with_its_callbacks(
    quick: Callable[..., Scenario], enter: Callable[[Services], World], tmp_path: Path
) -> None:
    """Callbacks that were still on the network when the service was killed arrive after it."""
    law = {"law": "constant", "value_ms": 1500, "source": "long enough to be killed meanwhile"}
    slow = quick({"stations": {"callback_network": {"service_time": law}}})
    with Services(slow, 7, tmp_path) as services:
        world = enter(services)

        def posted(name: str) -> bool:
            return world.ask("GET", "biller", f"{c.BILLER_RECEIPTS}/{name}").status == 200

        first, *_, last = paid = [world.pay(index).body for index in range(400, 404)]
        services.kill("psp")
        assert {one["status"] for one in paid} == {"SUCCESS"}
        assert not posted(last["transaction_id"])
        for path in (services.folder.journal, services.folder.payers, services.folder.merchant):
            # A kill may cut a write short; the piece has to be out of the way of the next line.
            with path.open("a", encoding="utf-8") as file:
                file.write('{"at_us":1,"entry":"cred')
        services.restart("psp")
        while not all(posted(one["transaction_id"]) for one in paid):
            time.sleep(0.02)
        again = world.pay(400).body
        assert (again["transaction_id"], again["rrn"]) == (first["transaction_id"], first["rrn"])
    audit = auditor.audit(tmp_path)
    assert [check.first for check in audit.checks if not check.passed] == []


def test_on_postgresql_a_killed_biller_loses_no_payment_either(
    quick: Callable[..., Scenario],
    enter: Callable[[Services], World],
    tmp_path: Path,
    postgresql: sa.URL,
) -> None:
    """Every payment that a screen called successful is in the database that the services share."""
    address = postgresql.render_as_string(hide_password=False)
    patient = quick({"steps": {"callback": {"attempts_max": 255, "backoff_ms": [100]}}})
    try:
        with Services(patient, 7, tmp_path, options=Options(database=address)) as services:
            world = enter(services)
            for index in range(10):
                world.pay(index)
                if index == 5:
                    services.kill("biller")
                    services.restart("biller")
            names = [world.pay(index).body["transaction_id"] for index in range(10)]
            for name in names:
                while world.ask("GET", "biller", f"{c.BILLER_RECEIPTS}/{name}").status != 200:
                    time.sleep(0.02)
        audit = auditor.audit(tmp_path)
        checked = {check.name: check.checked for check in audit.checks}
        assert [check.first for check in audit.checks if not check.passed] == []
        assert checked["every posting has two lines that balance"] == 10
        assert not (tmp_path / "ledger.sqlite3").exists()
    finally:
        engine = sa.create_engine(postgresql, poolclass=sa.pool.NullPool)
        t.LEDGER.drop_all(engine)
        engine.dispose()

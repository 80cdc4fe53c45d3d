"""Bugs that were planted on purpose, and the check that has to notice each: a test of the checks.

The table of ``docs/planted_bugs.md`` says the same for people.
"""

from __future__ import annotations

import base64
import runpy
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fewseconds import contracts as c
from fixtures import bills
from mock_psp import adapter, auditor, conformance, conformance_cases
from mock_psp.delivery import STANDARD_PREFIX
from mock_psp.serve import Options, Services
from mock_psp.spec import read_secrets

if TYPE_CHECKING:
    from collections.abc import Callable

    from fewseconds.scenario import Scenario
    from tests.mock_psp.conftest import World

PLANTED = Path(__file__).with_name("planted.py")
SEEN_FROM_OUTSIDE = {
    "B3": "reference of another payment is refused",
    "B5": "stale failure does not count",
    "B6": "same meaning in other bytes is refused",
    "B8": "wrong amount is declined",
    "B9": "copies at once are one payment",
    "B10": "same payment with another amount is refused",
}
"""Bug → the conformance case that names it."""
SEEN_BY_THE_AUDITOR = {
    "B2": "every acknowledged payment is posted",
    "B7": "every posted payment has exactly one SMS accepted by the gateway",
}
"""Bug → the rule of the ledger that names it, after a kill at the wrong moment."""


def verdicts(services: Services) -> dict[str, str]:
    """Word of every conformance case against the running biller."""
    key = read_secrets(services.spec).keys()[0]
    secret = STANDARD_PREFIX + base64.b64encode(key).decode()
    some = (bills.bill(7, index) for index in range(1000))
    talk = conformance.Conversation(services.urls["biller"], adapter.load(), secret, some)
    return {verdict.name: verdict.word for verdict in conformance_cases.judge(talk)}


def test_the_healthy_biller_conforms(quick: Callable[..., Scenario], tmp_path: Path) -> None:
    """Without a planted bug every case passes, twice in a row on the same ledger."""
    with Services(quick(), 7, tmp_path, only=("biller",)) as services:
        for _ in range(2):
            words = verdicts(services)
            assert set(words.values()) == {"pass", "skipped"}
            # Nobody gave it a bill of long ago.
            assert [name for name, word in words.items() if word == "skipped"] == [
                "expired bill is declined",
                "money for an expired bill is refunded",
            ]


@pytest.mark.parametrize("bug", SEEN_FROM_OUTSIDE)
def test_a_planted_bug_is_seen_from_outside(
    quick: Callable[..., Scenario], tmp_path: Path, bug: str
) -> None:
    """The conformance check names the bug, with nothing but the biller's address."""
    options = Options(entry=(str(PLANTED), bug))
    with Services(quick(), 7, tmp_path, only=("biller",), options=options) as services:
        failed = [name for name, word in verdicts(services).items() if word == "fail"]
    assert SEEN_FROM_OUTSIDE[bug] in failed


@pytest.mark.parametrize("bug", SEEN_BY_THE_AUDITOR)
def test_a_planted_bug_is_seen_after_a_kill(
    quick: Callable[..., Scenario],
    enter: Callable[[Services], World],
    tmp_path: Path,
    bug: str,
) -> None:
    """The auditor names the bug when the biller is killed at the moment that the bug is made of."""
    options = Options(entry=(str(PLANTED), bug))
    with Services(quick(), 7, tmp_path, options=options) as services:
        world = enter(services)
        name = world.pay(500).body["transaction_id"]
        if bug == "B7":
            path = f"{c.BILLER_RECEIPTS}/{name}"
            world.until(lambda: world.ask("GET", "biller", path).status == 200)
            services.kill("biller")
            services.restart("biller")
        # Then the payment service has heard that all is well, and nobody will try again.
        world.until(lambda: '"acknowledged"' in services.folder.journal.read_text("utf-8"))
        if bug == "B2":
            services.kill("biller")
            services.restart("biller")
    broken = [check.name for check in auditor.audit(tmp_path).checks if not check.passed]
    assert SEEN_BY_THE_AUDITOR[bug] in broken


def test_every_planted_bug_has_its_check() -> None:
    """No bug is planted that nothing is expected to notice."""
    bugs = runpy.run_path(str(PLANTED), run_name="planted")["BUGS"]
    assert bugs.keys() == SEEN_FROM_OUTSIDE.keys() | SEEN_BY_THE_AUDITOR.keys()

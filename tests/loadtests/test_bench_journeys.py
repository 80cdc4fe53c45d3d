"""What a journey costs the generator: against services that cost next to nothing."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

import msgspec
import pytest

from fewseconds import contracts as c
from loadtests.bench_journeys import ANSWERS, bench
from loadtests.target import Target, TargetSpec


def test_trivial_services_answer_in_the_words_of_the_contracts() -> None:
    """Each path answers what the phone expects, also to a body, and any other path is unknown."""
    wanted: dict[str, Any] = {
        c.RESOLVE: c.BillDetails, c.PAY: c.Payment, f"{c.PAYMENTS}/T1": c.Payment,
        f"{c.INBOX}/+91?reference=r&wait_ms=1": c.Inbox, c.PORTAL_BILL: c.BillDetails,
        c.PORTAL_LOG_IN: c.PortalSession,
    }  # fmt: skip
    with Target(TargetSpec(answers=ANSWERS)) as target:
        for path, kind in wanted.items():
            for body in (None, json.dumps({"long": "x" * 5000}).encode()):
                with urllib.request.urlopen(target.url.rstrip("/") + path, body) as answer:  # noqa: S310 - loopback
                    assert isinstance(msgspec.json.decode(answer.read(), type=kind), kind)
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(target.url + "elsewhere")  # noqa: S310 - loopback


@pytest.mark.slow
@pytest.mark.alone
def test_a_core_plays_three_hundred_journeys_a_second() -> None:
    """A full journey takes less than a 300th of a second of processor time, and most finish."""
    found = bench("mumbai", 100, 4, lambda *_: None)
    assert found.journeys == 400
    assert found.finished > 380
    assert found.dropped == 0
    assert found.cpu_ms_per_journey < 1000 / 300

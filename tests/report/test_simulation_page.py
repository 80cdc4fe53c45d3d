"""The page of a walk: its sentence follows the verdicts, its numbers follow the samples."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from fewseconds import measures, slo
from fewseconds.report import simulation
from fewseconds.report.page import html

if TYPE_CHECKING:
    from fewseconds.record import Evidence
    from fewseconds.report.simulation import Walked
    from fewseconds.scenario import Scenario
    from tests.report.conftest import Workshop

HOUR_US = 3_600_000_000
NAMES = ("machine_time", "end_to_end", "sms_time", "portal_time", "error_rate")


def use(servers: int, busy_s: list[int], waiting_s: list[int]) -> SimpleNamespace:
    """A station in the first hours of the month."""
    return SimpleNamespace(
        servers=servers,
        visits=100,
        rejected=3,
        reneged=0,
        queue_max=7,
        busy_us_by_hour=np.array(busy_s) * 1_000_000,
        waiting_us_by_hour=np.array(waiting_s) * 1_000_000,
    )


@pytest.fixture(scope="module")
def walked(city: Scenario, seen: Evidence) -> Walked:
    """A made-up walk of 120 payments and two stations."""
    world = seen.simulated_journeys, seen.simulated
    samples = {name: measures.samples(name, *world) for name in NAMES}
    verdicts = slo.judge_all(city.slo, "simulated", samples, slo.Validity(valid=True))
    return simulation.Walked(
        scenario=city,
        hourly=np.random.default_rng(2).multinomial(5000, [1 / 720] * 720),
        span_us=(0, 2 * HOUR_US),
        engine="simpy",
        journeys=120,
        events=2345,
        wall_s=1.5,
        verdicts=tuple(verdicts),
        samples={name: slo.Values(values) for name, values in samples.items()},
        fates={"confirmed": 120},
        stations={
            "biller": use(4, [1440, 7200, 0], [0, 50, 0]),
            "clerk": use(60, [3600, 7200, 0], [0, 0, 0]),
            "camera": use(0, [10, 10, 0], [0, 0, 0]),
        },
        rows=seen.simulated,
        table=seen.simulated_journeys,
        pairs=(np.array([10.0, 11, 12, 99]), np.array([80.0, 91, 70, 98])),
        command="fewseconds simulate ordinary_day",
        facts=(("seed", "7"),),
    )


def shown(walked: Walked, shop: Workshop) -> str:
    """The words of the page, every space a plain one."""
    page = shop.page(html(simulation.page(walked)))
    assert page.faults == []
    return page.words.replace("\N{NO-BREAK SPACE}", " ")


def judged(walked: Walked, **changes: Any) -> Walked:  # noqa: ANN401 - any field of a verdict
    """The walk with its first gate judged otherwise."""
    first, *rest = walked.verdicts
    return msgspec.structs.replace(
        walked, verdicts=(msgspec.structs.replace(first, **changes), *rest)
    )


def never(walked: Walked) -> tuple[slo.Verdict, ...]:
    """The verdicts, with a first one that is never met."""
    first, *rest = walked.verdicts
    return (msgspec.structs.replace(first, observed=float("inf")), *rest)


def test_the_sentence_says_what_the_gates_say(walked: Walked, shop: Workshop) -> None:
    """All gates met is a yes with both percentiles; a gate missed is a no with its numbers."""
    seconds = walked.samples["machine_time"].drawn()
    median, tail = (
        f"{np.quantile(seconds, share, method='inverted_cdf'):.1f} s" for share in (0.5, 0.95)
    )
    good = tuple(msgspec.structs.replace(v, word="pass") for v in walked.verdicts)
    words = shown(msgspec.structs.replace(walked, verdicts=good), shop)
    assert f"Yes: the system takes {median} for half of the QR payments and at most {tail}" in words
    bad = judged(msgspec.structs.replace(walked, verdicts=good), word="fail", observed=7.25)
    words = shown(bad, shop)
    assert "No: “machine time, median” is 7.2 s where at most 5 s was wanted." in words
    words = shown(msgspec.structs.replace(bad, verdicts=never(bad)), shop)
    assert "No: too many payments fail for “machine time, median” to be at most 5 s." in words
    words = shown(judged(msgspec.structs.replace(walked, verdicts=good), word="inconclusive"), shop)
    assert "This walk cannot say" in words


def test_money_is_said_by_way_and_by_end(walked: Walked, shop: Workshop) -> None:
    """Sums of paise are said in crores and lakhs of rupees, and how much of them was paid."""
    assert "The bills of these journeys" not in shown(walked, shop)
    paise = {
        "qr_ebill": {"confirmed": 3 * 10**9, "declined": 5_000_000_00},
        "portal": {"left": 9_876_00},
    }
    words = shown(msgspec.structs.replace(walked, paise=paise), shop)
    assert "The bills of these journeys: ₹3.0 crore of ₹3.5 crore paid, 85.7 %" in words
    assert "QR on the bill ₹3.5 crore ₹3.0 crore ₹50.0 lakh ₹0" in words
    assert "Portal, known to it ₹9,876 ₹0 ₹0 ₹9,876" in words


def test_stations_are_ordered_by_their_busiest_hour(walked: Walked, shop: Workshop) -> None:
    """Two of four billers busy make 50 %, two of sixty clerks 3.3 %; half a second of waiting."""
    words = shown(walked, shop)
    assert "The busiest station is the biller: 50 % of its servers' time" in words
    assert words.index("biller 100 visits") < words.index("clerk 100 visits")
    assert "biller 100 visits 4 50 % Sun 01 Nov 01–02 h 500 ms 7 3" in words
    assert "clerk 100 visits 60 3.3 % Sun 01 Nov 01–02 h nobody waited" in words
    assert "Nobody ever waits at: camera." in words


def test_pairs_are_told_with_their_share_and_median(walked: Walked, shop: Workshop) -> None:
    """Faster for three of four; of savings of 70, 80, 58 and -1 s the nearest-rank median is 58."""
    words = shown(walked, shop)
    assert "Of 4 consumers walked both ways, the QR was faster than the portal for 75 %" in words
    assert "by 58.0 s in the median" in words


def test_every_assumption_is_on_the_page(walked: Walked, shop: Workshop) -> None:
    """The sources of channels, adoption and stations can be read on the page."""
    words = shown(walked, shop)
    for channel in walked.scenario.channels.values():
        if channel.share:
            assert " ".join(channel.source.split()) in words
    assert " ".join(walked.scenario.adoption.source.split()) in words


def test_a_month_of_nothing_but_cash_has_a_page(walked: Walked, shop: Workshop) -> None:
    """Without a QR payment nothing is said about one, and the page still holds together."""
    empty = walked.table.clear()
    bare = msgspec.structs.replace(
        walked,
        samples={name: slo.Values(np.empty(0)) for name in NAMES},
        verdicts=(),
        table=empty,
        rows=walked.rows.clear(),
        pairs=(np.empty(0), np.empty(0)),
        stations={},
        fates={},
    )
    assert "This walk cannot say" in shown(bare, shop)

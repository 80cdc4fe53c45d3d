"""What became of every journey, and the load: nothing is lost or counted twice."""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import TYPE_CHECKING, Final

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewseconds import measures
from fewseconds.report import comparison, drawing, funnel, load

if TYPE_CHECKING:
    from fewseconds.record import Evidence
    from fewseconds.scenario import Scenario
    from tests.report.conftest import Walk, Workshop

WINDOW: Final = (100_000_000, 160_000_000)
PAID: Final[Walk] = [
    ("open_app", "ok", "", 3.0), ("scan", "error", "unread", 0.5), ("scan", "ok", "", 0.25),
    ("resolve", "ok", "", 0.4),
    ("review", "ok", "", 3.0), ("enter_pin", "ok", "", 4.0), ("pay", "ok", "", 2.5),
    ("callback", "ok", "", 0.05), ("sms", "ok", "", 4.0),
]  # fmt: skip
ENDINGS: Final[dict[str, tuple[str, Walk]]] = {
    "declined at pay": ("pay", [*PAID[:6], ("pay", "declined", "Z9", 2.0)]),
    "failed at pay": (
        "pay",
        [*PAID[:6], ("pay", "error", "XY", 2.0), ("pay", "error", "XY", 2.0)],
    ),
    "timed out at pay": ("pay", [*PAID[:6], ("pay", "timed_out", "U67", 15.0)]),
    "pending for ever": (
        "pay",
        [*PAID[:6], ("pay", "unfinished", "RB", 15.0)]
        + [("check_status", "unfinished", "01", 0.9)] * 40,
    ),
    "rejected at resolve": ("resolve", PAID[:3] + [("resolve", "rejected", "queue_full", 0.1)] * 2),
    "left at scan": ("scan", [PAID[0], ("scan", "reneged", "", 8.0)]),
    "dropped": ("scan", [("open_app", "dropped", "in_flight_max", 0.0)]),
    "cut off at the PIN": ("pay", [*PAID[:5], ("enter_pin", "unfinished", "cut_off", 0.0)]),
    "never posted": ("callback", [*PAID[:7], ("callback", "timed_out", "lost", 5.0)]),
    "no callback": ("callback", PAID[:7]),
    "undelivered": ("sms", [*PAID[:8], ("sms", "timed_out", "no_sms", 60.0)]),
    "refused": ("sms", [*PAID[:8], ("sms", "rejected", "queue_full", 1.0)]),
    "no message": ("sms", PAID[:8]),
    "well": ("", PAID),
}
ORDER: Final = ("scan", "resolve", "pay", "callback", "sms")


@settings(max_examples=40)
@given(st.lists(st.sampled_from(sorted(ENDINGS)), min_size=1, max_size=30))
def test_the_funnel_loses_every_journey_exactly_once(
    shop: Workshop, city: Scenario, endings: list[str]
) -> None:
    """Each stage loses those that ended there, by reasons that add up, and none is missing."""
    seen = shop.evidence([("qr_ebill", ENDINGS[name][1]) for name in endings])
    found = funnel.funnel(city, seen.measured, seen.measured_journeys)
    assert found is not None
    lost = Counter(ENDINGS[name][0] for name in endings)
    left = len(endings)
    assert [stage.name for stage in found.stages] == list(ORDER)
    for stage in found.stages:
        assert stage.entered == left
        assert sum(loss.count for loss in stage.losses) == lost[stage.name]
        assert all(loss.count > 0 for loss in stage.losses)
        left -= lost[stage.name]
        assert stage.reached == left
    assert left == lost[""]


def test_losses_have_plain_names(shop: Workshop, city: Scenario) -> None:
    """A loss is told with its code and in words, and says whether the system is to blame."""
    seen = shop.evidence([("qr_ebill", walk) for _, walk in ENDINGS.values()])
    found = funnel.funnel(city, seen.measured, seen.measured_journeys)
    assert found is not None
    told = {loss.reason: loss.blames_system for stage in found.stages for loss in stage.losses}
    assert told["declined: insufficient funds (Z9)"] is False
    assert told["failed: remitter bank offline (XY)"] is True
    assert told["timed out: debit timed out, reversed (U67)"] is True
    assert told["gave up waiting"] is False
    assert len(told) == len(ENDINGS) - 1


def test_a_posting_that_the_screen_never_confirmed_is_told(shop: Workshop, city: Scenario) -> None:
    """A payment that timed out on the screen and was posted all the same is counted apart."""
    walk = [*PAID[:6], ("pay", "timed_out", "U68", 15.0), ("callback", "ok", "", 0.1)]
    seen = shop.evidence([("qr_ebill", walk), ("qr_ebill", PAID)])
    found = funnel.funnel(city, seen.measured, seen.measured_journeys)
    assert found is not None
    assert found.unconfirmed_posted == 1
    assert found.stages[-1].reached == 1


@settings(max_examples=20)
@given(st.lists(st.sampled_from(sorted(ENDINGS)), max_size=20), st.integers(0, 5))
def test_the_ends_of_all_kinds_add_up(shop: Workshop, endings: list[str], portal: int) -> None:
    """Over all kinds of journey, the named ends sum to the journeys of the plan."""
    walks: list[tuple[str, Walk]] = [("qr_counter", ENDINGS[name][1]) for name in endings]
    walks += [("portal", shop.by_portal())] * portal
    found = funnel.ends(shop.evidence(walks).measured_journeys)
    assert sum(kind.started for kind in found) == len(walks)
    for kind in found:
        assert sum(kind.fates.values()) == kind.started
        assert sum(loss.count for loss in kind.reasons) == kind.started - kind.fates["confirmed"]


@settings(max_examples=25)
@given(st.lists(st.sampled_from(sorted(ENDINGS)), min_size=1, max_size=60))
def test_the_series_of_the_load_add_up(shop: Workshop, endings: list[str]) -> None:
    """Offered is the plan, started is the plan without drops, and the peak is found by counting."""
    seen = shop.evidence([("qr_ebill", ENDINGS[name][1]) for name in endings])
    found = load.load(seen.plan, WINDOW, seen.measured_journeys)
    assert found is not None
    drops = endings.count("dropped")
    assert sum(found.offered) * found.bin_s == pytest.approx(len(endings))
    assert sum(found.started) * found.bin_s == pytest.approx(len(endings) - drops)
    assert sum(found.dropped) == drops
    open_ends = drops + endings.count("cut off at the PIN") + endings.count("pending for ever")
    assert sum(found.finished) * found.bin_s == pytest.approx(len(endings) - open_ends)
    begun = seen.measured_journeys.filter(pl.col("fate") != "dropped")
    lives = list(begun.select("begun_us", "ended_us").iter_rows())
    most = max((sum(a <= start < b for a, b in lives) for start, _ in lives), default=0)
    assert found.in_flight_max == most


def test_charts_stay_inside_their_field(seen: Evidence) -> None:
    """No path leaves the square that the page stretches, and ticks lie between its edges."""
    found = load.load(seen.plan, WINDOW, seen.measured_journeys)
    assert found is not None
    curve = comparison.curve(
        measures.samples("machine_time", seen.measured_journeys, seen.measured)
    )
    drawn = drawing.distribution_panel({"measured": curve}, {"limit p50": (5.0, 0.5)})
    assert drawn is not None
    for panel in (*drawing.load_panels(found), drawn):
        assert all(0 <= tick.at <= 100.001 for tick in (*panel.x_ticks, *panel.y_ticks))
        for shape in panel.shapes:
            across, down = corners(shape.path)
            assert 0 <= min(across) <= max(across) <= drawing.WIDTH
            assert 0 <= min(down) <= max(down) <= drawing.HEIGHT


def corners(path: str) -> tuple[list[float], list[float]]:
    """All x and all y of a path of absolute M, L, H, V and Z."""
    across: list[float] = []
    down: list[float] = []
    for command, numbers in re.findall(r"([MLHVZ])([-\d. ]*)", path):
        values = [float(number) for number in numbers.split()]
        across += values[:1] if command in "MLH" else []
        down += values[-1:] if command in "MLV" else []
    return across, down


@given(st.floats(-50, 50), st.floats(0.001, 1e6), st.integers(1, 8))
def test_ticks_are_round_and_inside(low: float, span: float, count: int) -> None:
    """Ticks of an axis are multiples of one step of 1, 2 or 5, and none lies outside the axis."""
    found = drawing.ticks(low, low + span, count)
    slack = 1e-6 * span
    assert all(low - slack <= tick <= low + span + slack for tick in found)
    if len(found) > 1:
        step = found[1] - found[0]
        mantissa = step / 10 ** math.floor(math.log10(step) + 1e-9)
        assert min(abs(mantissa - wanted) for wanted in (1, 2, 5, 10)) < 1e-3

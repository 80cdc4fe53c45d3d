"""Pages that answer one question: everything handed over is there, escaped, and in its place."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pytest

from fewseconds.report import charts
from fewseconds.report.page import (
    Answer,
    Box,
    Cell,
    Diagram,
    Figure,
    Lane,
    Page,
    Range,
    Ranges,
    Section,
    Table,
    Text,
    html,
    write,
)

if TYPE_CHECKING:
    from pathlib import Path

    from fewseconds.report.drawing import Panel
    from tests.report.conftest import Workshop

POINT = re.compile(r"[ML]([0-9.]+) ([0-9.]+)")


def points(panel: Panel, name: str) -> list[tuple[float, float]]:
    """The corners of a curve, as shares of the width and of the height from the bottom."""
    (shape,) = [shape for shape in panel.shapes if shape.name == name]
    return [(float(x) / 1000, 1 - float(y) / 100) for x, y in POINT.findall(shape.path)]


@pytest.fixture
def page() -> Page:
    """A page with every part, and with text that would break it if it were not escaped."""
    curve = charts.Series("QR & <b>", [(0, 1), (4, 3)], [(0.5, 1.5), (2, 4)], dots=True)
    return Page(
        kicker="Comparison",
        title="70 % <against> 80 %",
        about="About it.",
        answer=Answer("Yes & no.", "pass", facts=("seed 7",), reasons=("Because <x>.",)),
        figures=(Figure("3.1 s", "machine time"),),
        sections=(
            Section(
                "Section one",
                "What there is.",
                (
                    charts.lines("Curves", [curve], x="servers", y="s", limit=("limit", 10)),
                    charts.bars("Bars", np.array([1.0, 4.0]), until=2, limit=("most", 5.0)),
                    charts.bars("Nothing", np.array([]), until=2),
                    Ranges("Differences", "s", (Range("p95", 1.0, 0.5, None, "+1 s"),), mark=0.0),
                    Table(("a", "b"), (("row", Cell("9", note="<n>", word="fail", shade=0.5)),)),
                    Table(("c",), (("folded row",),), caption="Folded", folded=True),
                    Text("A paragraph.", points=("point one",)),
                    Diagram("Way", (Lane("start", (Box("Scan", ("4 a second",)), Box("Pay"))),)),
                ),
            ),
        ),
        command="fewseconds compare a b",
        facts=(("commit", "abc"),),
    )


def test_a_page_shows_all_that_it_was_given(page: Page, shop: Workshop, tmp_path: Path) -> None:
    """Every word handed over is on the page, tags balance, and nothing is fetched."""
    text = write(tmp_path, page).read_text()
    seen = shop.page(text)
    assert seen.faults == []
    for words in (
        "70 % <against> 80 %", "Yes & no.", "Because <x>.", "seed 7", "3.1 s", "machine time",
        "Section one", "What there is.", "QR & <b>", "Differences", "+1 s", "<n>", "folded row",
        "A paragraph.", "point one", "4 a second", "fewseconds compare a b", "commit", "abc",
    ):  # fmt: skip
        assert words in seen.words, words
    assert "Nothing" not in seen.words
    assert {tag for tag, _ in seen.tags}.isdisjoint({"script", "link", "iframe"})
    assert not [a for _, attributes in seen.tags for a in attributes if a in ("src", "href")]


def test_a_page_of_nothing_but_an_answer_is_short(shop: Workshop) -> None:
    """Without sections, figures, facts and command, nothing of them is left over."""
    seen = shop.page(html(Page(kicker="K", title="T", answer=Answer("So it is."))))
    assert seen.faults == []
    assert seen.words == "T – fewseconds K T So it is."


def test_intervals_stand_where_their_values_are() -> None:
    """On an axis from -1 to 3, places follow by proportion; an open end reaches the edge."""
    rows = (
        Range("closed", 1.0, 0.0, 2.0, "1"),
        Range("open", 3.0, -1.0, None, "3"),
        Range("unknown", None, None, None, "–"),
    )
    drawn = Ranges("R", "s", rows, mark=0.0)
    low, high = drawn.scale
    assert (low, high) == pytest.approx((-1.16, 3.16))

    def place(value: float) -> float:
        return 100 * (value + 1.16) / 4.32

    closed, open_end, unknown = drawn.drawn
    assert (closed.at, closed.left) == pytest.approx((place(1), place(0)))
    assert closed.width == pytest.approx(place(2) - place(0))
    assert open_end.left + open_end.width == pytest.approx(100)
    assert (unknown.at, unknown.width) == (None, 0)
    assert drawn.mark_at == pytest.approx(place(0))
    for tick in drawn.ticks:
        assert tick.at == pytest.approx(place(float(tick.text.split("\N{NO-BREAK SPACE}")[0])))


def test_curves_pass_through_their_points() -> None:
    """A curve over 0 to 4 with values to 8 is drawn in proportion, also with a missing value."""
    series = [charts.Series("a", [(0, 0.0), (1, 8.0), (2, float("inf")), (4, 2.0)])]
    panel = charts.lines("T", series, x="x")
    assert panel is not None
    assert np.allclose(points(panel, "a"), [(0, 0), (0.25, 1), (1, 0.25)])
    assert panel.shapes[0].path.count("M") == 2
    assert charts.lines("T", []) is None


@pytest.mark.parametrize("far", [False, True])
def test_distributions_pass_through_the_quantiles(far: bool) -> None:  # noqa: FBT001
    """Heights of a curve are shares at the times that NumPy's quantiles give; the rest never is."""
    sample = np.random.default_rng(3).lognormal(1, 0.5, 5000)
    with_failures = np.concatenate([sample, np.full(2500, np.inf)])
    panel = charts.distributions("T", {"a": sample, "b": with_failures}, far=far)
    assert panel is not None
    assert max(up for _, up in points(panel, "b")) <= 0.67
    at_of = {tick.text: tick.at / 100 for tick in panel.x_ticks}
    left, right = (at_of["1 s"], at_of["3 s"]) if far else (at_of["2"], at_of["4"])
    low, high = (1.0, 3.0) if far else (2.0, 4.0)
    for across, up in points(panel, "a")[1:]:
        if far:
            share = (across - left) / (right - left)
            at = low * (high / low) ** share
        else:
            at = low + (high - low) * (across - left) / (right - left)
        # Coordinates are rounded to a thousandth of the height, a ten-thousandth of the width.
        about = np.clip([up - 0.001, up + 0.001], 0, 1)
        low_at, high_at = np.quantile(sample, about, method="inverted_cdf")
        assert 0.99 * low_at <= at <= 1.01 * high_at or (far and across == 0)
    assert [dot.y for dot in panel.dots][:2] == [50, 95]

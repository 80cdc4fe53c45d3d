"""The page of a gate's calibration: limits, false alarms, and what a slow-down would set off."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from fewseconds.report import charts, words
from fewseconds.report.page import Answer, Cell, Figure, Page, Section, Table, Text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from fewseconds.gate import Calibration, Caught, Gate, Rate, Slowed
    from fewseconds.report.drawing import Panel
    from fewseconds.scenario import Scenario

HOW: Final = (
    (
        "The same build was run again and again, so whatever differs is chance. The logarithm of a "
        "time is taken as normal from run to run; the proposed limit is the upper end of the "
        "prediction interval of one more run (Hahn and Meeker, section 4.7). A share of failures "
        "follows the binomial law, at the upper end of the exact interval of the rate that was "
        "seen. Counted alarms have the exact interval of Clopper and Pearson."
    ),
    (
        "A lower limit catches more and cries wolf more often. A gate that is to be surer needs "
        "more runs to calibrate it, or a longer window, in which its statistic varies less."
    ),
)


def sentence(found: Gate) -> str:
    """The answer in one sentence."""
    whole = found.overall
    left_out = f" ({found.inconclusive} more were inconclusive)" if found.inconclusive else ""
    return (
        f"Of {words.counted(found.runs, 'run')} of the unchanged system{left_out}, {whole.count} "
        f"would have failed at the scenario's own limits: a rate of false alarms between "
        f"{words.percent(whole.low)} and {words.percent(whole.high)}."
    ).replace(words.NBSP, " ")


def tables(found: Gate, planted: Slowed | None) -> Iterator[Table]:
    """The limits, and what was caught of a slow-down that was planted."""
    yield Table(
        (
            "gate", "own limit", "observed", "false alarms", "expected",
            f"limit for {words.percent(found.alpha)}", f"caught in {words.percent(found.power)}",
            "at its own",
        ),
        tuple(_row(one) for one in found.gates),
        note="“Caught”: the smallest slow-down (of a share, the smallest multiple of its rate) "
        "that one run above the proposed limit, or above the scenario's own, gives away in so "
        "many cases.",
    )  # fmt: skip
    if planted is not None:
        yield Table(
            ("gate", "became", "observed", "above the proposed limit", "expected", "above its own"),
            tuple(
                (
                    one.name, _became(one), _span(one.measure, one.observed),
                    _counted(one.above_proposed), words.percent(one.expected),
                    _counted(one.above_own),
                )
                for one in planted.gates
            ),
            caption=f"With {', '.join(planted.slow)}: {', '.join(planted.words)}",
        )  # fmt: skip


def page(
    scenario: Scenario,
    found: Gate,
    planted: Slowed | None,
    command: str,
    header: Mapping[str, Any],
) -> Page:
    """The whole page."""
    limits, *checked = tables(found, planted)
    return Page(
        kicker="Gate",
        title=f"How far {scenario.name} can be trusted to fail, and to pass",
        answer=Answer(sentence(found), facts=(words.counted(found.runs, "run"),)),
        about=f"Limits are proposed for false alarms in {words.percent(found.alpha)} of all runs.",
        figures=tuple(
            Figure(_factor(one.detectable), f"{one.name}: the smallest change that is caught")
            for one in found.gates[:4]
        ),
        sections=(
            Section("Limits", "", (limits, _power(found))),
            *(Section("A slow-down on purpose", _agreement(), (table,)) for table in checked),
            Section("How this is known", "", tuple(Text(one) for one in HOW)),
        ),
        command=command,
        facts=tuple((name, str(value)) for name, value in header.items()),
    )


def _agreement() -> str:
    return (
        "As many runs again, with a station slowed down on purpose. By how much each time became "
        "longer is measured; beside the runs that were caught stands what the calibration expects "
        "of that factor."
    )


def _power(found: Gate) -> Panel | None:
    drawn = [
        charts.Series(
            one.name,
            [(step.factor, 100 * step.at_proposed_limit) for step in one.power],
            dots=True,
        )
        for one in found.gates
    ]
    return charts.lines("Caught at the proposed limit, by slow-down", drawn, x="times", y="%")


def _row(one: Calibration) -> tuple[str | Cell, ...]:
    return (
        one.name,
        _exact(one.measure, one.limit),
        _span(one.measure, one.observed),
        _counted(one.false_alarms),
        words.percent(one.false_alarm_rate, 2),
        _exact(one.measure, one.proposed_limit),
        _factor(one.detectable),
        _factor(one.detectable_at_own_limit),
    )


def _exact(measure: str, value: float) -> str:
    """Four digits: runs of one build differ by less than a page's usual words show."""
    if measure in words.SHARES:
        return words.percent(value, 2)
    if math.isinf(value):
        return words.seconds(value)
    return f"{1000 * value:.4g}{words.NBSP}ms" if value < 1 else f"{value:.4g}{words.NBSP}s"


def _span(measure: str, observed: Sequence[float]) -> str:
    if not observed:
        return words.NOTHING
    low, high = (_exact(measure, end(observed)) for end in (min, max))
    return low if low == high else f"{low} … {high}"


def _counted(rate: Rate) -> Cell:
    note = f"{words.percent(rate.low)} to {words.percent(rate.high)}" if rate.of else ""
    return Cell(f"{rate.count} of {rate.of}", note=note)


def _became(one: Caught) -> Cell:
    note = "the rate assumed" if one.measure in words.SHARES and one.factor is not None else ""
    return Cell(_factor(one.factor) if one.observed else words.NOTHING, note=note)


def _factor(factor: float | None) -> str:
    if factor is not None and math.isinf(factor):
        return "never ends"
    return "never" if factor is None else f"× {factor:.2f}"

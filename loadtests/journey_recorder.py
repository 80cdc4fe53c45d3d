"""What a generator saw of its journeys: every step and journey, in counts that workers add up.

Each attempt of a step is timed twice, from the moment it was due and from the moment it really
began; the difference is the generator's own lag. What never came to an end (timed out, cut off,
dropped) is counted as never.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from loadtests.histogram import Histogram
from loadtests.seconds import SECOND_US, Second, Series, joined

if TYPE_CHECKING:
    from fewseconds.outcomes import Outcome
    from fewseconds.plan import Row

NEVER: Final = frozenset({"timed_out", "unfinished", "dropped", "error", "rejected"})
"""Outcomes of an attempt that brought no answer which counts."""
STEP, SENT, JOURNEY, LAG = "step", "sent", "journey", "lag"


class Kept(msgspec.Struct):
    """One measure over the whole run and second by second."""

    histogram: dict[str, object]
    """See :meth:`loadtests.histogram.Histogram.packed`."""
    seconds: list[Second]


class JourneyReport(msgspec.Struct, kw_only=True, frozen=True):
    """What one worker saw; :func:`together` adds several up."""

    kept: dict[str, Kept] = {}
    """``step/NAME`` and ``sent/NAME`` are attempts, from when they were due and from when they
    began; ``journey/KIND`` is the intended start to the confirmation; ``lag`` is that of attempts.
    """


class _Measure:
    """Durations on their way to a histogram and its seconds."""

    __slots__ = ("histogram", "never", "series", "values", "when")

    def __init__(self) -> None:
        self.histogram, self.series = Histogram(), Series()
        self.values, self.when, self.never = array("q"), array("q"), array("q")

    def note(self, when_us: int, value_us: int) -> None:
        self.values.append(value_us)
        self.when.append(when_us)

    def turn(self) -> None:
        values, when = np.array(self.values, np.int64), np.array(self.when, np.int64)
        never, self.never = self.never, array("q")
        self.values, self.when = array("q"), array("q")
        self.histogram.add(values)
        self.histogram.never += len(never)
        self.series.add(when, values)
        for when_us in never:
            self.series.at(when_us // SECOND_US).never += 1
        self.series.put_aside()


class _Journey(msgspec.Struct):
    """A journey on its way."""

    due_us: int
    end_us: int = 0
    outcome: str = ""


class JourneyRecorder:
    """Looks on (see :class:`loadtests.phone.Onlooker`); :meth:`turn` it about once a second."""

    def __init__(self, from_us: int = 0, waiting: frozenset[str] = frozenset()) -> None:
        """Seconds are counted from ``from_us`` on the plan's clock.

        Steps that are ``waiting`` begin a while after they are due, as the scenario has it.
        """
        self._from_us, self._waiting = from_us, waiting
        self._measures: dict[str, _Measure] = {}
        self._steps: dict[str, tuple[_Measure, _Measure]] = {}
        self._lag = self._of(LAG)
        self._under_way: dict[int, _Journey] = {}

    def noted(self, row: Row, outcome: Outcome) -> None:
        """An attempt is over."""
        pair = self._steps.get(outcome.step)
        if pair is None:
            names = f"{STEP}/{outcome.step}", f"{SENT}/{outcome.step}"
            pair = self._steps[outcome.step] = self._of(names[0]), self._of(names[1])
        due_us, begun_us, end_us = outcome.intended_us, outcome.start_us, outcome.end_us
        whole, sent = pair
        when_us = end_us - self._from_us
        if outcome.outcome in NEVER:
            whole.never.append(when_us)
            sent.never.append(when_us)
        else:
            whole.note(when_us, end_us - due_us)
            sent.note(when_us, end_us - begun_us)
        began = outcome.outcome != "dropped"
        if began and outcome.attempt == 1 and outcome.step not in self._waiting:
            self._lag.note(begun_us - self._from_us, begun_us - due_us)
        if outcome.branch == "main":
            journey = self._under_way.get(row.journey_id)
            if journey is None:
                journey = self._under_way[row.journey_id] = _Journey(due_us)
            journey.end_us, journey.outcome = end_us, outcome.outcome

    def ended(self, row: Row) -> None:
        """A journey writes no more rows."""
        journey = self._under_way.pop(row.journey_id, None)
        if journey is None:
            return
        measure, when_us = self._of(f"{JOURNEY}/{row.kind}"), journey.end_us - self._from_us
        if journey.outcome == "ok":
            measure.note(when_us, journey.end_us - journey.due_us)
        elif journey.outcome in NEVER:
            measure.never.append(when_us)

    def _of(self, name: str) -> _Measure:
        found = self._measures.get(name)
        if found is None:
            found = self._measures[name] = _Measure()
        return found

    def turn(self) -> None:
        """Put on the grid what has been noted since the last time."""
        for measure in list(self._measures.values()):
            measure.turn()

    def report(self) -> JourneyReport:
        """Everything so far."""
        self.turn()
        return JourneyReport(
            kept={
                name: Kept(measure.histogram.packed(), measure.series.all())
                for name, measure in self._measures.items()
            }
        )


def together(reports: list[JourneyReport]) -> JourneyReport:
    """What several workers saw; nothing is averaged and nothing rounded."""
    histograms: dict[str, Histogram] = {}
    for report in reports:
        for name, kept in report.kept.items():
            histograms.setdefault(name, Histogram()).merge(Histogram.unpacked(kept.histogram))
    return JourneyReport(
        kept={
            name: Kept(
                histogram.packed(),
                joined([one.kept[name].seconds for one in reports if name in one.kept]),
            )
            for name, histogram in sorted(histograms.items())
        }
    )

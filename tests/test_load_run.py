"""The word for a run of load alone, by a table written down from its definition."""

from __future__ import annotations

import pytest

from fewseconds import checks
from fewseconds.load_run import ending, found_word
from fewseconds.record import Check
from fewseconds.slo import Validity, Verdict, Word

GOOD, BAD = Validity(valid=True), Validity(valid=False, reasons=("the generator was late",))


def verdict(word: Word, *, gate: bool = True) -> Verdict:
    """A gate, or a claim, that was judged so."""
    return Verdict(
        name="error rate", measure="error_rate", statistic="share", engine="measured", gate=gate,
        limit=0.02, at_least=False, word=word, observed=0.1, low=None, high=None, count=9,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("word", "valid", "aborted", "expected"),
    [
        ("pass", GOOD, False, "pass"),
        ("fail", GOOD, False, "fail"),
        ("inconclusive", GOOD, False, "inconclusive"),
        ("pass", BAD, False, "inconclusive"),
        # It was stopped because a gate was broken for too long, whatever came after.
        ("pass", GOOD, True, "fail"),
        ("inconclusive", GOOD, True, "fail"),
        ("fail", GOOD, True, "fail"),
        # A generator that was late may itself have broken the gate.
        ("inconclusive", BAD, True, "inconclusive"),
    ],
)
def test_a_run_that_was_stopped_has_failed(
    word: Word, valid: Validity, aborted: bool, expected: Word  # noqa: FBT001
) -> None:  # fmt: skip
    """An aborted run never passes, and fails where the generator kept its promise."""
    found = found_word([verdict(word)], [], valid, broken=False, aborted=aborted)
    assert found == expected


def test_a_harness_that_failed_decides_nothing() -> None:
    """What broke in the harness outranks gates, audit and abort; a broken audit rule fails."""
    lost = Check("no payment is lost", passed=False, checked=9)
    gates = [verdict("pass")]
    for aborted in (False, True):
        broken = found_word(gates, [lost], GOOD, broken=True, aborted=aborted)
        assert broken == "inconclusive"
        assert found_word(gates, [lost], BAD, broken=False, aborted=aborted) == "fail"


def test_a_run_that_was_stopped_is_red_also_where_its_gates_came_right() -> None:
    """Whoever reads the sentence or counts cases hears of it; a run that may not stop has none."""
    assert ending("fail", 0.0, aborted=True) == ()
    (whole,) = ending("pass", 5.0, aborted=False)
    assert whole.passed
    (stopped,) = ending("fail", 5.0, aborted=True)
    assert (stopped.passed, stopped.gate) == (False, True)
    assert "broken for 5 s" in stopped.first[0]
    said = checks.summary("fail", [verdict("pass")], [stopped], GOOD)
    assert said == "No: it does not hold that the run went to its end."
    # A generator that was late may itself have broken the gate: then nothing is red.
    (late,) = ending("inconclusive", 5.0, aborted=True)
    assert (late.passed, late.gate) == (False, False)

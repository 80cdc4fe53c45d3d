"""Decoding beside a probe: its share of a processor is held, and medians are worked out right."""

from __future__ import annotations

import resource
import time

import pytest

from loadtests.bench_decoding import Decoders, Pair, summed_up


def turns(*times: tuple[float, float, float], share: float = 0.7) -> list[Pair]:
    """Turns that took so long, each by a generator that kept its promise."""
    return [Pair(p99_ms=one, decoding_share=share, verdicts=("valid",) * 3) for one in times]


SPOILT = Pair(
    p99_ms=(1.0, 9.0, 1.0), decoding_share=0.2, verdicts=("valid", "inconclusive", "valid")
)


def test_medians_are_over_turns() -> None:
    """Each turn is compared with the mean of its own two neighbours, and the middle turn counts."""
    pairs = turns((100.0, 105.0, 100.0), (90.0, 110.0, 110.0), (100.0, 200.0, 100.0))
    found = summed_up(pairs, 0.7)
    assert found.ratio == pytest.approx(1.1)
    assert found.noise == 0
    # A turn that the generator spoilt moves neither, however it ended.
    assert summed_up([*pairs, SPOILT], 0.7).ratio == found.ratio
    assert summed_up([*pairs, SPOILT], 0.7).counted == 3


STILL = (100.0, 109.0, 100.0)


@pytest.mark.parametrize(
    ("pairs", "verdict"),
    [
        (turns(STILL), "pass"),
        (turns((100.0, 111.0, 100.0)), "fail"),
        ([*turns(STILL, STILL), SPOILT], "pass"),
        # Half of the turns are not most of them; a tenth of noise hides a tenth; 0.5 is not 0.7.
        ([*turns(STILL), SPOILT], "inconclusive"),
        ([SPOILT], "inconclusive"),
        (turns((90.0, 100.0, 110.0)), "inconclusive"),
        (turns(STILL, share=0.5), "inconclusive"),
    ],
)
def test_decoding_may_move_the_p99_by_less_than_a_tenth(pairs: list[Pair], verdict: str) -> None:
    """More is a failure; what was not measured well, or not under that much decoding, is none."""
    assert summed_up(pairs, 0.7).verdict == verdict


@pytest.mark.slow
@pytest.mark.alone
def test_decoders_keep_to_their_share() -> None:
    """What the kernel charged the decoders is at most their share, a slice and their start."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with Decoders(0.3) as decoders:
        begun_s = time.monotonic()
        while time.monotonic() - begun_s < 3:
            sum(range(10_000))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    charged_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert not decoders.ended
    assert 0 < decoders.used_s <= 0.3 * decoders.wall_s + 0.25
    assert decoders.used_s <= charged_s

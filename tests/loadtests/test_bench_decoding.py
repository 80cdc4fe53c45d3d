"""Decoding beside a probe: its share of a processor is held, and medians are worked out right."""

from __future__ import annotations

import resource
import time

import pytest

from loadtests.bench_decoding import Decoders, Pair, summed_up


def test_medians_are_over_turns() -> None:
    """Each turn is compared with the mean of its own two neighbours, and the middle turn counts."""
    pairs = [
        Pair(p99_ms=times, decoding_share=0.7, verdicts=("valid",) * 3)
        for times in ((100.0, 105.0, 100.0), (90.0, 110.0, 110.0), (100.0, 200.0, 100.0))
    ]
    found = summed_up(pairs, 0.7)
    assert found.ratio == pytest.approx(1.1)
    assert found.noise == 0


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

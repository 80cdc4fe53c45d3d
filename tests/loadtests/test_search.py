"""The search for the highest rate, on stations whose knee Erlang's formula knows."""

from __future__ import annotations

import heapq
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.optimize import brentq

from fewseconds.errors import UsageError
from fewseconds.schedule import starts_us
from loadtests.probe import ProbeSpec
from loadtests.recorder import Limit, Recorder, Report
from loadtests.search import RETRIES_MAX, Search, SearchSpec, judged

SERVERS, SERVICE_S, LIMIT_S = 4, 0.02, 0.12
LIMIT = Limit("p95", 0.95, round(LIMIT_S * 1e6))


def tail(rate: float) -> float:
    """P(sojourn > limit) of M/M/c (Gross and Harris, Fundamentals of Queueing Theory, 2.3)."""
    each, load = 1 / SERVICE_S, rate * SERVICE_S
    full = load**SERVERS / math.factorial(SERVERS) / (1 - load / SERVERS)
    waits = full / (sum(load**k / math.factorial(k) for k in range(SERVERS)) + full)
    spare = SERVERS * each - rate
    alone = math.exp(-each * LIMIT_S)
    return alone + waits * each / (each - spare) * (math.exp(-spare * LIMIT_S) - alone)


KNEE: float = brentq(lambda rate: tail(rate) - 0.05, 60, 199)


def station(order: ProbeSpec, late_s: float = 0.0) -> tuple[Any, Report]:
    """What a generator sees of four exponential servers with one queue.

    It is perfect, or starts and hears every tenth request late.
    """
    luck, recorder = np.random.default_rng([7, order.seed or 0]), Recorder(0)
    free = [0.0] * SERVERS
    for chunk in starts_us(order.stages, order.seed):
        for due_us, work_s in zip(chunk, luck.exponential(SERVICE_S, len(chunk)), strict=True):
            lag_s = late_s if luck.random() < 0.1 else 0.0
            start_s = due_us / 1e6 + lag_s
            end_s = max(heapq.heappop(free), start_s) + work_s
            heapq.heappush(free, end_s)
            recorder.ended(int(due_us), round(start_s * 1e6), round((end_s + lag_s) * 1e6), "ok")
    return result(), recorder.report()


def result(*reasons: str) -> Any:  # noqa: ANN401
    """What the judge of a probe says, as far as a search looks."""
    return SimpleNamespace(
        verdict="inconclusive" if reasons else "valid",
        reasons=reasons,
        latency_ms=SimpleNamespace(p95=1.0),
    )


def searched(seed: int, **more: Any) -> Any:  # noqa: ANN401
    """A search against that station."""
    base = ProbeSpec(url="http://127.0.0.1/", stages=[], seed=seed, limits=[LIMIT])
    spec = SearchSpec(rate_from=20, rate_to=190, step_s=60, **more)
    return Search(spec, base, station, lambda *_: None).run()


@pytest.mark.parametrize("seed", [1, 100, 200])
def test_the_knee_is_found_within_five_percent(seed: int) -> None:
    """The bracket's middle is the rate at which Erlang's formula gives 5 % too slow."""
    found = searched(seed)
    assert found.verdict == "pass"
    assert (found.lo + found.hi) / 2 == pytest.approx(KNEE, rel=0.05)
    assert found.hi - found.lo <= 0.03 * (found.hi + found.lo) / 2
    rates = [step.rate for step in found.steps]
    assert min(rates) == 20
    assert max(rates) <= 190


def test_a_test_is_right_about_rates_that_are_clear() -> None:
    """Well below the knee every step passes, well above it every step fails."""
    for rate, word in ((KNEE * 0.85, "pass"), (KNEE * 1.12, "fail")):
        words = set()
        for seed in range(5):
            chunk = ProbeSpec(url="", stages=[stage(rate)], seed=seed)
            words.add(judged(station(chunk)[1].seconds, LIMIT, 2)[0])
        assert words == {word}


def stage(rate: float) -> Any:  # noqa: ANN401
    """A minute at one rate."""
    from fewseconds.schedule import Stage  # noqa: PLC0415 - only here

    return Stage(rate, 62)


def test_a_server_that_bears_everything_has_no_upper_end() -> None:
    """The search stops at the highest rate it may use and says that it held."""
    base = ProbeSpec(url="", stages=[], limits=[Limit("p95", 0.95, 10**9)], seed=1)
    found = Search(SearchSpec(rate_from=5, rate_to=50), base, station, lambda *_: None).run()
    assert (found.verdict, found.lo, found.hi) == ("pass", 50, None)


def test_a_server_that_bears_nothing_fails() -> None:
    """When the lowest rate is too much, there is no bracket."""
    base = ProbeSpec(url="", stages=[], limits=[Limit("p95", 0.95, 10)], seed=1)
    found = Search(SearchSpec(rate_from=20, rate_to=50), base, station, lambda *_: None).run()
    assert (found.verdict, found.lo) == ("fail", None)


def test_a_generator_that_cannot_follow_ends_the_search() -> None:
    """A step that stays inconclusive is no evidence; it is tried a bounded number of times."""
    asked = []

    def tired(order: ProbeSpec) -> tuple[Any, Report]:
        asked.append(order)
        return result("late by a second"), station(order)[1]

    base = ProbeSpec(url="", stages=[], limits=[LIMIT], seed=1)
    found = Search(SearchSpec(rate_from=20, rate_to=50), base, tired, lambda *_: None).run()
    assert found.verdict == "inconclusive"
    assert len(asked) == 1 + RETRIES_MAX
    assert "late by a second" in found.reason
    assert {step.word for step in found.steps} == {"inconclusive"}


@pytest.mark.parametrize("seed", [1, 2])
def test_a_generator_that_is_late_now_and_then_finds_the_knee_all_the_same(seed: int) -> None:
    """Every third step is inconclusive and measured again; the knee is still within 5 %."""
    asked = 0

    def now_and_then(order: ProbeSpec) -> tuple[Any, Report]:
        nonlocal asked
        asked += 1
        found, report = station(order)
        if asked % 3 == 0:
            # What a generator that stood still sees is no good either way.
            found = result("stood still")
            for second in report.seconds:
                second.never += second.total
        return found, report

    base = ProbeSpec(url="", stages=[], seed=seed, limits=[LIMIT])
    spec = SearchSpec(rate_from=20, rate_to=190, step_s=60)
    found = Search(spec, base, now_and_then, lambda *_: None).run()
    assert found.verdict == "pass"
    assert found.lo is not None
    assert found.hi is not None
    assert (found.lo + found.hi) / 2 == pytest.approx(KNEE, rel=0.05)
    assert "inconclusive" in {step.word for step in found.steps}


def test_a_generators_own_limit_is_never_taken_for_the_servers() -> None:
    """A server that answers in 1 ms is never too slow for what a generator of 100/s adds."""

    def saturated(order: ProbeSpec) -> tuple[Any, Report]:
        recorder, free_s, worst_s = Recorder(0), 0.0, 0.0
        for chunk in starts_us(order.stages, order.seed):
            for due_us in chunk.tolist():
                start_s = max(free_s, due_us / 1e6)
                # Starting a request and reading its answer take 10 ms of its only processor, and
                # the answer is read when everything begun before has been seen to.
                free_s, worst_s = start_s + 0.01, max(worst_s, start_s - due_us / 1e6)
                end_s = start_s + 0.001 + (start_s - due_us / 1e6)
                recorder.ended(due_us, round(start_s * 1e6), round(end_s * 1e6), "ok")
        late = ("late",) if worst_s > 0.02 else ()
        return result(*late), recorder.report()

    base = ProbeSpec(url="", stages=[], limits=[LIMIT])
    spec = SearchSpec(rate_from=20, rate_to=5000, step_s=20, precision=0.15)
    found = Search(spec, base, saturated, lambda *_: None).run()
    assert found.verdict == "inconclusive"
    assert "could not keep its promise, at last because late" in found.reason
    assert found.lo is not None
    assert found.lo < 100
    assert found.hi is None
    assert [step.word for step in found.steps[-RETRIES_MAX - 1 :]] == ["inconclusive"] * 4
    assert found.steps[-1].too_slow_share > 0.5


@pytest.mark.parametrize("seed", [1, 100])
def test_a_server_beyond_its_knee_is_too_slow_also_for_a_generator_it_makes_late(seed: int) -> None:
    """Where overload makes the generator 30 ms late, its steps count and the knee is found."""

    def slowed(order: ProbeSpec) -> tuple[Any, Report]:
        if order.stages[0].rate_per_s < KNEE * 1.05:
            return station(order)
        return result("30 ms late"), station(order, late_s=0.03)[1]

    base = ProbeSpec(url="", stages=[], seed=seed, limits=[LIMIT])
    spec = SearchSpec(rate_from=20, rate_to=190, step_s=60)
    found = Search(spec, base, slowed, lambda *_: None).run()
    assert found.verdict == "pass"
    assert found.lo is not None
    assert found.hi is not None
    assert "inconclusive" in {step.word for step in found.steps}
    assert (found.lo + found.hi) / 2 == pytest.approx(KNEE, rel=0.05)


def test_a_server_that_is_not_there_fails_and_says_so() -> None:
    """Refused connections break the limit at the lowest rate, and the reason names them."""

    def refused(order: ProbeSpec) -> tuple[Any, Report]:
        recorder = Recorder(0)
        for chunk in starts_us(order.stages, order.seed):
            for due_us in chunk.tolist():
                recorder.ended(due_us, due_us, due_us + 300, "ConnectionRefusedError")
        return result(), recorder.report()

    base = ProbeSpec(url="", stages=[], limits=[LIMIT])
    found = Search(SearchSpec(rate_from=5, rate_to=50), base, refused, lambda *_: None).run()
    assert (found.verdict, found.lo, found.hi) == ("fail", None, 5)
    assert "100.0% of the requests" in found.reason
    assert "(60 ConnectionRefusedError) at 5 requests/s" in found.reason


def test_what_makes_no_sense_is_refused() -> None:
    """There must be one limit, a range, and time enough for batches."""
    base = ProbeSpec(url="", stages=[], limits=[LIMIT, LIMIT])
    with pytest.raises(UsageError, match="give exactly one --slo"):
        Search(SearchSpec(rate_from=1, rate_to=2), base, station, lambda *_: None)
    one = ProbeSpec(url="", stages=[], limits=[LIMIT])
    with pytest.raises(UsageError, match="give --from below --to"):
        Search(SearchSpec(rate_from=3, rate_to=2), one, station, lambda *_: None)
    short = Search(SearchSpec(rate_from=30, rate_to=40, step_s=3), one, station, lambda *_: None)
    with pytest.raises(UsageError, match="lengthen --step"):
        short.run()

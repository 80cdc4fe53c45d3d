"""The formulas of queues against other people's: LINE's solver, the sum of Erlang, SciPy."""

from __future__ import annotations

import contextlib
import io
import math
import warnings
from typing import Any

import pytest
from scipy import stats

from fewseconds.law import Law
from sim import erlang


def line_wait(servers: int, rate: float, service: Any) -> float:  # noqa: ANN401 - LINE's laws
    """Mean wait that LINE's mean-value analysis gives for one station (its own Python, no Java)."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        import line_solver as line  # noqa: PLC0415 - two seconds, for these tests alone

        model = line.Network("station")
        source, sink = line.Source(model, "source"), line.Sink(model, "sink")
        queue = line.Queue(model, "queue", line.SchedStrategy.FCFS)
        visit = line.OpenClass(model, "visit")
        source.setArrival(visit, line.Exp(rate))
        queue.setService(visit, service(line))
        queue.setNumberOfServers(servers)
        model.link(line.Network.serialRouting(source, queue, sink))
        table = line.SolverMVA(model).getAvgTable()
    return float(table["RespT"].iloc[1]) - 1.0


@pytest.mark.parametrize(("servers", "rate"), [(1, 0.7), (3, 2.4), (12, 11.0), (60, 55.0)])
def test_line_agrees_on_waits_for_several_servers(servers: int, rate: float) -> None:
    """Erlang's mean wait is the one that LINE's mean-value analysis gives for M/M/c."""
    expected = line_wait(servers, rate, lambda line: line.Exp(1.0))
    assert erlang.mean_wait(servers, rate, 1.0) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(("servers", "offered"), [(1, 0.5), (2, 1.9), (7, 3.3), (40, 39.0)])
def test_the_recursion_is_erlangs_sum(servers: int, offered: float) -> None:
    """The probability to wait is the quotient of sums that Erlang gave in 1917."""
    late = offered**servers / math.factorial(servers) / (1 - offered / servers)
    early = sum(offered**k / math.factorial(k) for k in range(servers))
    assert erlang.erlang_c(servers, offered) == pytest.approx(late / (early + late))


def test_one_server_is_pollaczek_and_khinchine() -> None:
    """With one server the approximation is exact for any law of service."""
    rate, mean, variation = 0.7, 1.0, 2.5
    second_moment = mean**2 * (1 + variation)
    exact = rate * second_moment / (2 * (1 - rate * mean))
    assert erlang.mean_wait(1, rate * mean, mean, variation) == pytest.approx(exact)


def test_thousands_of_servers_do_not_overflow() -> None:
    """Where sums of factorials leave the range of a float the recursion still answers."""
    assert 0 < erlang.erlang_c(5000, 4990.0) < 1
    assert erlang.erlang_c(3, 3.0) == 1.0
    assert erlang.mean_wait(3, 3.5, 1.0) == math.inf


@pytest.mark.parametrize(("offered", "wait_max"), [(0.4, 0.1), (8.3, 0.5), (170.0, 0.05)])
def test_the_least_servers_are_the_least(offered: float, wait_max: float) -> None:
    """With them the wait is short enough, with one fewer it is not."""
    servers = erlang.least_servers(offered, 1.0, 0.5, wait_max)
    assert erlang.mean_wait(servers, offered, 1.0, 0.5) <= wait_max
    assert erlang.mean_wait(servers - 1, offered, 1.0, 0.5) > wait_max


def test_moments_of_a_law_are_scipys() -> None:
    """Mean and variation of a lognormal law are those that SciPy gives."""
    law = Law(law="lognormal", median_ms=750, p95_ms=1500, source="made up")
    sigma = math.log(2) / stats.norm.ppf(0.95)
    exact = stats.lognorm(sigma, scale=0.75)
    mean, variation = erlang.moments(law)
    assert mean == pytest.approx(exact.mean(), rel=1e-3)
    assert variation == pytest.approx(exact.var() / exact.mean() ** 2, rel=0.01)

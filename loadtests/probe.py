"""One request, again and again in the open model: what is asked for, and what the answer means.

Nothing here imports Locust or gevent; the load itself is :mod:`loadtests.probefile`.
"""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from fewseconds import promise
from fewseconds.errors import HarnessError
from fewseconds.schedule import Stage
from loadtests.histogram import Histogram
from loadtests.launch import LocustProcess
from loadtests.recorder import Limit, Report

if TYPE_CHECKING:
    from collections.abc import Callable

    from loadtests.seconds import Second

PROBE_VARIABLE: Final = "FEWSECONDS_PROBE"
PROBEFILE: Final = Path(__file__).with_name("probefile.py")
QUANTILES: Final = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p999": 0.999}


class ProbeSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a probe sends."""

    url: str
    stages: list[Stage]
    seed: int | None = None
    """None is evenly spaced, a number the seed of a Poisson process."""
    method: str = "GET"
    connections_max: int = 0
    """0 is as many as it takes."""
    in_flight_max: int = 10_000
    timeout_s: float = 30.0
    settle_s: float = 0.0
    """What is intended to start before this is sent but does not count."""
    client: str = "lean"
    limits: list[Limit] = []
    abort_after_s: float = 0.0
    """If limits are broken for this long, stop; 0 is never."""
    summary: str = ""
    parent: int = 0

    @property
    def duration_s(self) -> float:
        """Length of the schedule."""
        return sum(stage.duration_s for stage in self.stages)


class ProbeSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What the generator hands back."""

    report: Report
    workers: int
    lost: tuple[str, ...]
    refused: int
    aborted: bool


class Latency(msgspec.Struct, frozen=True):
    """Quantiles in milliseconds; None is never: so many requests brought no answer."""

    p50: float | None
    p90: float | None
    p95: float | None
    p99: float | None
    p999: float | None
    max: float | None


class ProbeResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a probe found."""

    verdict: str
    """``pass`` or ``fail`` where there are limits, else ``valid``; or ``inconclusive``.

    If every connection was refused it is ``fail`` in any case (see ``promise.REFUSALS``)."""
    reasons: tuple[str, ...]
    """Why it is inconclusive, and what to do."""
    broken: tuple[str, ...]
    """Limits that are not met."""
    intended: int
    started: int
    completed: int
    dropped: int
    late: int
    outcomes: dict[str, int]
    lag_ms_p99: float
    latency_ms: Latency
    """From the intended start."""
    sent_ms: Latency
    """From the actual start: what a generator that waits for answers would have reported."""
    cpu_us_per_request: float
    cpu_share_max: float
    littles_law_residual: float | None
    littles_law_limit: float | None
    in_flight_max: int
    connections: int
    retried: int
    workers: int
    refused: int
    """Workers that came when the shares had been given out."""
    rss_mb: float
    aborted: bool
    seconds: list[dict[str, Any]]


def probe(spec: ProbeSpec, say: Callable[[str, float], None], processes: int = 1) -> ProbeResult:
    """Run a probe in processes of its own and judge it.

    Raises HarnessError if the generator fails.
    """
    return judge(spec, sent(spec, say, processes))


def sent(spec: ProbeSpec, say: Callable[[str, float], None], processes: int = 1) -> ProbeSummary:
    """Run a probe in processes of its own; raises HarnessError if the generator fails."""
    with tempfile.TemporaryDirectory(prefix="fewseconds-probe-") as temporary:
        folder = Path(temporary)
        generator = LocustProcess(
            folder, PROBEFILE, PROBE_VARIABLE, processes,
            limit_s=spec.duration_s + spec.timeout_s + 60.0,
        )  # fmt: skip
        spec = msgspec.structs.replace(
            spec, summary=str(generator.summary), parent=generator.parent
        )
        generator.orders.write_bytes(msgspec.json.encode(spec))
        length_s = spec.duration_s + 2.0
        with generator:
            data = generator.wait_for_summary(
                lambda: say("sending", min(generator.age_s / length_s, 0.99))
            )
        try:
            return msgspec.msgpack.decode(data, type=ProbeSummary)
        except msgspec.DecodeError as error:
            message = f"load generator: its summary cannot be read: {error}; run it again"
            raise HarnessError(message) from None


def judge(spec: ProbeSpec, summary: ProbeSummary) -> ProbeResult:
    """The verdict, and the verdict before it."""
    report = summary.report
    latency, lag = Histogram.unpacked(report.latency), Histogram.unpacked(report.lag)
    lag_us = lag.quantile_us(0.99) or 0.0
    residual, allowance = promise.little(
        report.in_flight_integral_s, report.in_flight_variance_s2, report.sojourn_s, report.begun
    )
    broken = tuple(
        f"{limit.name}: {_shown(latency.quantile_us(limit.share))}, allowed are "
        f"{limit.limit_us / 1000:g} ms"
        for limit in spec.limits
        if (latency.quantile_us(limit.share) or 0.0) > limit.limit_us
    )
    if summary.aborted:
        broken += (f"stopped after limits had been broken for {spec.abort_after_s:g} s",)
    kept = promise.Promise(
        what="requests",
        intended=report.intended,
        started=report.started,
        dropped=report.dropped,
        begun=report.started,
        late=report.late,
        lag_ms_p99=lag_us / 1000,
        cpu_share=report.cpu_share_max,
        residual=residual,
        residual_limit=allowance,
        failed_anyway=bool(broken),
    )
    reasons = (*summary.lost, *promise.reasons(kept))
    word = ("fail" if broken else "pass") if spec.limits else "valid"
    verdict = "inconclusive" if reasons else word
    if report.outcomes and promise.REFUSALS.issuperset(report.outcomes) and not summary.lost:
        verdict, broken = "fail", (*broken, promise.DEAD)
    return ProbeResult(
        verdict=verdict,
        reasons=reasons,
        broken=broken,
        intended=report.intended,
        started=report.started,
        completed=report.completed,
        dropped=report.dropped,
        late=report.late,
        outcomes=dict(sorted(report.outcomes.items())),
        lag_ms_p99=lag_us / 1000,
        latency_ms=quantiles(latency),
        sent_ms=quantiles(Histogram.unpacked(report.sent)),
        cpu_us_per_request=report.cpu_s * 1e6 / max(report.begun, 1),
        cpu_share_max=report.cpu_share_max,
        littles_law_residual=residual,
        littles_law_limit=allowance,
        in_flight_max=report.in_flight_max,
        connections=report.connections,
        retried=report.retried,
        workers=summary.workers,
        refused=summary.refused,
        rss_mb=report.rss_bytes / 1e6,
        aborted=summary.aborted,
        seconds=[_second(second) for second in report.seconds],
    )


def quantiles(histogram: Histogram) -> Latency:
    """The usual quantiles in milliseconds."""
    found = {name: _ms(histogram.quantile_us(share)) for name, share in QUANTILES.items()}
    top = None if histogram.never or not histogram.total else histogram.max_us / 1000
    return Latency(**found, max=top)


def _ms(value_us: float | None) -> float | None:
    return None if value_us is None or math.isinf(value_us) else value_us / 1000


def _shown(value_us: float | None) -> str:
    return (
        "never answered" if value_us is None or math.isinf(value_us) else f"{value_us / 1e3:g} ms"
    )


def _second(second: Second) -> dict[str, Any]:
    histogram = second.histogram()
    return {
        "second": second.second,
        "completed": histogram.total - second.never,
        "failed": second.never,
        "p50_ms": _ms(histogram.quantile_us(0.5)),
        "p99_ms": _ms(histogram.quantile_us(0.99)),
    }

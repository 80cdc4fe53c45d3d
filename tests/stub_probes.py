"""Commands about load as they are typed, with probes that send nothing and come to what is told."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from typer.testing import CliRunner, Result

from fewseconds.cli import app
from loadtests.probe import Latency, ProbeResult, ProbeSpec

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = "http://127.0.0.1:9/"
HEADER = {"seed", "url", "engine", "commit"}
PROBE_FIELDS = HEADER | {
    "verdict", "reasons", "broken", "intended", "started", "completed", "dropped", "late",
    "outcomes", "lag_ms_p99", "latency_ms", "sent_ms", "cpu_us_per_request", "cpu_share_max",
    "littles_law_residual", "littles_law_limit", "in_flight_max", "connections", "retried",
    "refused", "workers", "rss_mb", "aborted", "seconds", "tries",
}  # fmt: skip
QUANTILES = {"p50", "p90", "p95", "p99", "p999", "max"}
CODES = {"valid": 0, "pass": 0, "fail": 1, "inconclusive": 3}


INSISTED = [
    ("inconclusive", ["inconclusive"], 1, 3),
    ("pass", ["inconclusive"], 1, 0),
    ("fail", ["inconclusive"], 1, 1),
    ("pass", ["fail"], 1, 1),
    ("fail", ["pass"], 1, 0),
    ("retry", ["pass"], 1, 0),
    ("retry", ["fail", "pass"], 1, 1),
    ("retry", ["inconclusive", "pass"], 2, 0),
    ("retry", ["inconclusive", "inconclusive", "fail"], 3, 1),
    ("retry", ["inconclusive", "inconclusive", "inconclusive", "pass"], 3, 3),
]
"""What is insisted on, what tries would come to, how many are made, and the exit code."""


def said(*arguments: object) -> Result:
    """What a command leaves behind."""
    result = CliRunner().invoke(app, ["load", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    return result


def told(result: Result) -> dict[str, Any]:
    """The one object on stdout."""
    assert result.stdout.count("\n") == 1
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def result(word: str, p95: float = 250.0, p99: float = 450.0) -> ProbeResult:
    """What a probe comes to."""
    latency = Latency(p50=1.0, p90=90.0, p95=p95, p99=p99, p999=None, max=None)
    return ProbeResult(
        verdict=word, reasons=("the machine was busy; free it",) if word == "inconclusive" else (),
        broken=("p99: 450 ms, allowed are 5 ms",) if word == "fail" else (),
        intended=400, started=399, completed=398, dropped=1, late=2,
        outcomes={"ok": 398, "error": 1}, lag_ms_p99=0.3, latency_ms=latency, sent_ms=latency,
        cpu_us_per_request=70.0, cpu_share_max=0.1, littles_law_residual=0.0,
        littles_law_limit=0.02, in_flight_max=9, connections=4, retried=0, workers=1, rss_mb=60.0,
        aborted=False, refused=0, seconds=[],
    )  # fmt: skip


class Probes:
    """Stands where probes are sent, and remembers what was asked for."""

    def __init__(self) -> None:
        """A probe that is valid, until a test says otherwise."""
        self.results = [result("valid")]
        self.orders: list[tuple[ProbeSpec, int]] = []

    def __call__(
        self, spec: ProbeSpec, _say: Callable[[str, float], None], processes: int
    ) -> ProbeResult:
        """The next result; the last one again and again."""
        self.orders.append((spec, processes))
        return self.results[min(len(self.orders), len(self.results)) - 1]

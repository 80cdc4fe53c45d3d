"""``fewseconds load``: probes of any server, and checks of the generator itself."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from fewseconds import address, schedule, slo
from fewseconds.commands import console
from fewseconds.commit import commit
from fewseconds.errors import EXIT_GATE_FAILED, EXIT_INCONCLUSIVE, EXIT_OK, UsageError
from loadtests.probe import ProbeResult, ProbeSpec, probe
from loadtests.recorder import Limit

if TYPE_CHECKING:
    from collections.abc import Callable

TRIES_MAX: Final = 3
UNITS_S: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
TIME: Final = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|m|h)?")
TOLERANCE: Final = 0.05
"""How far the selfcheck's p95 and p99 may be from what must be so, as a share."""
STEPS_MAX: Final = 1000
FREEZE_S, PERIOD_S = 2.0, 20.0


class ProbeWish(msgspec.Struct, frozen=True, kw_only=True):
    """A probe as it is asked for at the command line."""

    url: str
    rate: float
    duration: str = "40s"
    poisson: bool = False
    shape: str = "flat"
    settle: str = "0s"
    slo: list[str] = []
    abort_after: str = "0s"
    connections: int = 0
    in_flight_max: int = 10_000
    timeout: str = "30s"
    client: str = "lean"
    processes: int = 1
    seed: int = 1
    allow_host: list[str] = []
    on_inconclusive: str = "inconclusive"


def seconds(text: str, option: str) -> float:
    """A time such as ``40s``, ``250ms`` or ``1.5h``; a bare number is seconds.

    Raises UsageError.
    """
    found = TIME.fullmatch(text.strip())
    if found is None:
        message = f"{option} {text!r}: is no time; write a number with us, ms, s, m or h"
        raise UsageError(message)
    found_s = float(found[1]) * UNITS_S[found[2] or "s"]
    if found_s > schedule.LENGTH_MAX_S:
        raise UsageError(f"{option} {text!r}: is more than a year; shorten it")
    return found_s


def longer_than_nothing(text: str, option: str) -> float:
    """As :func:`seconds`, and more than none; raises UsageError."""
    found_s = seconds(text, option)
    if found_s == 0:
        raise UsageError(f"{option} {text!r}: is no time at all; give more than 0")
    return found_s


def rate(option: str, value: float) -> float:
    """Requests a second that a clock can tell apart; raises UsageError."""
    if not 0 < value <= schedule.RATE_MAX_PER_S:
        message = (
            f"{option} {value:g}: must be a number above 0, up to {schedule.RATE_MAX_PER_S:g}; "
            "correct it"
        )
        raise UsageError(message)
    return value


def limits(texts: list[str]) -> list[Limit]:
    """Limits such as ``p99=250ms``; raises UsageError."""
    found = []
    for text in texts:
        name, _, time = text.partition("=")
        share = slo.QUANTILES.get(name, {"p999": 0.999}.get(name))
        if share is None:
            message = f"--slo {text!r}: unknown quantile {name!r}; write p50, p90, p95, p99 or p999"
            raise UsageError(message)
        found.append(Limit(name, share, round(seconds(time, f"--slo {name}") * 1e6)))
    return found


def stages(shape: str, rate: float, duration_s: float) -> list[schedule.Stage]:
    """The stages of a shape; raises UsageError."""
    name, _, rest = shape.partition("=")
    try:
        numbers = [float(part) for part in rest.split(",") if part]
    except ValueError:
        numbers = [math.nan]
    match name, numbers:
        case _ if not all(0 <= number <= schedule.RATE_MAX_PER_S for number in numbers):
            pass
        case "flat", []:
            return [schedule.Stage(rate, duration_s)]
        case "ramp", [begin]:
            return schedule.ramp(begin, rate, duration_s)
        case "steps", [begin, count] if 1 <= count <= STEPS_MAX:
            return schedule.steps(begin, rate, int(count), duration_s)
        case "spike", [peak]:
            return schedule.spike(rate, peak, duration_s)
    message = (
        f"--shape {shape!r}: not understood; write flat, ramp=FROM, steps=FROM,COUNT (up to "
        f"{STEPS_MAX}) or spike=PEAK"
    )
    raise UsageError(message)


def header(url: str, seed: int | None) -> dict[str, Any]:
    """Say what is about to be sent where; returns the same as fields for JSON."""
    state = commit()
    console.say(f"seed={seed} url={url} engine=locust commit={state}")
    return {"seed": seed, "url": url, "engine": "locust", "commit": state}


def load_probe(wish: ProbeWish, *, as_json: bool) -> int:
    """Probe, and print; returns the exit code."""
    address.check(wish.url, wish.allow_host)
    duration_s = longer_than_nothing(wish.duration, "--duration")
    settle_s = seconds(wish.settle, "--settle")
    if settle_s >= duration_s:
        message = (
            f"--settle {wish.settle!r}: is all of --duration {wish.duration!r}, so nothing would "
            "count; shorten it"
        )
        raise UsageError(message)
    spec = ProbeSpec(
        url=wish.url,
        stages=stages(wish.shape, rate("--rate", wish.rate), duration_s),
        seed=wish.seed if wish.poisson else None,
        connections_max=wish.connections,
        in_flight_max=wish.in_flight_max,
        timeout_s=longer_than_nothing(wish.timeout, "--timeout"),
        settle_s=settle_s,
        client=wish.client,
        limits=limits(wish.slo),
        abort_after_s=seconds(wish.abort_after, "--abort-after"),
    )
    fields = header(wish.url, spec.seed)

    def once() -> tuple[str, ProbeResult]:
        with console.progress() as say:
            result = probe(spec, say, wish.processes)
        return result.verdict, result

    result, tries, code = insisted(once, wish.on_inconclusive)
    if as_json:
        console.print_json(fields | msgspec.to_builtins(result) | {"tries": tries})
    else:
        show(result)
    return code


def insisted(once: Callable[[], tuple[str, Any]], on_inconclusive: str) -> tuple[Any, int, int]:
    """Do something that may be inconclusive as often as asked; result, tries and exit code.

    The word of the result is never changed: only the exit code can say pass or fail instead.
    """
    tries, (word, result) = 1, once()
    while word == "inconclusive" and on_inconclusive == "retry" and tries < TRIES_MAX:
        console.say("inconclusive; once more")
        tries, (word, result) = tries + 1, once()
    codes = {"fail": EXIT_GATE_FAILED, "inconclusive": EXIT_INCONCLUSIVE}
    if word == "inconclusive":
        word = {"pass": "pass", "fail": "fail"}.get(on_inconclusive, word)
    return result, tries, codes.get(word, EXIT_OK)


def show(result: ProbeResult) -> None:
    """A probe's result for the person at the keyboard."""
    from rich.table import Table

    table = Table("", "p50", "p90", "p95", "p99", "p99.9", "max", box=None)
    for name, found in (
        ("from intended start", result.latency_ms),
        ("from sending", result.sent_ms),
    ):
        cells = [getattr(found, field) for field in found.__struct_fields__]
        table.add_row(
            f"{name}, ms", *("never" if cell is None else f"{cell:.1f}" for cell in cells)
        )
    console.out.print(table)
    console.show(
        f"{result.intended} intended, {result.started} started, {result.completed} completed, "
        f"{result.dropped} dropped, {result.late} late; lag p99 {result.lag_ms_p99:.1f} ms; "
        f"{result.cpu_us_per_request:.0f} µs CPU a request, {result.connections} connections"
    )
    if set(result.outcomes) - {"ok"}:
        console.show(f"outcomes: {_counted(result.outcomes)}")
    if result.retried:
        console.show(again(result.retried))
    for line in (*result.broken, *result.reasons):
        console.show(line)
    console.show(result.verdict.upper())


def again(count: int) -> str:
    """That so many requests went out a second time, which no consumer asked for."""
    return f"{count} sent again, after the server had hung up on a kept connection"


def _counted(outcomes: dict[str, int]) -> str:
    """How often each outcome was met, the most frequent first."""
    ranked = sorted(outcomes.items(), key=lambda one: (-one[1], one[0]))
    return ", ".join(f"{count} {name}" for name, count in ranked)


def load_selfcheck(duration: str, rate: float, processes: int, *, as_json: bool) -> int:
    """Probe a server whose latencies are known, and compare."""
    from loadtests.target import Target, TargetSpec

    duration_s = seconds(duration, "--duration")
    periods = max(round(duration_s / PERIOD_S), 1)
    with Target(TargetSpec(freeze_s=FREEZE_S, period_s=PERIOD_S)) as target:
        fields = header(target.url, None)
        with console.progress() as say:
            spec = ProbeSpec(
                url=target.url, stages=[schedule.Stage(rate, periods * PERIOD_S)], timeout_s=10.0
            )
            result = probe(spec, say, processes)
    # Whoever comes u before the end of a freeze waits u: a share u / period waits longer than that.
    truth_ms = {
        name: 1000 * (FREEZE_S - (1 - share) * PERIOD_S)
        for name, share in (("p95", 0.95), ("p99", 0.99))
    }
    found_ms = {name: getattr(result.latency_ms, name) for name in truth_ms}
    errors = {
        name: None if found is None else abs(found - truth_ms[name]) / truth_ms[name]
        for name, found in found_ms.items()
    }
    good = all(error is not None and error <= TOLERANCE for error in errors.values())
    verdict = "inconclusive" if result.verdict == "inconclusive" else "pass" if good else "fail"
    if as_json:
        console.print_json(
            fields
            | {
                "verdict": verdict,
                "reasons": result.reasons,
                "truth_ms": truth_ms,
                "reported_ms": found_ms,
                "relative_error": errors,
                "tolerance": TOLERANCE,
                "from_sending_ms": {name: getattr(result.sent_ms, name) for name in truth_ms},
                "intended": result.intended,
                "completed": result.completed,
                "dropped": result.dropped,
                "late": result.late,
                "lag_ms_p99": result.lag_ms_p99,
            }
        )
    else:
        show(result)
        for name, error in errors.items():
            off = "never answered" if error is None else f"off by {error:.1%}"
            console.show(f"{name}: must be {truth_ms[name]:.0f} ms; {off}")
        console.show(verdict.upper())
    return {"pass": EXIT_OK, "fail": EXIT_GATE_FAILED}.get(verdict, EXIT_INCONCLUSIVE)

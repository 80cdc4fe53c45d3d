"""``fewseconds simulate --stream``: cities of any size in constant memory."""

from __future__ import annotations

import math
import resource
from typing import TYPE_CHECKING, Any, Final

import msgspec

from fewseconds import age
from fewseconds.commands import console
from fewseconds.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from fewseconds.commands.simulate import Part
    from fewseconds.scenario import Scenario
    from fewseconds.slo import Sample, Verdict
    from sim.histogram import Histogram
    from sim.streaming import Streamed

QUANTILES: Final = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p999": 0.999}


def stream(name: str, seed: int | None, part: Part, out: Path, *, as_json: bool) -> int:
    """Walk the whole plan piece by piece, judge it and write the page and a sample's rows.

    Returns the exit code of the gates. Raises UsageError for what only a plan made at once has.
    """
    for option, value in (("--rows", part.rows), ("--journeys", part.journeys)):
        if value is not None:
            message = f"{option}: a stream keeps no whole plan and no rows; leave --stream out"
            raise UsageError(message)
    scenario = part.scenario(name)
    seed = scenario.seed if seed is None else seed
    fields = console.header(scenario, seed, "numba")
    from sim.streaming import stream as walk

    payments, startup = scenario.payments, age.Startup()
    with console.progress() as say:
        done = walk(
            scenario, seed, startup.noting(lambda count: say("simulating", count / payments))
        )
        ended_s = age.process_s()
        from fewseconds import slo
        from fewseconds.report import words

        say("walking a part both ways, writing the page", 1.0)
        command = f"{part.command(name, seed)} --stream"
        verdicts, report = _reported(scenario, done, out, command)
    word = slo.overall(verdicts)
    measures = {measure: _told(one) for measure, one in done.measures.items() if len(one)}
    if as_json:
        console.print_json(
            fields
            | _counted(scenario, done)
            | {
                "startup_s": startup.seconds,
                "total_s": ended_s,
                "measures": measures,
                "sampled_rows": done.sample.num_rows,
                "slo": [msgspec.to_builtins(verdict) for verdict in verdicts],
                "word": word,
                "report": str(report),
            }
        )
        return slo.exit_code(word)
    console.show(f"{done.journeys} journeys, {done.events} events in {done.wall_s:.1f} s")
    console.show(words.paid(done.paise).replace(words.NBSP, " "))
    for measure, told in measures.items():
        values = ", ".join(f"{key} {told[key]}" for key in QUANTILES)
        console.show(f"{measure:14} {told['count']:>11}  {values}")
    console.show_verdicts(verdicts)
    console.say(f"Report: {report}")
    return slo.exit_code(word)


def _counted(scenario: Scenario, done: Streamed) -> dict[str, Any]:
    """What the walk counted and took, as fields for JSON."""
    return {
        "consumers": scenario.consumers,
        "journeys": done.journeys,
        "events": done.events,
        "wall_s": done.wall_s,
        "compile_s": done.compile_s,
        "cpu_s": done.cpu_s,
        "us_per_consumer": done.cpu_s / scenario.consumers * 1e6,
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "fates": done.fates,
        "paise": done.paise,
    }


def _reported(
    scenario: Scenario, done: Streamed, out: Path, command: str
) -> tuple[list[Verdict], Path]:
    """Judge what was walked; write the page and, beside it, all rows of the sample."""
    from fewseconds import measures, outcomes, slo
    from fewseconds.commands.simulation_page import write_streamed
    from fewseconds.results import new_folder
    from sim.paired import pairs

    both = pairs(done.seen.densest)
    samples: dict[str, Sample] = {
        **done.measures,
        "error_rate": done.errors,
        "faster_than_portal": slo.Values(both.faster),
    }
    wanted = {str(objective.measure) for objective in scenario.slo}
    samples = {name: sample for name, sample in samples.items() if name in wanted}
    verdicts = slo.judge_all(scenario.slo, "simulated", samples, slo.Validity(valid=True))
    folder = new_folder(out, scenario.name)
    outcomes.write(done.sample, folder / "sample.parquet")
    rows = measures.frame(done.sample)
    closely = (rows, measures.journeys(rows, done.seen.sampled))
    report = write_streamed(scenario, done, closely, both, (samples, verdicts), (folder, command))
    return verdicts, report


def _told(histogram: Histogram) -> dict[str, Any]:
    """Seconds by quantile, null where the system failed so many that it is infinite."""
    values = {name: histogram.quantile(share)[0] for name, share in QUANTILES.items()}
    finite = {
        name: value if value is not None and math.isfinite(value) else None
        for name, value in values.items()
    }
    return {"count": len(histogram), "infinite": histogram.infinite, **finite}

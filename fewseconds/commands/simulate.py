"""``fewseconds simulate``: the journeys around the load window in virtual time."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import msgspec

from fewseconds.commands import console

if TYPE_CHECKING:
    from pathlib import Path

    from fewseconds.slo import Verdict
    from sim.summary import Summary


def simulate(
    name: str,
    seed: int | None,
    journeys: int | None,
    month: int | None,
    slow: list[str],
    out: Path,
    *,
    as_json: bool,
) -> int:
    """Simulate, judge, print and write the page; returns the exit code of the gates."""
    scenario = console.load(name, slow, month)
    seed = scenario.seed if seed is None else seed
    fields = console.header(scenario, seed, "simpy")
    from fewseconds import measures, slo
    from fewseconds.commands.simulation_page import write_page
    from fewseconds.plan import plan
    from fewseconds.run import around_window
    from sim import reference
    from sim.paired import pairs
    from sim.summary import Summary

    whole = plan(scenario, seed)
    walk = around_window(whole, whole.busiest_window(), journeys or scenario.simulate.journeys_max)
    with console.progress() as say:
        done = reference.simulate(walk, lambda count: say("simulating", count / len(walk)))
        say("walking both ways", 0.9)
        both = pairs(walk)
        say("writing the page", 1.0)
    rows = measures.frame(done.outcomes)
    walked = measures.journeys(rows, walk)
    names = {str(objective.measure) for objective in scenario.slo} - {"faster_than_portal"}
    samples = {measure: measures.samples(measure, walked, rows) for measure in sorted(names)}
    samples["faster_than_portal"] = both.faster
    verdicts = slo.judge_all(scenario.slo, "simulated", samples, slo.Validity(valid=True))
    word = slo.overall(verdicts)
    summary = Summary.of(done.outcomes, walk, events=done.events, wall_s=done.wall_s)
    place = (out, "simpy", _command(name, seed, len(walk), month, slow))
    report = write_page(whole, walk, summary, (rows, walked), both, (samples, verdicts), place)
    if as_json:
        console.print_json(
            fields
            | {
                "journeys": done.journeys,
                "events": done.events,
                "wall_s": done.wall_s,
                "fates": summary.fates,
                "slo": [msgspec.to_builtins(verdict) for verdict in verdicts],
                "word": word,
                "report": str(report),
            }
        )
    else:
        _show(summary, verdicts)
        console.say(f"Report: {report}")
    return slo.exit_code(word)


def _command(name: str, seed: int, journeys: int, month: int | None, slow: list[str]) -> str:
    """What makes the same page again."""
    words = ["fewseconds", "simulate", name, "--seed", str(seed), "--journeys", str(journeys)]
    words += [] if month is None else ["--month", str(month)]
    return shlex.join([*words, *(part for text in slow for part in ("--slow", text))])


def _show(summary: Summary, verdicts: list[Verdict]) -> None:
    told = f"{summary.journeys} journeys, {summary.events} events in {summary.wall_s:.1f} s"
    console.show(told)
    for verdict in verdicts:
        observed = "–" if verdict.observed is None else f"{verdict.observed:.3g}"
        console.show(f"{verdict.word:13} {verdict.name:36} {observed:>8} limit {verdict.limit:g}")

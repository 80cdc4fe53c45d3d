"""``fewseconds simulate``: the journeys around the load window in virtual time."""

from __future__ import annotations

import msgspec

from fewseconds.commands import console


def simulate(
    name: str, seed: int | None, journeys: int | None, slow: list[str], *, as_json: bool
) -> int:
    """Simulate, judge, and print; returns the exit code of the gates."""
    scenario = console.load(name, slow)
    seed = scenario.seed if seed is None else seed
    fields = console.header(scenario, seed, "simpy")
    from fewseconds import measures, slo
    from fewseconds.plan import plan
    from fewseconds.run import around_window
    from sim import reference

    whole = plan(scenario, seed)
    walk = around_window(whole, whole.busiest_window(), journeys or scenario.simulate.journeys_max)
    with console.progress() as say:
        done = reference.simulate(walk, lambda count: say("simulating", count / len(walk)))
    rows = measures.frame(done.outcomes)
    walked = measures.journeys(rows, walk)
    names = {str(objective.measure) for objective in scenario.slo} - {"faster_than_portal"}
    samples = {measure: measures.samples(measure, walked, rows) for measure in sorted(names)}
    verdicts = slo.judge_all(scenario.slo, "simulated", samples, slo.Validity(valid=True))
    word = slo.overall(verdicts)
    if as_json:
        console.print_json(
            fields
            | {
                "journeys": done.journeys,
                "events": done.events,
                "wall_s": done.wall_s,
                "fates": dict(sorted(walked["fate"].value_counts().iter_rows())),
                "slo": [msgspec.to_builtins(verdict) for verdict in verdicts],
                "word": word,
            }
        )
    else:
        console.show(f"{done.journeys} journeys, {done.events} events in {done.wall_s:.1f} s")
        for verdict in verdicts:
            observed = "–" if verdict.observed is None else f"{verdict.observed:.3g}"
            console.show(
                f"{verdict.word:13} {verdict.name:36} {observed:>8} limit {verdict.limit:g}"
            )
    return slo.exit_code(word)

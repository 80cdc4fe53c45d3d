"""``fewseconds simulate``: the journeys of a plan in virtual time."""

from __future__ import annotations

import resource
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from fewseconds import age
from fewseconds.commands import console
from fewseconds.errors import EXIT_GATE_FAILED, EXIT_OK

if TYPE_CHECKING:
    from collections.abc import Callable

    from fewseconds.plan import Plan
    from fewseconds.scenario import Scenario
    from sim.simulated import Simulated
    from sim.summary import Summary


class Part(msgspec.Struct, frozen=True):
    """Which engine walks how much of which plan."""

    engine: Literal["simpy", "numba"]
    consumers: int | None
    """A city of so many consumers instead of the scenario's, walked whole."""
    same_stations: bool
    """A larger city has as many servers as the scenario's, instead of so many times as many."""
    journeys: int | None
    """So many journeys around the load window. Neither: numba walks all, SimPy a part."""
    month: int | None
    slow: list[str]
    rows: Path | None = None
    """Where to write all rows of what is walked."""

    def scenario(self, name: str) -> Scenario:
        """The scenario, with the city made smaller or larger."""
        found = console.load(name, self.slow, self.month)
        if self.consumers is None:
            return found
        source = "assumption: given by --consumers"
        factor = self.consumers / found.consumers
        stations = found.stations
        if factor > 1 and not self.same_stations:
            source += f"; servers, queues and rates of all stations times {factor:.4g}"
            stations = {name: station.grown(factor) for name, station in stations.items()}
            console.say(source)
        return msgspec.structs.replace(
            found, consumers=self.consumers, consumers_source=source, stations=stations
        )

    def of(self, whole: Plan) -> Plan:
        """The rows to walk."""
        journeys = self.journeys
        if journeys is None and self.engine == "simpy" and self.consumers is None:
            journeys = whole.scenario.simulate.journeys_max
        return whole if journeys is None else around(whole, journeys)

    def command(self, name: str, seed: int) -> str:
        """What makes the same page again."""
        words = ["fewseconds", "simulate", name, "--seed", str(seed), "--engine", self.engine]
        for option in ("consumers", "journeys", "month"):
            value = getattr(self, option)
            words += [] if value is None else [f"--{option}", str(value)]
        words += ["--same-stations"] if self.same_stations else []
        return shlex.join([*words, *(part for text in self.slow for part in ("--slow", text))])


def around(whole: Plan, journeys: int) -> Plan:
    """Journeys around the load window."""
    return whole.around(whole.busiest_window(), journeys)


def simulate(name: str, seed: int | None, part: Part, out: Path, *, as_json: bool) -> int:
    """Simulate, judge, print and write the page; returns the exit code of the gates."""
    scenario = part.scenario(name)
    seed = scenario.seed if seed is None else seed
    fields = console.header(scenario, seed, part.engine)
    from fewseconds.plan import plan

    whole = plan(scenario, seed)
    walk, startup = part.of(whole), age.Startup()
    with console.progress() as say:
        done = _walked(
            walk, part, startup.noting(lambda count: say("simulating", count / len(walk)))
        )
        from fewseconds import measures, slo
        from fewseconds.commands.simulation_page import write_page
        from fewseconds.report import words
        from sim import engines
        from sim.money import money
        from sim.paired import pairs

        summary = done.summarised(walk)
        say("walking a part row by row, and both ways", 0.9)
        closely, rows = walk, done.outcomes
        if part.engine == "numba":
            closely = around(walk, min(scenario.simulate.journeys_max, len(walk)))
            rows = engines.walk(closely, part.engine).outcomes
        both = pairs(closely, part.engine)
        paise = money(walk, summary.ends)
        say("writing the page", 1.0)
    frame = measures.frame(rows)
    looked_at = (frame, measures.journeys(frame, closely))
    names = {str(objective.measure) for objective in scenario.slo} - {"faster_than_portal"}
    samples = {measure: summary.samples(measure) for measure in sorted(names)}
    samples["faster_than_portal"] = both.faster
    verdicts = slo.judge_all(scenario.slo, "simulated", samples, slo.Validity(valid=True))
    word = slo.overall(verdicts)
    place = (out, part.engine, part.command(name, seed))
    judged = (samples, verdicts)
    report = write_page(whole, walk, summary, paise, looked_at, both, judged, place)
    if as_json:
        counted = _counted(done, summary, startup)
        judged_as = [msgspec.to_builtins(verdict) for verdict in verdicts]
        console.print_json(
            fields
            | {"consumers": scenario.consumers, **counted, "paise": paise}
            | {"rows": None if part.rows is None else str(part.rows)}
            | {"slo": judged_as, "word": word, "report": str(report)}
        )
    else:
        told = f"{summary.journeys} journeys, {summary.events} events in {summary.wall_s:.1f} s"
        console.show(told)
        console.show(words.paid(paise).replace(words.NBSP, " "))
        console.show_verdicts(verdicts)
        console.say(f"Report: {report}")
    return slo.exit_code(word)


def _counted(done: Simulated, summary: Summary, startup: age.Startup) -> dict[str, Any]:
    """What the walk counted and took, as fields for JSON."""
    return {
        "journeys": done.journeys,
        "events": done.events,
        "wall_s": done.wall_s,
        "compile_s": done.compile_s,
        **startup.fields(),
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "fates": summary.fates,
    }


def _walked(walk: Plan, part: Part, progress: Callable[[int], None]) -> Simulated:
    """Walk the plan; its rows go into a file if one is wanted."""
    from sim import engines

    if part.rows is None:
        return engines.walk(walk, part.engine, progress, rows=part.engine == "simpy")
    from sim.rows_file import RowsFile

    with RowsFile(part.rows) as file:
        if part.engine == "numba":
            return engines.walk(walk, part.engine, progress, sink=file.take)
        # What SimPy's walk comes to is computed from its rows, so these are kept as well.
        done = engines.walk(walk, part.engine, progress)
        file.take(done.outcomes)
        return done


def check_engines(name: str, seed: int | None, part: Part, *, as_json: bool) -> int:
    """Walk a part of the plan in both engines; 0 if every column of every row is the same."""
    scenario = part.scenario(name)
    seed = scenario.seed if seed is None else seed
    fields = console.header(scenario, seed, "numba+simpy")
    from fewseconds.plan import plan
    from sim.equality import compare

    walk = msgspec.structs.replace(part, engine="simpy").of(plan(scenario, seed))
    with console.progress() as say:
        found = compare(walk, lambda count: say("walking in both engines", count / len(walk)))
    same = found.different == 0 and found.events[0] == found.events[1]
    if as_json:
        console.print_json(fields | {"journeys": len(walk)} | msgspec.to_builtins(found))
    else:
        console.show(f"{found.compared} rows compared, {found.different} different")
        for engine, row in zip(("numba", "simpy"), found.first or (), strict=False):
            console.show(f"{engine}: {row}")
    return EXIT_OK if same else EXIT_GATE_FAILED

"""The job of playing a plan, alone or as one of a crew: orders, share, play, report.

Worker i of n plays rows i, i + n, i + 2n, … of the same plan. Workers need no files: they are sent
their rows, and what a worker on another host wrote down is sent back.
"""

from __future__ import annotations

import io
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gevent
import msgspec
import pyarrow.parquet as pq

from fewseconds import garbage, plan_start
from fewseconds.acknowledgements import Acknowledgements
from fewseconds.outcomes import Writer
from fewseconds.plan import Plan
from fewseconds.scenario import Scenario
from fewseconds.schedule import portion
from loadtests import corpus, crew, series, stock_statistics
from loadtests.busyness import Busyness
from loadtests.client import Client, transport
from loadtests.dispatcher import Dispatcher
from loadtests.journey_recorder import JourneyRecorder, JourneyReport
from loadtests.journey_recorder import together as whole
from loadtests.onlookers import Onlookers
from loadtests.plain import EVERYBODY, orders
from loadtests.scans import Printed, Scans
from loadtests.spec import SPEC_VARIABLE, Clock, LoadSpec, LoadSummary, read_spec, together
from loadtests.standing import Standing, objectives
from loadtests.world import World

if TYPE_CHECKING:
    import pyarrow as pa

    from loadtests.notes import Notes
    from loadtests.plain import Part
    from loadtests.tracing import Tracer

PARENT_LOOK_S = 1.0
TURN_S = 1.0


class Order(msgspec.Struct, frozen=True):
    """What a worker is sent."""

    spec: LoadSpec
    scenario: bytes
    rows: bytes
    """Its share of the plan, as Parquet."""
    boot: str
    scans: bytes = b""
    """Those of its rows, if they were decoded before."""


class Share(msgspec.Struct, frozen=True):
    """What a worker sends back."""

    summary: LoadSummary
    outcomes: bytes
    """Its file of outcomes, from another host only …"""
    acknowledgements: bytes = b""
    """… and what its payers were told."""
    seen: JourneyReport = JourneyReport()
    standing: Standing | None = None
    """Where the run stood at its end, if anybody looked on."""


class Journeys:
    """The job of :mod:`loadtests.crew`: play a plan."""

    def __init__(self, environment: Any) -> None:  # noqa: ANN401 - Locust's environment is untyped
        """Know where Locust wants to hear of requests."""
        self._environment = environment
        self._from_file = bool(os.environ.get(SPEC_VARIABLE))
        self._heard = environment.events.request.fire
        self.onlookers = Onlookers(environment)
        self._notes: Notes | None = None
        self._tracer: Tracer | None = None
        self._plan: Plan | None = None
        self._scans_before: pa.Table | None = None
        self._dispatcher: Dispatcher | None = None
        self._aborted, self._broken_s = False, 0.0
        self._broken: tuple[str, ...] = ()

    def begin(self) -> None:
        """Take the orders of a new run: from the file that the environment names, or from Locust.

        Raises UsageError for options that make no sense, MalformedError for files that make none.
        """
        if self._from_file:
            self._orders = read_spec(os.environ.get(SPEC_VARIABLE))
        else:
            parts: list[Part] = [one.part for one in self._environment.user_classes]
            # With nothing picked, Locust runs all classes; everybody is in one of them already.
            if EVERYBODY in parts:
                parts = [EVERYBODY]
            self._orders = orders(self._environment.parsed_options, parts)
        self._plan, self._scans_before = None, None
        self._broken_s, self._broken = 0.0, ()

    def order(self, index: int, count: int) -> bytes:
        """The rows of worker ``index``, and everything it has to know about them."""
        spec = self._orders
        telemetry = spec.telemetry
        notes = (
            bool(telemetry.metrics)
            or spec.abort_after_s > 0
            or self.onlookers.wanted
            or not self._from_file
        )
        spec = msgspec.structs.replace(
            spec, telemetry=msgspec.structs.replace(telemetry, notes=notes)
        )
        if self._plan is None:
            self._plan = spec.load_plan()
            self._scans_before = corpus.read(Path(spec.corpus))[1] if spec.corpus else None
            self.onlookers.begin(self._plan.scenario, telemetry.metrics)
        rows = io.BytesIO()
        mine = self._plan.share(index, count)
        pq.write_table(mine.table, rows)
        scenario = Path(spec.scenario).read_bytes()
        scans = b"" if self._scans_before is None else corpus.share(self._scans_before, mine)
        return msgspec.msgpack.encode(Order(spec, scenario, rows.getvalue(), crew.boot(), scans))

    def prepare(self, order: bytes, index: int, count: int) -> None:
        """Open clients and have scans made until they are far enough ahead."""
        told = msgspec.msgpack.decode(order, type=Order)
        self._spec = spec = told.spec
        scenario = _with_portion(msgspec.json.decode(told.scenario, type=Scenario), index, count)
        plan = Plan(scenario, spec.seed, pq.read_table(io.BytesIO(told.rows)))
        self._here = told.boot == crew.boot() and Path(spec.scenario).exists()
        elsewhere = Path(tempfile.mkdtemp(prefix="fewseconds-load-")) if not self._here else None
        folder = Path(spec.outcomes) if elsewhere is None else elsewhere / "outcomes"
        strip = Path(spec.strip) if elsewhere is None else elsewhere / "strip"
        make = transport(spec.client)
        connections = scenario.load.in_flight_max
        clients = {
            name: Client(url, connections, self._heard, make, spec.outside.headers.get(name, {}))
            for name, url in msgspec.structs.asdict(spec.targets).items()
            if url
        }
        process = "load" if count == 1 else f"load-{index}"
        self._writer = Writer(folder, process)
        told_to = Path(spec.acknowledgements or folder / "acknowledgements")
        self._told = Acknowledgements(told_to if self._here else folder, process)
        if self._here:
            gevent.spawn(end_with, spec.parent, self._writer)
        self._scans = _scans(told, plan, strip, 0 if index else spec.strip_count)
        self._clock = Clock(0)
        self._world = World(
            plan, self._clock, clients, self._scans, self._writer, spec.token,
            told=self._told, outside=spec.outside,
        )  # fmt: skip
        waiting = frozenset(name for name, step in scenario.steps.items() if step.delay_ms > 0)
        self._recorder = JourneyRecorder(spec.window_us[0], waiting)
        self._world.onlookers += (self._recorder,)
        self._look_on(spec, scenario)
        self._scans.wait_until_ahead((spec.window_us[1] - spec.window_us[0]) / 1e6)

    def _look_on(self, spec: LoadSpec, scenario: Scenario) -> None:
        # Tables, reports and OpenTelemetry are loaded only where somebody looks on.
        if spec.telemetry.notes:
            from loadtests.notes import Notes  # noqa: PLC0415

            self._notes = Notes(scenario, spec.seed)
            self._world.onlookers += (self._notes,)
            self.onlookers.follow(self._notes)
        if spec.telemetry.otlp:
            from loadtests.tracing import Tracer  # noqa: PLC0415

            # The folder's name holds the time, so runs of one seed do not share their traces.
            self._tracer = Tracer(scenario, spec.seed, spec.outcomes, self._clock, spec.telemetry)
            self._world.onlookers += (self._tracer,)
            self._world.traces = self._tracer

    def announce(self, epoch_us: int) -> None:
        """Tell the services that were started for this load what time it is."""
        spec = self._orders
        if spec.start_file:
            plan_start.tell(Path(spec.start_file), epoch_us - spec.window_us[0])

    def play(self, epoch_us: int) -> bytes:
        """Play the rows and write what happened."""
        spec, scans = self._spec, self._scans
        self._clock.epoch_us = epoch_us - spec.window_us[0]
        self._dispatcher = dispatcher = Dispatcher(self._world, spec.window_us)
        self._aborted = False
        if self._notes is not None:
            self._notes.counts, self._notes.waits = dispatcher.counts, dispatcher.waits
            self._notes.keep_up()
        if self._tracer is not None:
            self._tracer.begin()
        garbage.settle()
        busyness = Busyness((spec.window_us[1] - spec.window_us[0]) / 1e6)
        if self._notes is not None:
            self._notes.cpu_share = lambda: busyness.share_so_far
        turning = gevent.spawn(self._turn, busyness)
        try:
            dispatcher.run()
        finally:
            busyness.look()
            turning.kill()
            if self._notes is not None:
                self._notes.close()
            if self._tracer is not None:
                self._tracer.close()
            scans.close()
            written, heard = self._writer.close(), self._told.close()
        summary = LoadSummary(
            epoch_us=self._clock.epoch_us,
            intended=dispatcher.intended,
            started=dispatcher.started,
            dropped=dispatcher.dropped,
            in_flight_integral_s=dispatcher.in_flight_integral_s,
            in_flight_variance_s2=dispatcher.in_flight_variance_s2,
            in_flight_max=dispatcher.in_flight_max,
            cpu_s=busyness.cpu_s,
            wall_s=busyness.wall_s,
            cpu_share_max=busyness.share_max,
            misreads=scans.misreads,
            typed=scans.typed,
            aborted=self._aborted,
            retried=sum(one.retried for one in self._world.clients.values()),
        )
        seen = self._recorder.report()
        standing = None if self._notes is None else self._notes.standing()
        if self._here:
            return msgspec.msgpack.encode(Share(summary, b"", seen=seen, standing=standing))
        said = heard.read_bytes() if heard.exists() else b""
        return msgspec.msgpack.encode(Share(summary, written.read_bytes(), said, seen, standing))

    def _turn(self, busyness: Busyness) -> None:
        while True:
            gevent.sleep(TURN_S)
            busyness.look()
            self._recorder.turn()

    def enough(self) -> bool:
        """Whether a gate of the whole run has been broken for too long; only who leads can see."""
        stock_statistics.forget(self._environment.stats)
        scenario = self.onlookers.scenario
        if scenario is None or not self._orders.abort_after_s:
            return False
        found = objectives(scenario, self.onlookers.standing())
        self._broken = tuple(one.name for one in found if one.gate and one.word == "fail")
        self._broken_s = self._broken_s + crew.ASK_S if self._broken else 0.0
        return self._broken_s >= self._orders.abort_after_s

    def stop(self) -> None:
        """Start nothing more."""
        self._aborted = True
        if self._dispatcher is not None:
            self._dispatcher.abort()

    def finish(self, reports: dict[int, bytes], facts: crew.CrewFacts, epoch_us: int) -> None:
        """Put everything where whoever started us looks for it."""
        spec = self._orders
        shares = {
            index: msgspec.msgpack.decode(data, type=Share) for index, data in reports.items()
        }
        self.onlookers.conclude([one.standing for one in shares.values() if one.standing])
        for index, share in shares.items():
            if share.outcomes:
                folder = Path(spec.outcomes)
                folder.mkdir(parents=True, exist_ok=True)
                (folder / f"load-{index}.parquet").write_bytes(share.outcomes)
            if share.acknowledgements and spec.acknowledgements:
                folder = Path(spec.acknowledgements)
                folder.mkdir(parents=True, exist_ok=True)
                (folder / f"load-{index}.jsonl").write_bytes(share.acknowledgements)
        summary = None
        if shares:
            summary = msgspec.structs.replace(
                together(
                    [share.summary for share in shares.values()], epoch_us - spec.window_us[0]
                ),
                workers=facts.workers,
                lost=facts.lost,
                refused=facts.refused,
                clock_uncertainty_us=facts.clock_uncertainty_us,
                broken=self._broken,
            )
            series.keep(whole([share.seen for share in shares.values()]), Path(spec.seen))
            Path(spec.summary).write_bytes(msgspec.json.encode(summary))
        if not self._from_file:
            self._say_verdict(summary, facts.lost)

    def _say_verdict(self, summary: LoadSummary | None, lost: tuple[str, ...]) -> None:
        # It brings tables with it, which a generator at work does without.
        from loadtests import verdict  # noqa: PLC0415

        assert self._plan is not None  # noqa: S101 - a run has ended
        work = verdict.found, (self._orders, self._plan, summary, lost)
        said = gevent.get_hub().threadpool.apply(*work)
        verdict.say(said, Path(self._orders.outcomes).parent)
        self.onlookers.said = said
        self._environment.process_exit_code = said.exit_code


def _scans(
    told: Order, plan: Plan, strip: Path, strip_count: int
) -> Scans | Printed | corpus.Corpus:
    own = told.spec.outside.bills
    if told.scans:
        return corpus.Corpus(told.scans)
    if told.spec.decoding == "printed":
        return Printed(plan, own)
    return Scans(plan, strip, strip_count, own)


def _with_portion(scenario: Scenario, index: int, count: int) -> Scenario:
    """The scenario with a worker's portion of the journeys that may be under way at once."""
    most = portion(scenario.load.in_flight_max, index, count)
    load = msgspec.structs.replace(scenario.load, in_flight_max=most)
    return msgspec.structs.replace(scenario, load=load)


def end_with(parent: int, writer: Writer) -> None:
    """End when whoever started us has been killed: nobody wants our load any more."""
    while not parent or Path(f"/proc/{parent}").exists():
        gevent.sleep(PARENT_LOOK_S)
    writer.flush()
    crew.leave()

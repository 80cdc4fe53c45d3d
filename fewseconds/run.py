"""The main job: plan, services, a window of real load, the same in virtual time, the verdict."""

from __future__ import annotations

import contextlib
import datetime as dt
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import polars as pl

from fewseconds import checks, junit, markdown, measures, outcomes, report, slo, validity
from fewseconds.commit import commit, versions
from fewseconds.errors import HarnessError, UsageError
from fewseconds.plan import Plan, plan
from fewseconds.promise import DEAD
from fewseconds.real_target import RealTarget
from fewseconds.record import Check, Evidence, Generator, Record
from fewseconds.resident import Resident
from fewseconds.results import new_folder
from fewseconds.shapes import Shape
from loadtests import corpus
from loadtests.launch import Generator as LoadProcess
from loadtests.spec import LoadSummary, Telemetry, notes, unplayable
from mock_psp import auditor, receipts, serve
from mock_psp.journal import await_callbacks
from mock_psp.receipts import Receipts
from mock_psp.spec import Folder, forget_given
from sim.paired import pairs
from sim.reference import simulate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np
    from numpy.typing import NDArray

    from fewseconds.scenario import Scenario
    from sim.simulated import Simulated

    Say = Callable[[str, float], None]

CAMERA_JOURNEYS_MAX = 20_000
"""Photographing so many bills takes about ten minutes of both processors of a small machine."""
IN_FLIGHT_S = 120
"""Longer than nearly all journeys; those that wait for a portal or a lost SMS are few."""
SERVICES_LEAD_US = 5_000_000
"""What the services' clock shows before the window at their start, until they are told when it
begins."""


class LoadWish(msgspec.Struct, frozen=True, kw_only=True):
    """How the load is to be put on; the defaults are those of ``fewseconds run``."""

    shape: Shape = Shape()
    processes: int = 1
    client: str = "lean"
    decoding: str = "auto"
    """``camera``, ``printed``, or ``auto``: the camera unless there are too many bills for it."""
    corpus: str = ""
    """File of scans that were decoded before; if there is one, they are taken."""
    abort_after_s: float = 0.0
    """Once a gate has been broken for so long, nothing more is started; 0 is never."""
    in_flight_max: int = 0
    """0 is the scenario's own, or two minutes of journeys where the rate is given."""
    telemetry: Telemetry = Telemetry()
    real: RealTarget | None = None
    """Parties and bills that are not ours."""


def with_room(window: Plan, wish: LoadWish) -> Plan:
    """The same journeys, with as many allowed in flight as asked for."""
    load = window.scenario.load
    rates = [wish.shape.constant_rate, *(stage.rate_per_s for stage in wish.shape.stages)]
    most = wish.in_flight_max or max(load.in_flight_max, round(max(rates) * IN_FLIGHT_S))
    load = msgspec.structs.replace(load, in_flight_max=most)
    scenario = msgspec.structs.replace(window.scenario, load=load)
    return Plan(scenario, window.seed, window.table)


class Stage:
    """A run on its way: its folder, its plan and what it has found so far."""

    def __init__(
        self, scenario: Scenario, seed: int, results: Path, say: Say, wish: LoadWish | None = None
    ) -> None:
        """Plan it; raises UsageError if the results cannot be written."""
        self.seed, self.say = seed, say
        self.wish = wish or LoadWish()
        say("planning", 0.0)
        whole = plan(scenario, seed)
        self.growth = self.wish.shape.growth(whole)
        self.whole = self.wish.shape.world(whole)
        self.scenario = scenario = self.whole.scenario
        real = self.wish.real or RealTarget()
        self.window, self.window_us = real.window(self.whole, self.wish.shape)
        self.window = with_room(self.window, self.wish)
        strange = unplayable(scenario)
        if strange:
            raise UsageError("\n".join(f"{scenario.name}: {line}" for line in strange))
        self.receipts = Receipts(0, 0)
        self.decoding = self._decoding()
        self.corpus = self._corpus(real)
        self.folder = new_folder(results, scenario.name)
        self.resident = Resident()

    def _decoding(self) -> str:
        """What is asked for, or whatever so many bills allow."""
        if self.wish.corpus:
            return "corpus"
        if self.wish.decoding != "auto":
            return self.wish.decoding
        return "camera" if len(self.window) <= CAMERA_JOURNEYS_MAX else "printed"

    def _corpus(self, real: RealTarget) -> corpus.Made | None:
        """Where the scans come from that were decoded before; raises UsageError if not for this."""
        if not self.wish.corpus:
            return None
        own = real.outside().bills
        return corpus.fitting(Path(self.wish.corpus), self.window, self.plan_hash, own)

    @property
    def plan_hash(self) -> str:
        """What tells this plan from every other, with the bills that it pays."""
        return (self.wish.real or RealTarget()).plan_hash(self.whole)

    def play(self) -> tuple[LoadSummary | None, list[str]]:
        """Play the window against the services; the generator's count, and troubles."""
        troubles: list[str] = []
        summary = None
        real = self.wish.real or RealTarget()
        if real.hook is not None:
            self.say("resetting the biller", 0.0)
            real.hook.carry_out(real.tls())
        self.say("starting the services", 0.0)
        try:
            with serve.start(
                self.scenario,
                self.seed,
                self.folder,
                plan_origin_us=self.window_us[0] - SERVICES_LEAD_US,
                only=real.ours,
                options=real.options(),
            ) as services:
                summary = self._load(services, real)
                troubles += summary.lost
                self.say("stopping the services", 1.0)
        except HarnessError as error:
            troubles.append(str(error))
        return summary, troubles

    def measure(self) -> tuple[pl.DataFrame, LoadSummary | None, list[str]]:
        """As :meth:`play`, with all rows."""
        summary, troubles = self.play()
        return measures.frame(outcomes.read(self.folder / "outcomes")), summary, troubles

    def _load(self, services: serve.Services, real: RealTarget) -> LoadSummary:
        # The token of our own gateway is nobody else's business.
        token = "" if real.sms_url else services.token
        length_s = (self.window_us[1] - self.window_us[0]) / 1e6 + 20.0
        begun = time.monotonic()

        def look() -> None:
            died = services.poll()
            if died is not None:
                message = (
                    f"{died.service}: ended by itself with {died.exit_code} in the middle of the "
                    f"run; its log ends\n{died.log_tail}"
                )
                raise HarnessError(message)
            self.resident.look(services.pids | load.pids)
            self.say("paying for real", min((time.monotonic() - begun) / length_s, 0.99))

        wish = self.wish
        with LoadProcess(
            self.folder, self.window, self.window_us, real.targets(services.urls), token,
            processes=wish.processes, client=wish.client, decoding=self.decoding,
            corpus=wish.corpus and str(Path(wish.corpus).resolve()),
            telemetry=wish.telemetry, abort_after_s=wish.abort_after_s,
            outside=real.outside(), start_file=str(services.folder.start),
        ) as load:  # fmt: skip
            summary = load.wait(look)
        if real.biller is not None and not real.psp_url:
            self.say("waiting for callbacks", 0.99)
            await_callbacks(self.folder / "journal.jsonl", self.scenario.load.drain_s)
        if real.biller is not None and real.adapter is not None:
            self.say("asking for receipts", 0.99)
            place = Folder(self.folder)
            self.receipts = receipts.collect(
                real.biller.url, real.adapter, place.acknowledgements, place.receipts
            )
        return summary

    @contextlib.contextmanager
    def discreet(self) -> Iterator[None]:
        """However it ends, the folder does not keep what a person has entrusted to the run."""
        try:
            yield
        finally:
            forget_given(self.folder / "secrets.json")

    def virtual(self) -> tuple[Simulated, Plan]:
        """Walk the rows around the window in virtual time."""
        around = self.whole.around(self.window_us, self.scenario.simulate.journeys_max)
        simulated = simulate(around, lambda done: self.say("simulating", done / len(around)))
        return simulated, around


def run(
    scenario: Scenario,
    seed: int,
    results: Path,
    command: str,
    say: Say,
    tries: int = 1,
    wish: LoadWish | None = None,
) -> tuple[Record, Path]:
    """Run ``scenario`` once; returns its record and its folder, which holds everything else."""
    started_at, begun = dt.datetime.now(dt.UTC), time.monotonic()
    stage = Stage(scenario, seed, results, say, wish)
    with stage.discreet():
        return _run(stage, command, tries, started_at, begun), stage.folder


def _run(stage: Stage, command: str, tries: int, started_at: dt.datetime, begun: float) -> Record:
    scenario, seed, say = stage.scenario, stage.seed, stage.say
    measured, summary, troubles = stage.measure()
    simulated, around = stage.virtual()
    say("auditing the ledger", 0.0)
    evidence = _evidence(stage, measured, simulated)
    samples = _samples(stage, evidence)
    facts, valid = _kept(stage, measured, summary, troubles, samples)
    dead = not troubles and validity.all_refused(evidence.measured_journeys)
    weighed = slo.Validity(valid=True) if dead else valid
    verdicts = _verdicts(stage, samples, weighed, simulated, around)
    found = checks.all_checks(
        stage.whole, evidence, summary.misreads if summary else None
    ) + _audit(stage.folder, troubles)
    word = "inconclusive" if troubles else _word(verdicts, found, valid)
    record = Record(
        scenario=scenario.name,
        scenario_hash=scenario.digest,
        title=scenario.title,
        description=scenario.description,
        seed=seed,
        plan_hash=stage.plan_hash,
        commit=commit(),
        versions=versions(),
        command=command,
        started_at=started_at,
        wall_s=time.monotonic() - begun,
        window_us=stage.window_us,
        word=word,
        exit_code=slo.exit_code(word),
        summary=checks.summary(word, verdicts, found, valid),
        verdicts=tuple(verdicts),
        validity=valid,
        checks=tuple(found),
        generator=facts,
        measured_journeys=len(stage.window),
        simulated_journeys=simulated.journeys,
        simulated_wall_s=simulated.wall_s,
        tries=tries,
        notes=(
            *_about_parties(stage),
            *notes(summary),
            *((DEAD,) if dead else ()),
            *checks.notes(scenario, summary.typed if summary else None),
        ),
    )
    say("writing the report", 0.0)
    (stage.folder / "record.json").write_bytes(msgspec.json.format(msgspec.json.encode(record)))
    outcomes.write(simulated.outcomes, stage.folder / "simulated.parquet")
    report.write(stage.folder, scenario, record, evidence)
    junit.write(stage.folder, record)
    markdown.write(stage.folder, record)
    return record


def _evidence(stage: Stage, measured: pl.DataFrame, simulated: Simulated) -> Evidence:
    client = measured.filter(pl.col("observer") == "client")
    virtual = measures.frame(simulated.outcomes).filter(
        pl.col("journey_id").is_in(stage.window.table["journey_id"].to_pylist())
    )
    strip = stage.folder / "strip"
    return Evidence(
        plan=stage.window,
        measured=measured,
        measured_journeys=measures.journeys(client, stage.window),
        simulated=virtual,
        simulated_journeys=measures.journeys(virtual, stage.window),
        strip=strip if (strip / "strip.json").exists() else None,
    )


def _plain(scenario: Scenario) -> list[str]:
    """Measures that one journey alone can be judged by."""
    return sorted({str(one.measure) for one in scenario.slo} - {"faster_than_portal"})


def _samples(stage: Stage, evidence: Evidence) -> dict[str, NDArray[np.float64]]:
    unmeasured = stage.wish.real.unmeasured() if stage.wish.real else ()
    return {
        name: measures.samples(name, evidence.measured_journeys, evidence.measured)
        for name in _plain(stage.scenario)
        if name not in unmeasured
    }


def _kept(
    stage: Stage,
    measured: pl.DataFrame,
    summary: LoadSummary | None,
    troubles: list[str],
    real: dict[str, NDArray[np.float64]],
) -> tuple[Generator | None, slo.Validity]:
    if summary is None:
        return None, slo.Validity(valid=False, reasons=tuple(troubles))
    scenario = stage.scenario
    client = measured.filter(pl.col("observer") == "client")
    server = measured.filter(pl.col("observer") == "server")
    facts = validity.generator(scenario, client, server, msgspec.structs.asdict(summary))
    mocked = [name for name, s in scenario.stations.items() if s.role == "mocked"]
    visits = server.filter(pl.col("station").is_in(mocked)).height
    return facts, validity.before(scenario.slo, real, facts, visits, troubles)


def _verdicts(
    stage: Stage,
    real: dict[str, NDArray[np.float64]],
    valid: slo.Validity,
    simulated: Simulated,
    around: Plan,
) -> list[slo.Verdict]:
    rows = measures.frame(simulated.outcomes)
    walked = measures.journeys(rows, around)
    virtual = {name: measures.samples(name, walked, rows) for name in _plain(stage.scenario)}
    if any(one.measure == "faster_than_portal" for one in stage.scenario.slo):
        virtual["faster_than_portal"] = pairs(around).faster
    return [
        *slo.judge_all(stage.scenario.slo, "measured", real, valid),
        *slo.judge_all(stage.scenario.slo, "simulated", virtual, slo.Validity(valid=True)),
    ]


def _audit(folder: Path, troubles: list[str]) -> list[Check]:
    try:
        audit = auditor.audit(folder)
    except HarnessError as error:
        troubles.append(str(error))
        return [Check("the ledger can be audited", passed=False, checked=0, first=(str(error),))]
    return [
        Check(check.name, check.passed, check.checked, check.violations, tuple(check.first))
        for check in audit.checks
    ]


def _about_parties(stage: Stage) -> Iterator[str]:
    """Which parties are not ours, and what the audit could not judge because of it."""
    if stage.wish.real is None:
        return
    yield from (*stage.wish.real.notes(), *stage.receipts.notes())
    with contextlib.suppress(HarnessError):
        for one in auditor.audit(stage.folder).unchecked:
            yield f"Not checked: {one.name} ({one.why})."


def _word(verdicts: list[slo.Verdict], found: list[Check], valid: slo.Validity) -> slo.Word:
    """The word for a run that went to its end.

    A broken invariant is a failure even when the generator was too slow for latencies to count.
    """
    if any(check.gate and not check.passed for check in found):
        return "fail"
    word = slo.overall(verdicts)
    return "inconclusive" if word == "pass" and not valid.valid else word

"""Load alone: a plan in one of its shapes against the services, judged and audited.

No simulation and no page: for long runs, more processes, and rates that are not the plan's.
"""

from __future__ import annotations

import datetime as dt
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from fewseconds import checks, junit, markdown, slo
from fewseconds.commit import commit, versions
from fewseconds.errors import HarnessError
from fewseconds.promise import DEAD
from fewseconds.record import Check, Generator, Record
from fewseconds.resident import Growth, Look
from fewseconds.run import LoadWish, Stage
from fewseconds.tally import judged
from loadtests.probe import Latency
from loadtests.series import latencies
from loadtests.spec import SEEN, notes
from mock_psp import auditor
from mock_psp.auditor import Unchecked

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fewseconds.run import Say
    from fewseconds.scenario import Scenario


DECODING: Final = {
    "camera": "every bill was photographed and decoded, by processes of their own",
    "corpus": "every bill had been photographed and decoded before the run",
    "printed": "no bill was photographed: phones took the printed text, after as many frames, of "
    "such lengths, as the camera's measured law gives",
}


class LoadRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What a run of load alone has found."""

    word: slo.Word
    exit_code: int
    load: str
    """What the load was, in words."""
    decoding: str
    """What was really decoded, in words."""
    plan_hash: str
    aborted: bool
    """Whether it was stopped because a gate had been broken for too long."""
    notes: tuple[str, ...]
    """Parties that are not ours, and what is not measured, one sentence each."""
    verdicts: tuple[slo.Verdict, ...]
    validity: slo.Validity
    checks: tuple[Check, ...]
    unchecked: tuple[Unchecked, ...]
    """Rules of the audit that nothing was there to judge by."""
    generator: Generator | None
    workers: int
    journeys: int
    rows: int
    """Outcome rows of clients and services."""
    fates: dict[str, int]
    journeys_per_s: float
    retried: int
    """Requests that went out again after a server had hung up on their kept connection."""
    cpu_ms_per_journey: float | None
    """Of the generator."""
    steps: dict[str, Latency]
    """Quantiles in milliseconds over the whole run, of ``step/NAME`` and ``sent/NAME`` (attempts,
    from when they were due and from when they began), ``journey/KIND`` and ``lag``; second by
    second they are in ``series.parquet``."""
    growth: dict[str, Growth]
    """Resident memory of generator and services once they were warm."""
    memory: list[Look]
    folder: str


def run(
    scenario: Scenario, seed: int, results: Path, wish: LoadWish, say: Say, command: str
) -> LoadRecord:
    """Put the load on once; raises UsageError for a shape that makes no sense.

    ``command`` is the command line that repeats it. Rows are read a group of journeys at a time, so
    the whole city needs no more memory than a day.
    """
    started_at, begun_s = dt.datetime.now(dt.UTC), time.monotonic()
    stage = Stage(scenario, seed, results, say, wish)
    with stage.discreet():
        record = _found(stage)
        said = as_record(stage, record, started_at, time.monotonic() - begun_s, command)
        junit.write(stage.folder, said)
        markdown.write(stage.folder, said)
    return record


def _found(stage: Stage) -> LoadRecord:
    """Play, judge, audit and write it down."""
    wish, say = stage.wish, stage.say
    summary, troubles = stage.play()
    say("reading the outcomes", 0.0)
    unmeasured = wish.real.unmeasured() if wish.real else ()
    told = None if summary is None else msgspec.structs.asdict(summary)
    judgement = judged(stage.folder / "outcomes", stage.window, told, troubles, unmeasured)
    found, valid, verdicts = judgement.tally, judgement.validity, judgement.verdicts
    say("auditing the ledger", 0.0)
    held, unchecked, broken = _audited(stage.folder)
    aborted = summary is not None and summary.aborted
    word = found_word(verdicts, held, valid, broken=broken or bool(troubles), aborted=aborted)
    window_s = (stage.window_us[1] - stage.window_us[0]) / 1e6
    record = LoadRecord(
        word=word,
        exit_code=slo.exit_code(word),
        load=wish.shape.says(),
        decoding=DECODING[stage.decoding],
        plan_hash=stage.plan_hash,
        aborted=aborted,
        notes=(
            *(wish.real.notes() if wish.real else ()),
            *notes(summary),
            *((DEAD,) if judgement.dead else ()),
            *stage.receipts.notes(),
            *_grown(stage.growth),
            *_about_scans(stage),
        ),
        verdicts=verdicts,
        validity=valid,
        checks=tuple(held),
        unchecked=tuple(unchecked),
        generator=judgement.generator,
        workers=summary.workers if summary else wish.processes,
        journeys=len(stage.window),
        rows=found.rows,
        fates=dict(sorted(found.fates.items())),
        journeys_per_s=len(stage.window) / window_s,
        retried=summary.retried if summary else 0,
        cpu_ms_per_journey=_cpu_ms(summary),
        steps=latencies(stage.folder / SEEN),
        growth=stage.resident.growth(),
        memory=stage.resident.looks,
        folder=str(stage.folder),
    )
    (stage.folder / "load_record.json").write_bytes(
        msgspec.json.format(msgspec.json.encode(record))
    )
    return record


def as_record(
    stage: Stage, found: LoadRecord, started_at: dt.datetime, wall_s: float, command: str
) -> Record:
    """The same in the form that JUnit and Markdown are made of: a run without a simulation."""
    scenario = stage.scenario
    found_checks = (*found.checks, *ending(found.word, stage.wish.abort_after_s, found.aborted))
    # A gate that is broken in the end says more than that the run was stopped because of it.
    telling = found.checks if slo.overall(found.verdicts) == "fail" else found_checks
    return Record(
        scenario=scenario.name,
        scenario_hash=scenario.digest,
        title=scenario.title,
        description=scenario.description,
        seed=stage.seed,
        plan_hash=found.plan_hash,
        commit=commit(),
        versions=versions(),
        command=command,
        started_at=started_at,
        wall_s=wall_s,
        window_us=stage.window_us,
        word=found.word,
        exit_code=found.exit_code,
        summary=checks.summary(found.word, found.verdicts, telling, found.validity),
        verdicts=found.verdicts,
        validity=found.validity,
        checks=found_checks,
        generator=found.generator,
        measured_journeys=found.journeys,
        simulated_journeys=0,
        simulated_wall_s=0.0,
        notes=(f"The load was {found.load}.", *found.notes),
    )


def ending(word: slo.Word, abort_after_s: float, aborted: bool) -> tuple[Check, ...]:  # noqa: FBT001
    """That a run which may be stopped was not, as a case that machines count.

    Gates can come right after it was stopped, and it has failed all the same.
    """
    if not abort_after_s:
        return ()
    why = (f"a gate had been broken for {abort_after_s:g} s, as --abort-after has it",)
    name = "the run went to its end"
    return (Check(name, not aborted, 1, int(aborted), why * aborted, gate=word == "fail"),)


def _grown(factor: float) -> tuple[str, ...]:
    """What a reader must know about mocked parties that are not the scenario's size."""
    if factor == 1.0:
        return ()
    words = (
        f"Servers, queues and rates of mocked parties are {factor:.4g} times the scenario's: so "
        "much faster than its busiest hour is the plan played. Measured services are as they are."
    )
    return (words,)


def _about_scans(stage: Stage) -> tuple[str, ...]:
    return () if stage.corpus is None else (stage.corpus.says(stage.wish.corpus),)


def _cpu_ms(summary: Any) -> float | None:  # noqa: ANN401 - a LoadSummary or None
    # The processor time is the busiest worker's, who had its share of the journeys.
    if summary is None or not summary.started:
        return None
    return float(summary.cpu_s * 1e3 * summary.workers / summary.started)


def _audited(folder: Path) -> tuple[list[Check], tuple[Unchecked, ...], bool]:
    try:
        audit = auditor.audit(folder)
    except HarnessError as error:
        message = str(error)
        failed = Check("the ledger can be audited", passed=False, checked=0, first=(message,))
        return [failed], (), True
    checks = [
        Check(one.name, one.passed, one.checked, one.violations, tuple(one.first))
        for one in audit.checks
    ]
    return checks, audit.unchecked, False


def found_word(
    verdicts: Sequence[slo.Verdict], held: Sequence[Check], valid: slo.Validity, *, broken: bool,
    aborted: bool,
) -> slo.Word:  # fmt: skip
    """The word for a run of load alone.

    ``broken``: the harness or the audit failed; ``aborted``: it was stopped because a gate had been
    broken for too long, so it has failed also where the gates came right before the end.
    """
    if broken:
        return "inconclusive"
    if any(check.gate and not check.passed for check in held):
        return "fail"
    word = slo.overall(verdicts)
    if word != "fail" and not valid.valid:
        return "inconclusive"
    return "fail" if aborted else word

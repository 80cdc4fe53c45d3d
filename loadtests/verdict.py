"""The verdict on a run that a person started with stock Locust: in its log and in its folder.

It is that of ``fewseconds load run``: the same rows, judged by the same function, with the verdict
before it. What it lacks is the audit, which belongs to whoever started the services.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from fewseconds import slo, tally
from fewseconds.promise import DEAD
from fewseconds.record import Generator
from fewseconds.report import words
from fewseconds.slo import Validity, Verdict, Word
from loadtests.spec import notes
from loadtests.standing import UNSEEN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fewseconds.plan import Plan
    from loadtests.spec import LoadSpec, LoadSummary

log = logging.getLogger(__name__)
FILE: Final = "verdict.json"
STRANGERS: Final = (
    "Whether the other parties took longer than the times they stand for is not known: they are "
    "not those of a folder that --services names."
)


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """What is said of the run."""

    word: Word
    exit_code: int
    validity: Validity
    verdicts: tuple[Verdict, ...]
    generator: Generator | None
    fates: dict[str, int]
    workers: int
    notes: tuple[str, ...]
    """What a reader must know, one sentence each."""


def found(
    spec: LoadSpec, window: Plan, summary: LoadSummary | None, troubles: Sequence[str]
) -> Said:
    """Judge what the workers wrote; takes a second for half a million rows, so not on the hub."""
    visits, told = tally.NO_VISITS, list(notes(summary))
    if spec.services is None:
        told.append(STRANGERS)
    elif summary is not None:
        since_us = summary.epoch_us + spec.window_us[0] + spec.services.ahead_us
        visits = tally.visits_since(Path(spec.services.outcomes), window.scenario, since_us)
    unheard: tuple[str, ...] = () if spec.targets.sms else ("sms_time",)
    unjudged = [
        one.name for one in window.scenario.slo
        if "measured" in one.engines and one.measure in (*UNSEEN, *unheard)
    ]  # fmt: skip
    if unjudged:
        told.append(f"Not judged, because no generator sees it here: {'; '.join(unjudged)}.")
    judgement = tally.judged(
        Path(spec.outcomes), window, None if summary is None else msgspec.structs.asdict(summary),
        troubles, (*UNSEEN, *unheard), visits,
    )  # fmt: skip
    if judgement.dead:
        told.append(DEAD)
    word = "inconclusive" if troubles else slo.overall(judgement.verdicts)
    return Said(
        word=word,
        exit_code=slo.exit_code(word),
        validity=judgement.validity,
        verdicts=judgement.verdicts,
        generator=judgement.generator,
        fates=dict(sorted(judgement.tally.fates.items())),
        workers=0 if summary is None else summary.workers,
        notes=tuple(told),
    )


def say(said: Said, folder: Path) -> None:
    """Say it in the log, and write it down as :data:`FILE`."""
    for one in said.verdicts:
        observed = words.quantity(one.measure, one.observed).replace(words.NBSP, " ")
        kind = "gate" if one.gate else "claim"
        # A spoilt run has its reasons below, once and not a gate.
        why = f": {one.reason}" if one.reason and said.validity.valid else ""
        log.info("%s %s: %s, %s%s", kind, one.name, one.word, observed, why)
    for sentence in said.notes:
        log.info("%s", sentence)
    spoilt = "nothing can be concluded" if said.word == "inconclusive" else "and yet"
    for sentence in said.validity.reasons:
        log.error("%s: %s", spoilt, sentence)
    log.info("verdict: %s (exit code %d); see %s", said.word, said.exit_code, folder / FILE)
    (folder / FILE).write_bytes(msgspec.json.format(msgspec.json.encode(said)))

"""The record of a run: everything that is said about it, on screen, in JSON, JUnit and HTML."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from fewseconds.slo import Validity, Verdict, Word

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl

    from fewseconds.plan import Plan


class Check(msgspec.Struct, frozen=True):
    """An exact fact that holds or does not: an invariant of the ledger, a count, a hash."""

    name: str
    """A sentence that says what must hold."""
    passed: bool
    checked: int
    """How many things were looked at."""
    violations: int = 0
    first: tuple[str, ...] = ()
    """The first few violations."""
    gate: bool = True


class Generator(msgspec.Struct, frozen=True):
    """How well the load generator kept its own promise."""

    intended: int
    started: int
    steps: int
    """Steps that should have begun when the step before them ended."""
    late: int
    """Those of them that began more than ``promise.LATE_MS`` too late."""
    dropped: int
    lag_ms_p50: float
    lag_ms_p99: float
    lag_ms_max: float
    littles_law_residual: float | None
    """|in-flight − throughput × sojourn| as a share of the latter; None without journeys."""
    littles_law_limit: float | None
    cpu_share: float
    """CPU time of the busiest worker over wall time, in its busiest ``promise.BUSIEST_S``."""
    overruns: int
    """Visits of mocked stations whose real work outlasted their drawn service time."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A run in words and numbers; the rows it rests on lie beside it in ``outcomes/``."""

    scenario: str
    scenario_hash: str
    title: str
    description: str
    seed: int
    plan_hash: str
    commit: str
    versions: dict[str, str]
    command: str
    """The command line that repeats this run."""
    started_at: dt.datetime
    wall_s: float
    window_us: tuple[int, int]
    word: Word
    exit_code: int
    summary: str
    """One sentence that answers the question."""
    verdicts: tuple[Verdict, ...]
    validity: Validity
    checks: tuple[Check, ...]
    generator: Generator | None
    measured_journeys: int
    simulated_journeys: int
    simulated_wall_s: float
    tries: int = 1
    notes: tuple[str, ...] = ()
    """Assumptions and remarks that a reader must know, one sentence each."""


# No Struct: it is never read from a file, and a generator, which reads the rest, needs no tables.
@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What a report is drawn from, beside its record (polars frames; see ``measures``)."""

    plan: Plan
    """The journeys of the load window."""
    measured: pl.DataFrame
    """Outcome rows of the clients and the services."""
    measured_journeys: pl.DataFrame
    simulated: pl.DataFrame
    """Outcome rows of the same journeys in virtual time."""
    simulated_journeys: pl.DataFrame
    strip: Path | None
    """Folder with photographed QR codes and ``strip.json``."""

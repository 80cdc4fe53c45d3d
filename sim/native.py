"""What the compiled engine has kept, as outcomes and as a summary."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pyarrow as pa

from fewseconds import columns, measures
from fewseconds import journey as j
from fewseconds.outcomes import SCHEMA
from sim import layout as at
from sim.ready import PROCESS
from sim.summary import MEASURES, Samples, StationUse, Summary, hours_observed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from fewseconds.plan import Plan
    from fewseconds.scenario import Scenario
    from sim.flat import Flat
    from sim.machine import Machine

TIMES = {
    "last_attempt": at.WALK_LAST_ATTEMPT, "last_took_us": at.WALK_LAST_TOOK,
    "begun_us": at.WALK_BEGUN, "ended_us": at.WALK_ENDED, "aim_us": at.WALK_AIM,
    "pay_us": at.WALK_PAY, "machine_us": at.WALK_MACHINE, "pending_us": at.WALK_PENDING,
    "sms_end_us": at.WALK_SMS_END,
}  # fmt: skip


def outcomes(rows: NDArray[np.int64], flat: Flat) -> pa.Table:
    """Rows of the engine as outcomes; the numbers of its words become dictionary codes."""
    same = np.zeros(len(rows), np.int32)
    words: dict[str, tuple[Sequence[str], NDArray[np.int32]]] = {
        "observer": (["sim"], same),
        "process": ([PROCESS], same),
        "branch": (list(flat.branch_names), _column(rows, at.ROW_BRANCH)),
        "step": (list(flat.step_words), _column(rows, at.ROW_STEP)),
        "station": (["", *flat.stations], _column(rows, at.ROW_STATION)),
        "outcome": (j.OUTCOMES, _column(rows, at.ROW_OUTCOME)),
        "code": (list(flat.codes), _column(rows, at.ROW_CODE)),
    }
    numbers: dict[str, NDArray[np.int64] | NDArray[np.int32]] = {
        "journey_id": rows[:, at.ROW_JOURNEY].copy(),
        "leg": _column(rows, at.ROW_LEG),
        "attempt": _column(rows, at.ROW_ATTEMPT),
        "intended_us": rows[:, at.ROW_INTENDED].copy(),
        "start_us": rows[:, at.ROW_START].copy(),
        "service_start_us": rows[:, at.ROW_SERVICE_START].copy(),
        "end_us": rows[:, at.ROW_END].copy(),
        "queue_length": _column(rows, at.ROW_QUEUE_LENGTH),
        "overrun_us": np.zeros(len(rows), np.int64),
    }
    arrays = {name: columns.numbers(values) for name, values in numbers.items()} | {
        name: columns.words(codes, known) for name, (known, codes) in words.items()
    }
    return pa.table([arrays[name] for name in SCHEMA.names], schema=SCHEMA)


def _column(rows: NDArray[np.int64], field: int) -> NDArray[np.int32]:
    return rows[:, field].astype(np.int32)


def journeys(ended: NDArray[np.int64], flat: Flat) -> pl.DataFrame:
    """Journeys that have ended with fates and times, as ``measures.journeys`` gives them.

    In place of a journey's number stands its position in the plan.
    """

    def words(field: int, known: Sequence[str]) -> pl.Series:
        codes = pl.Series(ended[:, field]).replace(at.NONE, None)
        return codes.replace_strict(range(len(known)), known, return_dtype=pl.String)

    table = pl.DataFrame(
        {
            "journey_id": ended[:, at.WALK_PLACE],
            "kind": words(at.WALK_KIND, flat.kinds),
            "last_step": words(at.WALK_LAST_STEP, flat.step_names),
            "last_outcome": words(at.WALK_LAST_OUTCOME, j.OUTCOMES),
            "last_code": words(at.WALK_LAST_CODE, list(flat.codes)),
            "sms_outcome": words(at.WALK_SMS_OUTCOME, j.OUTCOMES),
            "accepted": ended[:, at.WALK_ACCEPTED] == 1,
            **{
                name: pl.Series(ended[:, field]).replace(at.NONE, None)
                for name, field in TIMES.items()
            },
        }
    )
    return measures.judged(table, flat.scenario)


def says(walked: pl.DataFrame, stays: NDArray[np.int64]) -> Iterator[tuple[str, pl.DataFrame]]:
    """Each measure with its samples, as ``measures.says`` makes them of all rows."""
    accepted = walked.filter(
        pl.col("accepted") & (pl.col("sms_outcome") == measures.UNDELIVERED)
    ).select("journey_id", observer=pl.lit("sim"), station=pl.col("taken_by"), outcome=pl.lit("ok"))
    # A row that nobody looks at: where there are none, there was no observer either.
    some = pl.DataFrame({"journey_id": [-1], "observer": "sim", "station": "", "outcome": ""})
    biller = pl.DataFrame(
        {"journey_id": stays[:, at.STAY_JOURNEY], "sojourn_us": stays[:, at.STAY_US]}
    ).with_columns(observer=pl.lit("sim"), station=pl.lit("biller"))
    for name in MEASURES:
        seen = biller if name == "biller_time" else pl.concat([accepted, some])
        yield name, measures.says(name, walked, seen)


def summary(
    machine: Machine, ended: NDArray[np.int64], stays: NDArray[np.int64], plan: Plan
) -> Summary:
    """The summary of a walk, without its rows."""
    walked = journeys(ended, machine.flat).sort("journey_id")
    samples = {}
    for name, said in says(walked, stays):
        found = said.sort("journey_id", maintain_order=True)
        samples[name] = Samples(found["journey_id"].to_numpy(), found["seconds"].to_numpy())
    return Summary(
        fates=dict(sorted(walked["fate"].value_counts().iter_rows())),
        ends=measures.ends(walked["fate"]),
        says=samples,
        stations=stations(machine, plan.scenario),
        journeys=len(plan),
        events=machine.events,
        wall_s=machine.wall_s,
    )


def stations(machine: Machine, scenario: Scenario) -> dict[str, StationUse]:
    """How much every station was used."""
    hours = hours_observed(scenario, int(machine.city.n[at.LAST_END_US]))
    used = {}
    city = machine.city
    for name, row, kept in zip(machine.flat.stations, city.stations, city.hours, strict=True):
        by_hour = _of_length(kept, hours)
        busy, waiting, visits = (
            by_hour[:, field].copy() for field in (at.HOUR_BUSY, at.HOUR_WAITING, at.HOUR_VISITS)
        )
        used[name] = StationUse(
            servers=scenario.stations[name].servers,
            visits=int(row[at.ST_VISITS]),
            busy_us=int(busy.sum()),
            waiting_us=int(waiting.sum()),
            rejected=int(row[at.ST_REJECTED]),
            reneged=int(row[at.ST_RENEGED]),
            queue_max=int(row[at.ST_QUEUE_MAX]),
            busy_us_by_hour=busy,
            waiting_us_by_hour=waiting,
            visits_by_hour=visits,
        )
    return used


def _of_length(by_hour: NDArray[np.int64], hours: int) -> NDArray[np.int64]:
    missing = max(hours - len(by_hour), 0)
    return np.pad(by_hour, ((0, missing), (0, 0)))[:hours]

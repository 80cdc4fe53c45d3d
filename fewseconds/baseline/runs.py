"""Reads runs of our own: a folder that ``run`` or ``load run`` has left, or one of several."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
import polars as pl
import pyarrow.parquet as pq

from fewseconds import journey as j
from fewseconds import measures, outcomes
from fewseconds.baseline.effect import Series
from fewseconds.baseline.side import MEASURE, SENT, STEP, Of, Side, merged
from fewseconds.errors import UsageError
from fewseconds.plan import Plan
from fewseconds.report.steps import spans
from fewseconds.scenario import Scenario

if TYPE_CHECKING:
    from pathlib import Path

TIMES: Final = ("machine_time", "end_to_end", "sms_time", "portal_time")
SHARES: Final = ("error_rate",)
RECORDS: Final = ("record.json", "load_record.json")
ANSWERED: Final = ("ok", "declined")
"""Outcomes of a request that its server answered as it should."""


def read(folder: Path) -> Side:
    """The run in ``folder``, or all runs that lie in it, which must be of one scenario and load.

    Raises UsageError where there is none, or where they do not belong together.
    """
    folders = [folder] if _is_run(folder) else _inside(folder)
    if not folders:
        message = (
            f"{folder}: holds no run; name a folder that `fewseconds run` or `load run` has made"
        )
        raise UsageError(message)
    sides = [_one(one) for one in folders]
    for one, where in zip(sides, folders, strict=True):
        if (one.digest, one.load) != (sides[0].digest, sides[0].load):
            message = (
                f"{where}: is not of the same scenario and load as {folders[0]}; compare runs of "
                "one kind with runs of another"
            )
            raise UsageError(message)
    return merged(sides, folder.name)


def _is_run(folder: Path) -> bool:
    return (folder / "scenario.json").exists() and (folder / "outcomes").is_dir()


def _inside(folder: Path) -> list[Path]:
    # `latest` is a link to one of its neighbours.
    found = sorted({one.resolve() for one in folder.iterdir() if one.is_dir()})
    return [one for one in found if _is_run(one)]


def _one(folder: Path) -> Side:
    scenario = msgspec.json.decode((folder / "scenario.json").read_bytes(), type=Scenario)
    try:
        table = pq.read_table(folder / "plan.parquet")
    except OSError:
        message = f"{folder}: has no plan.parquet; it did not come to an end, so name another run"
        raise UsageError(message) from None
    record = _record(folder)
    plan = Plan(scenario, int(record.get("seed", scenario.seed)), table)
    rows = measures.frame(outcomes.read(folder / "outcomes"))
    client = rows.filter(pl.col("observer") == "client")
    begun = dict(zip(table["journey_id"].to_pylist(), plan.starts_us.tolist(), strict=True))
    valid = record.get("validity", {"valid": True, "reasons": []})
    return Side(
        name=folder.name,
        tool="fewseconds",
        series={**_measures(rows, client, plan), **_steps(client, begun, scenario)},
        load=str(record.get("load", "the window at its true rate")),
        scenario=scenario.name,
        digest=scenario.digest,
        gates=frozenset(
            (str(one.measure), str(one.statistic))
            for one in scenario.slo
            if one.gate and "measured" in one.engines
        ),
        troubles=() if valid["valid"] else tuple(valid["reasons"]) or ("it is not valid",),
    )


def _record(folder: Path) -> dict[str, Any]:
    for name in RECORDS:
        if (folder / name).exists():
            found: dict[str, Any] = msgspec.json.decode((folder / name).read_bytes())
            return found
    message = f"{folder}: has no record; it did not come to an end, so name another run"
    raise UsageError(message)


def _measures(rows: pl.DataFrame, client: pl.DataFrame, plan: Plan) -> dict[Of, list[Series]]:
    walked = measures.journeys(client, plan)
    found = {}
    for name in (*TIMES, *SHARES):
        said = measures.says(name, walked, rows)
        said = said.join(walked.select("journey_id", due_us="intended_start_us"), "journey_id")
        said = said.sort("due_us", "journey_id")
        if said.height:
            found[Of(MEASURE, name, name in SHARES)] = [_series(said)]
    return found


def _steps(
    client: pl.DataFrame, begun: dict[int, int], scenario: Scenario
) -> dict[Of, list[Series]]:
    machine = [name for name, step in scenario.steps.items() if step.clock == "machine"]
    client = client.filter((pl.col("leg") == j.STEP_ROW) & pl.col("step").is_in(machine))
    order = pl.col("journey_id").replace_strict(begun, default=0, return_dtype=pl.Int64)
    client = client.with_columns(due_us=order).sort("due_us", "journey_id", "start_us")
    found: dict[Of, list[Series]] = {}
    whole = spans(client).with_columns(due_us=order).sort("due_us", "journey_id")
    last = client.group_by("journey_id", "step", maintain_order=True).last()
    for name in machine:
        took = whole.filter(pl.col("step") == name)
        if took.is_empty():
            continue
        found[Of(STEP, name)] = [_series(took)]
        lost = last.filter(pl.col("step") == name).with_columns(
            seconds=pl.col("outcome").is_in(ANSWERED).not_().cast(pl.Float64)
        )
        found[Of(STEP, name, share=True)] = [_series(lost)]
        sent = client.filter((pl.col("step") == name) & (pl.col("outcome") != "dropped"))
        sent = sent.with_columns(
            seconds=(pl.col("end_us") - pl.col("start_us")) / 1e6,
            failed=pl.col("outcome").is_in(ANSWERED).not_().cast(pl.Float64),
        )
        found[Of(SENT, name)] = [_series(sent)]
        failed = sent.with_columns(seconds=pl.col("failed"))
        found[Of(SENT, name, share=True)] = [_series(failed)]
    return found


def _series(rows: pl.DataFrame) -> Series:
    # The moment of a journey's intended start tells journeys apart, and in their order.
    return Series(rows["seconds"].to_numpy().astype(float), rows["due_us"].to_numpy())

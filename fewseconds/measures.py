"""From outcomes to one row per journey, and from those to the measures that SLOs bound.

* ``machine_time``: the sojourns of the machine steps of a QR journey (every frame of the scan,
  every attempt of resolve and pay with the waits between them, and status checks until the screen
  says so). Typing and PIN are human. A journey that the system failed counts as infinite; one that
  was declined, or that the consumer left, is no statement about the system and is left out.
* ``end_to_end``: camera pointed at the QR → confirmation on screen, people included.
* ``portal_time``: portal opened → confirmation.
* ``sms_time``: Pay pressed → SMS on the handset. A message that the gateway accepted and the
  operator lost is counted apart (the delivery rate); a confirmed payment without an accepted
  message counts as infinite.
* ``error_rate``: share of started journeys that the system failed.

Which kinds of journey count as a QR or as the portal, and which steps point the camera, press Pay,
say pending or carry the message, is said by the scenario (``counts_as`` and ``marks``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from fewseconds import journey as j
from fewseconds.payer_app import in_app

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from fewseconds.plan import Plan
    from fewseconds.scenario import Scenario

QR: Final = "qr"
PORTAL: Final = "portal"
FATES: Final = {
    "ok": "confirmed",
    "declined": "declined",
    "reneged": "left",
    "dropped": "dropped",
    "unfinished": "unfinished",
    "timed_out": "failed",
    "rejected": "failed",
    "error": "failed",
}
"""How a journey ended, by the outcome of the last attempt on its main branch."""
ENDS: Final = tuple(dict.fromkeys((*FATES.values(), "unexplained")))
"""Every fate; a journey without an end is unexplained."""
SYSTEM_FATES: Final = ("failed", "dropped", "unfinished", "unexplained")
"""Ends that the system, not the consumer or the bank's rules, must answer for."""
CUT_OFF: Final = "cut_off"
"""Code of an attempt that was still open when the run ended."""
UNDELIVERED: Final = "timed_out"
"""Outcome of the SMS step when the message was accepted but never arrived."""


def ends(fates: pl.Series) -> NDArray[np.int8]:
    """Fates as places in :data:`ENDS`; shape ``(journeys,)``."""
    places: NDArray[np.int8] = fates.cast(pl.Enum(ENDS)).to_physical().to_numpy().astype(np.int8)
    return places


def frame(outcomes: pa.Table) -> pl.DataFrame:
    """Outcome rows as a polars frame with plain strings and the sojourn beside them."""
    data = pl.DataFrame(pl.from_arrow(outcomes))
    texts = [name for name, kind in data.schema.items() if kind in (pl.Categorical, pl.Enum)]
    return data.with_columns(
        *[pl.col(name).cast(pl.String) for name in texts],
        sojourn_us=pl.col("end_us") - pl.col("intended_us"),
    )


def journeys(outcomes: pl.DataFrame, plan: Plan) -> pl.DataFrame:
    """One row per journey of ``plan``, from the step rows of one observer.

    Columns: those of the plan, ``fate``, ``last_step``, ``last_code``, ``lag_us``, ``machine_us``,
    ``pending_us``, ``end_to_end_us``, ``portal_us``, ``sms_us``, ``sms_outcome``; times are null
    where they do not apply. ``way`` is what the kind counts as if a measure is made of it,
    ``taken_by`` the station that takes the message over (empty where none is sent).
    """
    steps = outcomes.filter(pl.col("leg") == j.STEP_ROW)
    main = steps.filter(pl.col("branch") == "main").sort(
        "end_us", "intended_us", maintain_order=True
    )
    machine = [name for name, step in plan.scenario.steps.items() if step.clock == "machine"]
    last = pl.col("step") == pl.col("step").last()
    by_journey = main.group_by("journey_id", maintain_order=True).agg(
        last_step=pl.col("step").last(),
        last_outcome=pl.col("outcome").last(),
        last_code=pl.col("code").last(),
        begun_us=pl.col("intended_us").first(),
        lag_us=(pl.col("start_us") - pl.col("intended_us")).first(),
        ended_us=pl.col("end_us").last(),
        last_attempt=pl.col("attempt").last(),
        last_took_us=pl.col("end_us").last() - pl.col("start_us").filter(last).min(),
        aim_us=pl.col("intended_us").filter(_marked(plan, "aim")).min(),
        pay_us=pl.col("intended_us").filter(_marked(plan, "pay")).min(),
        machine_us=pl.col("sojourn_us").filter(pl.col("step").is_in(machine)).sum(),
        pending_us=pl.col("sojourn_us").filter(_marked(plan, "pending")).sum(),
    )
    sms = (
        steps.filter(_marked(plan, "message"))
        .sort("end_us")
        .group_by("journey_id")
        .agg(sms_end_us=pl.col("end_us").last(), sms_outcome=pl.col("outcome").last())
    )
    table = pl.DataFrame(pl.from_arrow(plan.table)).with_columns(
        pl.col(pl.Categorical).cast(pl.String)
    )
    joined = table.join(by_journey, "journey_id", "left").join(sms, "journey_id", "left")
    return judged(joined, plan.scenario)


def judged(table: pl.DataFrame, scenario: Scenario) -> pl.DataFrame:
    """The rows of :func:`journeys`, from what an engine noted of each journey as it went.

    Columns that are needed: ``kind``, ``last_step``, ``last_outcome``, ``last_code``,
    ``last_attempt``, ``last_took_us``, ``begun_us``, ``ended_us``, ``aim_us``, ``pay_us``,
    ``machine_us``, ``sms_end_us``, ``sms_outcome``.
    """
    return _timed(scenario, table.with_columns(fate=_fate(scenario)))


def _marked(plan: Plan, word: str) -> pl.Expr:
    """Whether a row is one of a step that the scenario marks with ``word``."""
    names = [name for name, step in plan.scenario.steps.items() if step.marks == word]
    return pl.col("step").is_in(names)


def _fate(scenario: Scenario) -> pl.Expr:
    """Named end of a journey; one that stops where its route goes on is unexplained."""
    place = pl.concat_str(["kind", "last_step", "last_outcome"], separator="/", ignore_nulls=True)
    goes_on, tries, apps = [], {}, scenario.apps.values()
    for kind in scenario.journeys:
        route = scenario.route(kind)
        for index, step in enumerate(route.steps):
            for code, outcome in enumerate(j.OUTCOMES):
                here = f"{kind}/{step.name}/{outcome}"
                if route.rules[index * j.WIDTH + j.NEXT + code] != j.END:
                    goes_on.append(here)
                if outcome in step.retry_on:
                    # Apps try for equally long, some of them less often.
                    fewest = min(in_app(step, app).attempts_max for app in apps)
                    tries[here] = (fewest, _given_up_us(step))
    numbers = pl.DataFrame(
        [(here, *limits) for here, limits in tries.items()],
        schema={"place": pl.String, "most": pl.Int64, "give_up_us": pl.Int64},
        orient="row",
    )
    most, give_up_us = (
        place.replace_strict(numbers["place"], numbers[name], default=0, return_dtype=pl.Int64)
        for name in ("most", "give_up_us")
    )
    again = (pl.col("last_attempt") < most) & (pl.col("last_took_us") <= give_up_us)
    # What the end of the run cut off, or the generator dropped, had no chance to go on.
    stopped = (place.is_in(goes_on) | again) & (pl.col("last_code").fill_null("") != CUT_OFF)
    return (
        pl.when(pl.col("last_outcome").is_null() | stopped)
        .then(pl.lit("unexplained"))
        .otherwise(pl.col("last_outcome").replace_strict(FATES, default="unexplained"))
    )


def _given_up_us(step: j.Step) -> int:
    """Up to here after its first attempt a step is sure to be tried again, if attempts are left."""
    if step.give_up_after_ms is None:
        return j.NEVER
    longest_ms = step.cadence_ms or max(step.backoff_ms, default=0) * (1 + step.backoff_jitter)
    return int((step.give_up_after_ms - longest_ms) * 1000)


def _timed(scenario: Scenario, table: pl.DataFrame) -> pl.DataFrame:
    confirmed = pl.col("fate") == "confirmed"
    qr, portal = (pl.col("kind").is_in(scenario.kinds(way)) for way in (QR, PORTAL))
    taken_by = scenario.takers()
    return table.with_columns(
        way=pl.when(qr).then(pl.lit(QR)).when(portal).then(pl.lit(PORTAL)).otherwise(pl.lit("")),
        taken_by=pl.col("kind").replace_strict(taken_by, default="", return_dtype=pl.String),
        machine_us=pl.when(qr).then(pl.col("machine_us")),
        end_to_end_us=pl.when(qr & confirmed).then(pl.col("ended_us") - pl.col("aim_us")),
        portal_us=pl.when(portal & confirmed).then(pl.col("ended_us") - pl.col("begun_us")),
        sms_us=pl.when(pl.col("sms_outcome") == "ok").then(pl.col("sms_end_us") - pl.col("pay_us")),
    )


def _undelivered(table: pl.DataFrame, outcomes: pl.DataFrame) -> pl.Expr:
    """Whether the operator lost a message: the station before it had taken the message over.

    A client sees only that nothing came; where rows of another observer are at hand, they decide.
    """
    silent = pl.col("sms_outcome").fill_null("") == UNDELIVERED
    elsewhere = outcomes.filter(pl.col("observer") != "client")
    if elsewhere.is_empty():
        return silent
    takers = table["taken_by"].unique().implode()
    accepted = elsewhere.filter(pl.col("station").is_in(takers) & (pl.col("outcome") == "ok"))
    return silent & pl.col("journey_id").is_in(accepted["journey_id"].unique().implode())


def samples(measure: str, table: pl.DataFrame, outcomes: pl.DataFrame) -> NDArray[np.float64]:
    """Seconds of every journey that has a say in ``measure``; what the system failed is infinite.

    For ``error_rate`` the samples are 1 for a journey that the system failed and 0 for any other.
    """
    return says(measure, table, outcomes)["seconds"].to_numpy()


def says(measure: str, table: pl.DataFrame, outcomes: pl.DataFrame) -> pl.DataFrame:
    """:func:`samples` with whose they are: columns ``journey_id`` and ``seconds``."""
    failed = pl.col("fate").is_in(SYSTEM_FATES)
    confirmed = pl.col("fate") == "confirmed"
    if measure == "error_rate":
        return table.select("journey_id", seconds=failed.cast(pl.Float64))
    if measure == "biller_time":
        visits = outcomes.filter((pl.col("station") == "biller") & (pl.col("observer") != "client"))
        return visits.select("journey_id", seconds=pl.col("sojourn_us") / 1e6)
    if measure == "sms_time":
        # Cash gets a paper receipt; only payments on a route with an SMS have a say.
        with_sms = pl.col("taken_by") != ""
        heard = table.filter(with_sms & confirmed & ~_undelivered(table, outcomes))
        return heard.select("journey_id", seconds=pl.col("sms_us").fill_null(np.inf) / 1e6)
    way = PORTAL if measure == "portal_time" else QR
    column = {
        "machine_time": "machine_us",
        "end_to_end": "end_to_end_us",
        "portal_time": "portal_us",
    }[measure]
    judged = table.filter((pl.col("way") == way) & (confirmed | failed))
    seconds = pl.when(confirmed).then(pl.col(column).cast(pl.Float64) / 1e6).otherwise(np.inf)
    return judged.select("journey_id", seconds=seconds)

"""What became of every journey: how far it came, and why those that were lost were lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import polars as pl

from fewseconds import journey as j
from fewseconds.measures import PORTAL, QR, UNDELIVERED
from fewseconds.report import words

if TYPE_CHECKING:
    from fewseconds.scenario import Scenario

STAGES: Final = {
    "scan": "QR read, or number typed",
    "resolve": "Bill shown",
    "pay": "Payment confirmed on screen",
    "callback": "Posted at the biller",
    "sms": "SMS on the handset",
}
SCREEN_STAGES: Final = {
    "open_app": "scan",
    "scan": "scan",
    "put_aside": "scan",
    "scan_again": "scan",
    "type_number": "scan",
    "type_again": "scan",
    "resolve": "resolve",
}
"""The stage at which a journey is lost that ends in this step; any later step is ``pay``."""


class Loss(msgspec.Struct, frozen=True):
    """Journeys lost at a stage for one reason."""

    reason: str
    count: int
    blames_system: bool


class Stage(msgspec.Struct, frozen=True):
    """One stage: ``entered`` = ``reached`` + the losses."""

    name: str
    label: str
    entered: int
    reached: int
    losses: tuple[Loss, ...]
    detours: tuple[str, ...]
    """What happened on the way without being a loss."""


class Funnel(msgspec.Struct, frozen=True):
    """The stages of the QR journeys, in order."""

    started: int
    stages: tuple[Stage, ...]
    unconfirmed_posted: int
    """Posted at the biller although the screen never said so: pending, not failed."""


def funnel(scenario: Scenario, outcomes: pl.DataFrame, journeys: pl.DataFrame) -> Funnel | None:
    """The funnel of the QR journeys; None if there were none."""
    mine = journeys.filter(pl.col("way") == QR).select(
        "journey_id", "fate", "last_step", "last_outcome", "last_code", "sms_outcome"
    )
    if mine.is_empty():
        return None
    posted = _posted(scenario, outcomes)
    steps = outcomes.join(mine.select("journey_id"), "journey_id", "semi").filter(
        pl.col("leg") == j.STEP_ROW
    )
    lost = mine.filter(pl.col("fate") != "confirmed").with_columns(
        stage=pl.col("last_step").fill_null("open_app").replace_strict(SCREEN_STAGES, default="pay")
    )
    stages, left = [], len(mine)
    for name in ("scan", "resolve", "pay"):
        losses = _screen_losses(lost.filter(pl.col("stage") == name))
        stages.append(_stage(name, left, losses, _detours(name, steps)))
        left = stages[-1].reached
    confirmed = mine.filter(pl.col("fate") == "confirmed")
    # A message can only follow a posting, so one that arrived proves it as well as a row does.
    known = pl.col("journey_id").is_in(posted.implode()) | (pl.col("sms_outcome") == "ok")
    unposted = confirmed.filter(~known.fill_null(value=False))
    stages.append(_stage("callback", left, _callback_losses(unposted, outcomes), ()))
    heard = confirmed.filter(known.fill_null(value=False))
    accepted = _accepted(outcomes)
    losses = _sms_losses(heard.filter(pl.col("sms_outcome").fill_null("") != "ok"), accepted)
    stages.append(_stage("sms", len(heard), losses, ()))
    unconfirmed = lost.filter(pl.col("journey_id").is_in(posted.implode()))
    return Funnel(len(mine), tuple(stages), len(unconfirmed))


def _stage(name: str, entered: int, losses: list[Loss], detours: tuple[str, ...]) -> Stage:
    reached = entered - sum(loss.count for loss in losses)
    return Stage(name, STAGES[name], entered, reached, tuple(losses), detours)


def _posted(scenario: Scenario, outcomes: pl.DataFrame) -> pl.Series:
    """Journeys whose callback was posted, from rows of the whole step or of its last leg."""
    callback = scenario.steps.get("callback")
    last = len(callback.legs) - 1 if callback else 0
    rows = outcomes.filter(
        (pl.col("step") == "callback")
        & (pl.col("outcome") == "ok")
        & pl.col("leg").is_in([j.STEP_ROW, last])
    )
    return rows["journey_id"].unique()


def _accepted(outcomes: pl.DataFrame) -> pl.Series:
    """Journeys whose message the gateway accepted."""
    rows = outcomes.filter((pl.col("station") == "sms_gateway") & (pl.col("outcome") == "ok"))
    return rows["journey_id"].unique()


def _grouped(table: pl.DataFrame) -> list[Loss]:
    """Losses of a table with ``reason`` and ``system`` columns, the most frequent first."""
    counts = (
        table.group_by("reason", "system").len().sort(["len", "reason"], descending=[True, False])
    )
    return [Loss(reason, count, system) for reason, system, count in counts.iter_rows()]


def _screen_losses(lost: pl.DataFrame) -> list[Loss]:
    reasons, systems = [], []
    for fate, step, outcome, code in lost.select(
        "fate", "last_step", "last_outcome", "last_code"
    ).iter_rows():
        if step is None or fate == "unexplained":
            reason = f"unexplained: nothing known after {step or 'the start'}"
        else:
            where = words.label(step, words.STEPS)
            reason = words.loss(outcome, code or "")
            reason += "" if step in STAGES else f", at “{where}”"
        reasons.append(reason)
        systems.append(fate not in {"declined", "left"})
    return _grouped(pl.DataFrame({"reason": reasons, "system": systems}, _REASONS))


def _callback_losses(unposted: pl.DataFrame, outcomes: pl.DataFrame) -> list[Loss]:
    last = (
        outcomes.filter(pl.col("step") == "callback")
        .sort("end_us", "leg", descending=[False, True])
        .group_by("journey_id")
        .agg(pl.col("outcome").last(), pl.col("code").last())
    )
    rows = unposted.select("journey_id").join(last, "journey_id", "left")
    reasons = [
        "no callback was seen" if outcome is None else f"callback {words.loss(outcome, code or '')}"
        for outcome, code in rows.select("outcome", "code").iter_rows()
    ]
    return _grouped(pl.DataFrame({"reason": reasons, "system": [True] * len(reasons)}, _REASONS))


def _sms_losses(unheard: pl.DataFrame, accepted: pl.Series) -> list[Loss]:
    taken = set(accepted)
    reasons, systems = [], []
    for journey_id, outcome in unheard.select("journey_id", "sms_outcome").iter_rows():
        if outcome == UNDELIVERED and journey_id in taken:
            reasons.append("accepted by the gateway, never delivered by the operator")
        elif outcome == "unfinished":
            reasons.append("still on its way at the cut-off")
        elif outcome is None:
            reasons.append("no message was seen")
        else:
            reasons.append(f"message {words.loss(outcome, '')}")
        # The operator's delivery rate is judged apart; see ``measures``.
        systems.append(outcome != UNDELIVERED)
    return _grouped(pl.DataFrame({"reason": reasons, "system": systems}, _REASONS))


_REASONS: Final = {"reason": pl.String, "system": pl.Boolean}


def _detours(stage: str, steps: pl.DataFrame) -> tuple[str, ...]:
    def took(name: str) -> int:
        return steps.filter(pl.col("step") == name)["journey_id"].n_unique()

    def again(name: str) -> int:
        rows = steps.filter((pl.col("step") == name) & (pl.col("attempt") > 1))
        return rows["journey_id"].n_unique()

    facts = {
        "scan": [
            (again("scan"), "needed more than one frame"),
            (took("type_number"), "typed the number"),
        ],
        "resolve": [(again("resolve"), "asked again")],
        "pay": [
            (again("pay"), "pressed Pay again"),
            (took("check_status"), "saw “pending” first"),
        ],
    }[stage]
    return tuple(f"{words.whole(count)} {what}" for count, what in facts if count)


class Ends(msgspec.Struct, frozen=True):
    """How the journeys of one kind ended."""

    kind: str
    label: str
    started: int
    fates: dict[str, int]
    reasons: tuple[Loss, ...]


def ends(journeys: pl.DataFrame) -> tuple[Ends, ...]:
    """How journeys ended, a kind; the QR first, then the portal, then the rest."""
    order = [QR, PORTAL, ""]
    ways = dict(journeys.select("kind", "way").unique().iter_rows())
    kinds = sorted(ways, key=lambda kind: (order.index(ways[kind]), kind))
    found = []
    for kind in kinds:
        mine = journeys.filter(pl.col("kind") == kind)
        counts = dict(mine.group_by("fate").len().iter_rows())
        losses = _screen_losses(mine.filter(pl.col("fate") != "confirmed"))
        found.append(
            Ends(
                kind,
                words.label(kind, words.KINDS),
                len(mine),
                {fate: counts.get(fate, 0) for fate in words.FATES},
                tuple(losses),
            )
        )
    return tuple(found)

"""A *Journeys* tab in Locust's own web page: funnel, percentiles a step, lag, the verdict so far.

Locust's page asks ``/stats/requests`` every two seconds and shows what it finds under
``extended_stats`` in the tables of ``extended_tables`` (see examples/extend_modern_web_ui.py of
Locust). The same is at ``/journeys`` as JSON, for whoever would rather read it by machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from flask import Blueprint, Response, request

from fewseconds import slo
from fewseconds.report import words
from loadtests.histogram import Histogram
from loadtests.standing import SoFar, so_far

if TYPE_CHECKING:
    from fewseconds.scenario import Scenario
    from loadtests.onlookers import Onlookers
    from loadtests.standing import Objective, Standing

KEY: Final = "journeys"
COLUMNS: Final = {
    "what": "",
    "journeys": "Journeys",
    "funnel": "Of those started",
    "lost": "Not succeeded",
    "p50": "p50",
    "p95": "p95",
    "p99": "p99",
    "says": "Limits",
}
BAR: Final = 12
SIGNS: Final = {"pass": "✓", "fail": "✗", "inconclusive": "…"}


def extend(web_ui: Any, onlookers: Onlookers) -> None:  # noqa: ANN401 - Locust's page is untyped
    """Add the tab and the JSON endpoint to ``web_ui``."""
    structure = [{"key": key, "title": title} for key, title in COLUMNS.items()]
    web_ui.template_args |= {
        "extended_tabs": [{"title": "Journeys", "key": KEY}],
        "extended_tables": [{"key": KEY, "structure": structure}],
    }
    pages = Blueprint("fewseconds", __name__, url_prefix=web_ui.app.config.get("APPLICATION_ROOT"))

    @web_ui.app.after_request
    def tell(response: Response) -> Response:
        if request.path.endswith("/stats/requests") and response.is_json:
            told = {**response.get_json(), "extended_stats": [{"key": KEY, "data": now()[0]}]}
            response.set_data(msgspec.json.encode(told))
        return response

    @pages.route("/journeys")
    @web_ui.auth_required_if_enabled
    def journeys() -> Response:
        rows, standing, judged = now()
        said = onlookers.said
        counts = ("intended", "started", "dropped", "late", "in_flight", "elapsed_s", "fates")
        content = {
            **{name: getattr(standing, name) for name in counts},
            "verdict": said.word if said else judged.word,
            "over": said is not None,
            "reasons": said.validity.reasons if said else judged.reasons,
            "objectives": judged.objectives,
            "rows": rows,
        }
        return Response(msgspec.json.encode(content), mimetype="application/json")

    def now() -> tuple[list[dict[str, str]], Standing, SoFar]:
        standing, scenario = onlookers.standing(), onlookers.scenario
        if scenario is None:
            return [], standing, SoFar("inconclusive", (), [])
        judged, said = so_far(scenario, standing), onlookers.said
        first = (
            _verdict(f"so far: {judged.word}", judged.reasons) if said is None
            else _verdict(f"verdict: {said.word}", said.validity.reasons)
        )  # fmt: skip
        return [first, *table(scenario, standing, judged.objectives)], standing, judged

    web_ui.app.register_blueprint(pages)


def table(scenario: Scenario, standing: Standing, found: list[Objective]) -> list[dict[str, str]]:
    """The rows of the tab, ready to be read: steps in order, then measures, then ourselves."""
    rows = [_journeys(standing)]
    rows += [_step(name, standing) for name in scenario.steps if name in standing.steps]
    for name, packed in standing.measures.items():
        about = [one for one in found if one.measure == name]
        rows.append(_row(_plain(name), Histogram.unpacked(packed), says=_says(about)))
    for name, (some, of) in standing.shares.items():
        about = [one for one in found if one.measure == name]
        lost = f"{some} ({words.percent(some / of if of else 0)})"
        rows.append(_row(_plain(name), None, count=of, lost=lost, says=_says(about)))
    if standing.lag:
        late = f"{standing.late} late, {standing.dropped} dropped"
        rows.append(_row("lag of the generator", Histogram.unpacked(standing.lag), says=late))
    return [{key: value.replace(words.NBSP, " ") for key, value in row.items()} for row in rows]


def _verdict(what: str, reasons: tuple[str, ...]) -> dict[str, str]:
    return _row(what, None, says=" ".join(reasons))


def _plain(measure: str) -> str:
    return measure.replace("_", " ")


def _journeys(standing: Standing) -> dict[str, str]:
    ended = sum(sum(fates.values()) for fates in standing.fates.values())
    fates: dict[str, int] = {}
    for some in standing.fates.values():
        for fate, count in some.items():
            fates[fate] = fates.get(fate, 0) + count
    told = ", ".join(f"{count} {fate}" for fate, count in sorted(fates.items()))
    return _row(
        "journeys started", None, count=standing.started, funnel=_bar(1.0),
        says=f"{standing.in_flight} under way, {ended} ended: {told}" if ended else "",
    )  # fmt: skip


def _step(name: str, standing: Standing) -> dict[str, str]:
    histogram = Histogram.unpacked(standing.steps[name])
    reached = histogram.total
    failed = standing.failed.get(name, 0)
    return _row(
        words.label(name, words.STEPS), histogram, count=reached,
        funnel=_bar(reached / max(standing.started, 1)),
        lost=f"{failed} ({words.percent(failed / reached)})" if failed else "0",
    )  # fmt: skip


def _row(
    what: str, histogram: Histogram | None, *, count: int | None = None, funnel: str = "",
    lost: str = "", says: str = "",
) -> dict[str, str]:  # fmt: skip
    times = dict.fromkeys(("p50", "p95", "p99"), "")
    if histogram is not None:
        count = histogram.total if count is None else count
        for name in times:
            probability = slo.QUANTILES[name]
            found_us = histogram.quantile_us(probability)
            # What the sample cannot support is not shown, as at the end.
            supported = slo.supports(histogram.total, probability) and found_us is not None
            times[name] = words.seconds((found_us or 0.0) / 1e6) if supported else words.NOTHING
    return {
        "what": what, "journeys": "" if count is None else words.whole(count), "funnel": funnel,
        "lost": lost, **times, "says": says,
    }  # fmt: skip


def _bar(share: float) -> str:
    full = round(min(max(share, 0.0), 1.0) * BAR)
    return "█" * full + "░" * (BAR - full) + f" {words.percent(share, 0)}"


def _says(found: list[Objective]) -> str:
    told = []
    for one in found:
        limit = words.quantity(one.measure, one.limit)
        side = "≥" if one.at_least else "≤"
        statistic = "" if one.statistic == "share" else f"{one.statistic} "
        kind = "" if one.gate else " (claim)"
        told.append(f"{SIGNS[one.word]} {statistic}{side} {limit}{kind}")
    return ", ".join(told)

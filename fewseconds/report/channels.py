"""The ways of paying beside each other in virtual time: times, payments, money, adoption."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from fewseconds import measures, slo
from fewseconds.report import charts, words
from fewseconds.report.page import Range, Ranges, Section, Table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fewseconds.report.drawing import Panel
    from fewseconds.report.simulation import Walked
    from fewseconds.scenario import Scenario

WAYS: Final = {"qr": "QR", "portal": "portal", "other_digital": "inside apps", "counter": "counter"}


def paired(walked: Walked) -> str:
    """How often, and by how much, the QR is faster than the portal for the same consumers."""
    qr_s, portal_s = walked.pairs
    if len(qr_s) == 0:
        return ""
    saved = slo.quantile(portal_s - qr_s, 0.5)
    return (
        f"Of {words.counted(len(qr_s), 'consumer')} walked both ways, the QR was faster than the "
        f"portal for {words.percent(float((qr_s < portal_s).mean()))}, by "
        f"{words.seconds(saved[0])} in the median."
    )


def ways(walked: Walked) -> Section:
    """QR against portal against counter: how long, how many, and how much money."""
    ended = walked.table.filter(pl.col("fate") == "confirmed")
    kinds = {kind: words.label(kind, words.KINDS) for kind in walked.scenario.journeys}
    samples, ranges = {}, []
    for way, name in WAYS.items():
        mine = ended.filter(pl.col("kind").is_in(walked.scenario.kinds(way)))
        begun = pl.col("aim_us") if way == measures.QR else pl.col("begun_us")
        samples[name] = mine.select((pl.col("ended_us") - begun) / 1e6).to_series().to_numpy()
    for name, seconds in samples.items():
        ranges.append(_range(name, seconds, 0.5, "half"))
        ranges.append(_range(name, seconds, 0.95, "95 of 100"))
    shares = walked.scenario.channel_shares()
    mix = tuple(
        (kinds[kind], words.percent(share), words.whole(round(share * int(walked.hourly.sum()))))
        for kind, share in shares.items()
        if share > 0
    )
    return Section(
        "QR against portal against counter",
        "From the camera at the QR, from opening the portal or the app, or from joining the line, "
        "to the confirmation; people included. " + paired(walked),
        (
            charts.distributions("Share of the payments confirmed within …", samples, far=True),
            Ranges(
                "Until the confirmation",
                "s",
                tuple(one for one in ranges if one is not None),
                note="Bars are 95 % intervals; n is the number of confirmed payments walked.",
            ),
            Table(
                ("way of paying", "share", "payments a month"),
                mix,
                caption=f"The month's mix: {words.percent(walked.scenario.digital_share)} digital",
            ),
            _money(walked),
            _adoption(walked.scenario),
        ),
    )


def _money(walked: Walked) -> Table | None:
    """The sums of the bills, by way and by what became of them."""
    if not walked.paise:
        return None
    ends = [end for end in measures.ENDS if any(end in row for row in walked.paise.values())]
    kinds = [kind for kind in walked.scenario.journeys if kind in walked.paise]
    rows = [
        (
            words.label(kind, words.KINDS),
            words.rupees(sum(walked.paise[kind].values())),
            *(words.rupees(walked.paise[kind].get(end, 0)) for end in ends),
        )
        for kind in kinds
    ]
    return Table(
        ("way of paying", "to be paid", *(words.label(end, words.FATES) for end in ends)),
        tuple(rows),
        caption=f"The bills of these journeys: {words.paid(walked.paise)}",
        note="Amounts as owed on the day that a journey begins, with the discount of an early bill "
        "and the charge of a late one if the scenario has them; what the biller gives back is not "
        "walked in virtual time. What is pending at the end may still arrive. A crore is ten "
        "million, a lakh a hundred thousand.",
    )


def _range(name: str, seconds: NDArray[np.float64], share: float, text: str) -> Range | None:
    if not slo.supports(len(seconds), share):
        return None
    value, low, high = slo.quantile(seconds, share)
    ends = f"{words.seconds(low)} to {words.seconds(high)}, n = {words.whole(len(seconds))}"
    return Range(f"{name}, {text} within", value, low, high, words.seconds(value), ends)


def _adoption(scenario: Scenario) -> Panel | None:
    path = scenario.adoption.path
    if not path:
        return None
    points = [(month + 1, 100 * share) for month, share in enumerate(path)]
    here = min(scenario.month, len(path))
    series = [
        charts.Series("digital", points, dots=True),
        charts.Series("this page", [(here, 100 * path[here - 1])] * 2, dots=True),
    ]
    loser = words.label(scenario.adoption.loses, words.KINDS)
    title = f"Digital payments, % by month; {loser} loses what they gain"
    return charts.lines(title, series, x="month", y="%", low=10 * int(min(path) * 10))

"""What is wrong with who pays, when and how: numbers, weights, shares and adoption."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fewseconds.payer_app import app_problems
from fewseconds.population import MONTHS
from fewseconds.scenario import MEDIA, SCANNERS
from fewseconds.spelling import closest
from fewseconds.station_checks import SHARES_TOLERANCE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fewseconds.scenario import Scenario

CONSUMERS_MAX: Final = 2_000_000_000
"""No country has as many."""
PAYMENTS_MAX: Final = 31
"""Payments of a consumer in a month: nobody pays more than a bill a day."""
MONTH_MAX: Final = 240
"""Twenty years: no assumption holds for longer."""


def population_problems(scenario: Scenario) -> Iterator[str]:
    """What is wrong with who pays, when and how, and with how much of it is run."""
    yield from _number_problems(scenario)
    yield from _weight_problems(scenario)
    yield from _adoption_problems(scenario)
    yield from _share_problems(scenario)


def _number_problems(scenario: Scenario) -> Iterator[str]:
    arrivals = scenario.arrivals
    positive = {
        "consumers": scenario.consumers,
        "month": scenario.month,
        "arrivals.days": arrivals.days,
        "arrivals.cycles": arrivals.cycles,
        "arrivals.payments_per_consumer_month": arrivals.payments_per_consumer_month,
        "load.duration_s": scenario.load.duration_s,
        "load.in_flight_max": scenario.load.in_flight_max,
        "simulate.journeys_max": scenario.simulate.journeys_max,
        "simulate.resolution_us": scenario.simulate.resolution_us,
    }
    for place, number in positive.items():
        if not number > 0:
            yield f"{place}: {number!r} is not above 0; write a positive number"
    at_most = {
        "consumers": (scenario.consumers, CONSUMERS_MAX),
        "month": (scenario.month, MONTH_MAX),
        "arrivals.days": (arrivals.days, 366),
        "arrivals.payments_per_consumer_month": (
            arrivals.payments_per_consumer_month,
            PAYMENTS_MAX,
        ),
        "arrivals.cycles": (arrivals.cycles, max(arrivals.days, 1)),
        "load.duration_s": (scenario.load.duration_s, 86_400),
        "simulate.resolution_us": (scenario.simulate.resolution_us, 1_000_000),
    }
    for place, (number, limit) in at_most.items():
        if number > limit:
            yield f"{place}: {number!r} is too many; write at most {limit}"
    if scenario.load.drain_s < 0:
        yield f"load.drain_s: {scenario.load.drain_s!r} is negative; write 0 or more"
    if "/" in scenario.name or not scenario.name.strip():
        yield f"name: {scenario.name!r} cannot name a folder; write a plain word"
    if not 0 <= scenario.seed < 1 << 63:
        yield f"seed: {scenario.seed!r} is out of range; write 0 to 2**63 - 1"


def _weight_problems(scenario: Scenario) -> Iterator[str]:
    arrivals, season = scenario.arrivals, scenario.season
    own = [
        (f"channels.{kind}.{name}", weights, count)
        for kind, channel in scenario.channels.items()
        for name, weights, count in (
            ("weekdays", channel.weekdays, 7),
            ("hours", channel.hours, 24),
        )
        if weights
    ]
    for place, weights, count in (
        *own,
        ("arrivals.days_after_bill", arrivals.days_after_bill, None),
        ("arrivals.weekdays", arrivals.weekdays, 7),
        ("arrivals.hours", arrivals.hours, 24),
        ("season.counts", season.counts, MONTHS),
        ("season.amounts", season.amounts, MONTHS),
    ):
        if count is not None and len(weights) != count:
            yield f"{place}: {len(weights)} weights; write {count}"
        if any(weight < 0 for weight in weights) or not sum(weights) > 0:
            yield (
                f"{place}: {list(weights)!r} has a negative rate or none at all; "
                "write weights of 0 or more"
            )


def _shares(place: str, shares: Mapping[str, float]) -> Iterator[str]:
    for name, share in shares.items():
        if not 0 <= share <= 1:
            yield f"{place}.{name}: share {share!r} is not between 0 and 1"
    total = sum(shares.values())
    if not shares:
        yield f"{place}: has no shares; write at least one"
    elif abs(total - 1) > SHARES_TOLERANCE:
        yield f"{place}: shares sum to {total:.6g}; make them sum to 1"


def _is_used(scenario: Scenario, *, digital: bool) -> bool:
    return any(share > 0 if digital else share < 1 for share in _adopted(scenario).values())


def _adopted(scenario: Scenario) -> dict[str, float]:
    """Every share of digital payments that is written down, with its place."""
    adoption = scenario.adoption
    path = {f"adoption.path[{index}]": share for index, share in enumerate(adoption.path)}
    return {"adoption.share": adoption.share} | path


def _adoption_problems(scenario: Scenario) -> Iterator[str]:
    shares = _adopted(scenario)
    for place, share in shares.items():
        if not 0 <= share <= 1:
            yield f"{place}: {share!r} is not between 0 and 1"
    loser = scenario.channels.get(scenario.adoption.loses)
    other = [kind for kind, channel in scenario.channels.items() if not channel.digital]
    if not scenario.adoption.path:
        return
    if loser is None or loser.digital:
        hint = closest(scenario.adoption.loses, other)
        loses = scenario.adoption.loses
        yield f"adoption.loses: {loses!r} is no channel of those who are not digital; {hint}"
        return
    has = loser.share * (1 - scenario.adoption.share)
    gained = max(scenario.adoption.path) - scenario.adoption.share
    if gained > has + SHARES_TOLERANCE:
        yield (
            f"adoption.path: {scenario.adoption.loses!r} has {has:.4g} of the payments and cannot "
            f"lose {gained:.4g}; lower the path or name another channel"
        )


def _share_problems(scenario: Scenario) -> Iterator[str]:
    for digital, word in ((True, "digital"), (False, "other")):
        members = {k: c.share for k, c in scenario.channels.items() if c.digital is digital}
        if members or _is_used(scenario, digital=digital):
            yield from _shares(f"channels ({word})", members)
    for kind, channel in scenario.channels.items():
        if kind not in scenario.journeys:
            yield f"channels.{kind}: no such journey; {closest(kind, scenario.journeys)}"
        if channel.media:
            yield from _shares(f"channels.{kind}.media", channel.media)
        for medium in channel.media:
            if medium not in MEDIA:
                yield f"channels.{kind}.media: unknown medium {medium!r}; {closest(medium, MEDIA)}"
    yield from _shares("apps", {name: app.share for name, app in scenario.apps.items()})
    for name, app in scenario.apps.items():
        if app.scanner not in SCANNERS:
            hint = closest(app.scanner, SCANNERS)
            yield f"apps.{name}.scanner: unknown scanner {app.scanner!r}; {hint}"
        yield from app_problems(f"apps.{name}", app)
    yield from _shares("banks", scenario.banks)
    yield from _shares("operators", scenario.operators)

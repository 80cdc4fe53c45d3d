"""What is wrong with the stations of a scenario and with what befalls them."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

from fewseconds.payer_app import CAPPED, WALLET
from fewseconds.scenario import MEDIA, SCANNERS, TRAITS
from fewseconds.spelling import closest
from fewseconds.station import WEEKDAYS
from fewseconds.timeline import DAY_US, span_us, us_of

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Iterator

    from fewseconds.law import Law
    from fewseconds.scenario import Scenario
    from fewseconds.station import Burst, Failure, Fault, Opening, RateLimit, Station

SHARES_TOLERANCE: Final = 1e-6
FACTOR_RANGE: Final = (0.001, 1000.0)
"""Slow-downs are whole thousandths, and a stretched time must stay within 63 bits."""
RATE_RANGE: Final = (0.001, 1e9)
BURST_MAX: Final = 1_000_000
SPAN_MAX_S: Final = 86_400

COPIES: Final = (2, 64)


def station_problems(scenario: Scenario) -> Iterator[str]:
    """What is wrong with stations and faults, as ``place: …`` lines."""
    for name, station in scenario.stations.items():
        place = f"stations.{name}"
        yield from _queue_problems(place, station)
        yield from _law_problems(f"{place}.service_time", station.service_time)
        yield from _law_problems(f"{place}.patience", station.patience)
        yield from _failure_problems(place, station.failures)
        yield from _variant_problems(scenario, place, station)
        yield from _capacity_problems(scenario, place, station)
        if station.burst is not None:
            yield from _burst_problems(f"{place}.burst", station.burst)
        if station.opening is not None:
            yield from _opening_problems(f"{place}.opening", station.opening)
        if station.rate_limit is not None:
            yield from _rate_problems(f"{place}.rate_limit", station.rate_limit)
    for index, fault in enumerate(scenario.fault):
        yield from fault_problems(scenario, f"fault[{index}]", fault)


def _queue_problems(place: str, station: Station) -> Iterator[str]:
    if station.servers < 0:
        yield f"{place}.servers: {station.servers!r} is negative; write 0 or more (0: no waiting)"
    if station.queue_limit is not None and station.queue_limit < 0:
        yield f"{place}.queue_limit: {station.queue_limit!r} is negative; write 0 or more"
    if not 0 <= station.persistence <= 1:
        yield f"{place}.persistence: {station.persistence!r} is not between 0 and 1"


def _capacity_problems(scenario: Scenario, place: str, station: Station) -> Iterator[str]:
    place = f"{place}.servers_later"
    if station.servers_later and station.servers == 0:
        yield f"{place}: the station begins with as many servers as are wanted; give it servers"
    moments = []
    for index, change in enumerate(station.servers_later):
        if change.servers < 1:
            what = "write 1 or more, or an outage that holds the work"
            yield f"{place}[{index}].servers: {change.servers!r} leaves nobody to serve; {what}"
        yield from _moment_problems(scenario, f"{place}[{index}].from", change.start)
        if change.start.tzinfo is not None:
            moments.append(change.start)
    if any(a >= b for a, b in pairwise(moments)):
        yield f"{place}: changes must come in order of time; sort them and keep one a moment"


def _burst_problems(place: str, burst: Burst) -> Iterator[str]:
    if not 1 <= burst.span_s <= SPAN_MAX_S:
        yield f"{place}.span_s: {burst.span_s!r} is out of range; write 1 to {SPAN_MAX_S}"
    if not 0 < burst.share_of_time <= 1:
        yield f"{place}.share_of_time: {burst.share_of_time!r} is not above 0 and at most 1"


def _opening_problems(place: str, opening: Opening) -> Iterator[str]:
    for weekday, spans in opening.hours.items():
        if weekday not in WEEKDAYS:
            yield f"{place}.hours: unknown weekday {weekday!r}; {closest(weekday, WEEKDAYS)}"
        last_us = -1
        for span in spans:
            try:
                from_us, until_us = span_us(span)
            except ValueError:
                hint = "write a beginning and a later end, such as '09:30-13:00'"
                yield f"{place}.hours.{weekday}: {span!r} is not a span of a day; {hint}"
                continue
            if from_us <= last_us:
                yield f"{place}.hours.{weekday}: {span!r} begins before the one before it ends"
            last_us = until_us
    if not any(opening.hours.values()):
        yield f"{place}.hours: never open; write at least one weekday with a span"


def _rate_problems(place: str, limit: RateLimit) -> Iterator[str]:
    low, high = RATE_RANGE
    if not low <= limit.per_s <= high:
        yield f"{place}.per_s: {limit.per_s!r} is out of range; write {low:g} to {high:g}"
    if not 1 <= limit.burst <= BURST_MAX:
        yield f"{place}.burst: {limit.burst!r} is out of range; write 1 to {BURST_MAX}"


def fault_problems(scenario: Scenario, place: str, fault: Fault) -> Iterator[str]:
    """What is wrong with a fault; each begins with its place, ``place`` or a key below it."""
    if fault.on_the_wire:
        yield from _wire_problems(place, fault)
    elif fault.share is not None:
        yield f"{place}.share: belongs to callbacks; remove it"
    elif fault.station not in scenario.stations:
        hint = closest(fault.station, scenario.stations)
        yield f"{place}: unknown station {fault.station!r}; {hint}"
    if fault.bank and fault.kind != "outage":
        yield f"{place}.bank: belongs to an outage; remove it"
    if fault.bank and fault.bank not in scenario.banks:
        yield f"{place}.bank: unknown bank {fault.bank!r}; {closest(fault.bank, scenario.banks)}"
    low, high = FACTOR_RANGE
    if fault.kind == "slowdown" and not low <= (fault.factor or 0) <= high:
        yield f"{place}.factor: {fault.factor!r} is not above 0; write {low:g} to {high:g}"
    if fault.kind == "outage":
        if fault.factor is not None:
            yield f"{place}.factor: belongs to a slowdown; remove it"
        if fault.bank and fault.visits == "hold":
            yield f"{place}.visits: the outage of one bank holds nobody; write 'reject'"
        if fault.start is None or fault.until is None:
            yield f"{place}: an outage has a beginning and an end; write from and until"
    for key, moment in (("from", fault.start), ("until", fault.until)):
        if moment is not None:
            yield from _moment_problems(scenario, f"{place}.{key}", moment)
    edges = [
        one for one in (fault.start, fault.until) if one is not None and one.tzinfo is not None
    ]
    if any(a >= b for a, b in pairwise(edges)):
        yield f"{place}.until: does not come after 'from'; write a later moment"


def _wire_problems(place: str, fault: Fault) -> Iterator[str]:
    if fault.station:
        yield f"{place}.station: {fault.kind} has none; remove it"
    if fault.factor is not None:
        yield f"{place}.factor: belongs to a slowdown; remove it"
    if fault.share is None or not 0 < fault.share <= 1:
        yield f"{place}.share: {fault.share!r} is out of range; write above 0 and up to 1"
    if not COPIES[0] <= fault.copies <= COPIES[1]:
        yield f"{place}.copies: {fault.copies!r} is out of range; write {COPIES[0]} to {COPIES[1]}"


def _moment_problems(scenario: Scenario, place: str, moment: dt.datetime) -> Iterator[str]:
    first_day = scenario.first_day
    if moment.tzinfo is None:
        yield f"{place}: {moment} has no offset; write {moment.isoformat()}+05:30"
    elif not 0 <= us_of(moment, first_day) <= (days := scenario.arrivals.days) * DAY_US:
        yield f"{place}: {moment} is outside the {days} days from {first_day}; write one of them"


def _law_problems(place: str, law: Law | None) -> Iterator[str]:
    if law is not None:
        yield from (f"{place}.{problem}" for problem in law.problems())


def _failure_problems(place: str, failures: tuple[Failure, ...] | None) -> Iterator[str]:
    for index, failure in enumerate(failures or ()):
        if not 0 <= failure.share <= 1:
            yield f"{place}.failures[{index}].share: {failure.share!r} is not between 0 and 1"
    total = sum(failure.share for failure in failures or ())
    if total > 1 + SHARES_TOLERANCE:
        yield f"{place}.failures: shares sum to {total:.6g}; keep them at 1 or below"


def _variant_problems(scenario: Scenario, place: str, station: Station) -> Iterator[str]:
    for trait in station.by:
        if trait not in TRAITS:
            yield f"{place}.by: unknown trait {trait!r}; {closest(trait, TRAITS)}"
    yield from _variant_name_problems(scenario, place, station)
    for value, variant in station.variants.items():
        if variant.persistence is not None and not 0 <= variant.persistence <= 1:
            what = f"{variant.persistence!r} is not between 0 and 1"
            yield f"{place}.variants.{value}.persistence: {what}"
        yield from _law_problems(f"{place}.variants.{value}.service_time", variant.service_time)
        yield from _failure_problems(f"{place}.variants.{value}", variant.failures)
        for outcome, share in (variant.shares or {}).items():
            if not station.typical.get(outcome, 0) > 0:
                what = f"{outcome!r} has no typical share; write {place}.typical"
                yield f"{place}.variants.{value}.shares: {what}"
            elif not 0 <= share <= 1:
                what = f"{share!r} is not between 0 and 1"
                yield f"{place}.variants.{value}.shares.{outcome}: {what}"


def _variant_name_problems(scenario: Scenario, place: str, station: Station) -> Iterator[str]:
    known: dict[str, Iterable[str]] = {
        "medium": MEDIA,
        "scanner": SCANNERS,
        "app": scenario.apps,
        "bank": scenario.banks,
        "operator": scenario.operators,
        "signature": ("", "verifies", "ignores"),
        "account": (*scenario.banks, WALLET),
        "gallery": ("", CAPPED),
    }
    for name in station.variants:
        values = name.split("/")
        if len(values) != len(station.by):
            wanted = "/".join(f"<{trait}>" for trait in station.by) or "none, or give 'by'"
            yield f"{place}.variants.{name}: does not fit by = {list(station.by)!r}; write {wanted}"
            continue
        for trait, value in zip(station.by, values, strict=True):
            if value not in known.get(trait, (value,)):
                yield f"{place}.variants.{name}: no such {trait}; {closest(value, known[trait])}"

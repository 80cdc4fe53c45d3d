"""The numbers that a verdict rests on and that somebody had to assume, each ready to be changed.

These are the times of stations and of their variants whose source says *assumption*, shares of
technical failures (of parties outside our control even where a source gives today's share, because
tomorrow's is assumed to be the same), the share of digital payments, and the mixes of channels,
media, apps, banks and operators. Arrivals and servers have searches of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import msgspec

from fewseconds.report import words
from sim.variants import scaled

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from fewseconds.law import Law
    from fewseconds.scenario import Scenario
    from fewseconds.station import Failure, Station, Variant

RANGE: Final = 10.0
"""Numbers are looked at from this part of what they are to so many times it; shares to 100 %."""
MARK: Final = "assumption"
"""What the source of an assumed number holds."""
TECHNICAL: Final = ("error", "timed_out")
Unit = Literal["s", "share"]


class Assumption(NamedTuple):
    """A number that may be otherwise."""

    name: str
    """What it is, in words."""
    station: str
    """Empty for what belongs to none."""
    now: float
    """Seconds, or a share."""
    unit: Unit
    at: Callable[[float], Scenario]
    """The scenario with this number ``factor`` times what it is."""

    @property
    def ends(self) -> tuple[float, float]:
        """The factors between which it is looked at."""
        return 1 / RANGE, min(RANGE, 1 / self.now) if self.unit == "share" else RANGE

    def shown(self, factor: float = 1.0) -> str:
        """Its value at a factor, in words."""
        value = self.now * factor
        return words.percent(value, 2) if self.unit == "share" else words.seconds(value)


def assumptions(scenario: Scenario, visited: Collection[str]) -> Iterator[Assumption]:
    """All that the ``visited`` stations rest on.

    Numbers that are 0, and shares that are all or nothing, cannot be stretched.
    """
    stations = {name: scenario.stations[name] for name in visited}
    for name, station in stations.items():
        yield from _of_station(scenario, name, station)
    share = scenario.adoption.share
    if 0 < share < 1:
        yield Assumption("share of digital payments", "", share, "share", _adopting(scenario))
    yield from _mixes(scenario, {trait for one in stations.values() for trait in one.by})


def _of_station(scenario: Scenario, name: str, station: Station) -> Iterator[Assumption]:
    label = words.label(name, {})
    # Where every variant has a law of its own, the station's hardly matters.
    varied = station.variants.values()
    if not (varied and all(variant.service_time for variant in varied)):
        yield from _time(label, name, station.service_time, _station_law(scenario, name))
    for failure in station.failures:
        if _is_open(station, failure):
            put = _station_failure(scenario, name, failure.code)
            yield Assumption(f"{label}: share of {failure.code}", name, failure.share, "share", put)
    for key, variant in station.variants.items():
        said = f"{label} ({words.label(key, {})})"
        if variant.service_time is not None:
            yield from _time(said, name, variant.service_time, _variant_law(scenario, name, key))
        for failure in variant.failures or ():
            if _is_open(station, failure):
                put = _variant_failure(scenario, name, key, failure.code)
                yield Assumption(
                    f"{said}: share of {failure.code}", name, failure.share, "share", put
                )


def _is_open(station: Station, failure: Failure) -> bool:
    technical = failure.outcome in TECHNICAL and station.role == "mocked"
    return 0 < failure.share < 1 and (technical or MARK in failure.source)


def _time(said: str, name: str, law: Law, put: Callable[[float], Scenario]) -> Iterator[Assumption]:
    typical = typical_s(law)
    if MARK in law.source and typical > 0:
        yield Assumption(f"{said}: median time", name, typical, "s", put)


def typical_s(law: Law) -> float:
    """The median of a law, in seconds."""
    return law.inverse()(0.5) / 1e6


# --- changing a number --------------------------------------------------------------------------


def _with_station(scenario: Scenario, name: str, **changes: object) -> Scenario:
    station = msgspec.structs.replace(scenario.stations[name], **changes)
    return msgspec.structs.replace(scenario, stations={**scenario.stations, name: station})


def _with_variant(scenario: Scenario, name: str, key: str, **changes: object) -> Scenario:
    variants: dict[str, Variant] = dict(scenario.stations[name].variants)
    variants[key] = msgspec.structs.replace(variants[key], **changes)
    return _with_station(scenario, name, variants=variants)


def _stretched(law: Law, factor: float) -> Law:
    return msgspec.convert(scaled(msgspec.to_builtins(law), factor), type(law))


def _station_law(scenario: Scenario, name: str) -> Callable[[float], Scenario]:
    law = scenario.stations[name].service_time
    return lambda factor: _with_station(scenario, name, service_time=_stretched(law, factor))


def _variant_law(scenario: Scenario, name: str, key: str) -> Callable[[float], Scenario]:
    law = scenario.stations[name].variants[key].service_time
    assert law is not None  # noqa: S101 - only asked for variants that have one
    return lambda factor: _with_variant(scenario, name, key, service_time=_stretched(law, factor))


def _more_often(failures: tuple[Failure, ...], code: str, factor: float) -> tuple[Failure, ...]:
    """One failure so many times as often, at most as often as the others leave room."""
    others = sum(failure.share for failure in failures if failure.code != code)
    return tuple(
        msgspec.structs.replace(failure, share=min(failure.share * factor, 1 - others))
        if failure.code == code
        else failure
        for failure in failures
    )


def _station_failure(scenario: Scenario, name: str, code: str) -> Callable[[float], Scenario]:
    failures = scenario.stations[name].failures
    return lambda factor: _with_station(
        scenario, name, failures=_more_often(failures, code, factor)
    )


def _variant_failure(
    scenario: Scenario, name: str, key: str, code: str
) -> Callable[[float], Scenario]:
    failures = scenario.stations[name].variants[key].failures or ()
    return lambda factor: _with_variant(
        scenario, name, key, failures=_more_often(failures, code, factor)
    )


def _adopting(scenario: Scenario) -> Callable[[float], Scenario]:
    adoption = scenario.adoption
    return lambda factor: msgspec.structs.replace(
        scenario,
        adoption=msgspec.structs.replace(adoption, share=adoption.share * factor, path=()),
    )


# --- mixes --------------------------------------------------------------------------------------


def _mixes(scenario: Scenario, told: Collection[str]) -> Iterator[Assumption]:
    """Shares of a mix that some station tells apart; what one gains, the others lose."""
    replace = msgspec.structs.replace
    channels, apps = scenario.channels, scenario.apps
    yield from _mix(
        "payments",
        {name: channel.share for name, channel in channels.items() if channel.digital},
        lambda shares: replace(
            scenario,
            channels=channels | {n: replace(channels[n], share=s) for n, s in shares.items()},
        ),
    )
    for kind, channel in channels.items():
        if channel.share and "medium" in told:
            yield from _mix(
                f"{words.label(kind, words.KINDS)} payments",
                channel.media,
                _showing(scenario, kind),
            )
    if {"app", "scanner"} & set(told):
        yield from _mix(
            "apps",
            {name: app.share for name, app in apps.items()},
            lambda shares: replace(
                scenario, apps={name: replace(apps[name], share=s) for name, s in shares.items()}
            ),
        )
    if "bank" in told:
        yield from _mix("banks", scenario.banks, lambda shares: replace(scenario, banks=shares))
    if "operator" in told:
        yield from _mix(
            "operators", scenario.operators, lambda shares: replace(scenario, operators=shares)
        )


def _showing(scenario: Scenario, kind: str) -> Callable[[dict[str, float]], Scenario]:
    replace, channels = msgspec.structs.replace, scenario.channels
    return lambda shares: replace(
        scenario, channels=channels | {kind: replace(channels[kind], media=shares)}
    )


def _mix(
    of: str, shares: Mapping[str, float], put: Callable[[dict[str, float]], Scenario]
) -> Iterator[Assumption]:
    def at(name: str) -> Callable[[float], Scenario]:
        return lambda factor: put(_tilted(shares, name, factor))

    for name, share in shares.items():
        if 0 < share < 1:
            said = f"{words.label(name, words.KINDS | words.MEDIA)}: share of {of}"
            yield Assumption(said, "", share, "share", at(name))


def _tilted(shares: Mapping[str, float], name: str, factor: float) -> dict[str, float]:
    """The shares with one of them so many times as large; they still sum to 1."""
    grown = min(shares[name] * factor, 1.0)
    rest = (1 - grown) / (1 - shares[name])
    return {one: grown if one == name else share * rest for one, share in shares.items()}

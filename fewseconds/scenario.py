"""What we assume: population, arrivals, channels, journeys, stations, faults and objectives.

Every table that carries numbers carries their ``source`` beside them: a public source, a
measurement with the command that repeats it, or ``assumption: …`` with its reason.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from typing import Final, Literal

import msgspec

from fewseconds import journey
from fewseconds.journey import Route, Step
from fewseconds.station import Fault, Station

TRAITS: Final = ("medium", "scanner", "app", "bank", "operator")
"""What may tell one visit of a station from another (``Station.by``)."""
MEDIA: Final = (
    "laser_print", "laptop_screen", "same_phone", "placard", "phone_screen", "thermal_print",
)  # fmt: skip
SCANNERS: Final = ("zxing-cpp", "pyzbar", "opencv")


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the file; unknown keys are refused."""


class Arrivals(_Table, frozen=True, kw_only=True):
    """When people pay: bills are staggered over the month and paid around their due dates."""

    source: str
    first_day: dt.date
    days: int
    payments_per_consumer_month: float
    cycles: int
    """Number of billing cycles; cycle c is billed on day ``c * days / cycles``."""
    days_after_bill: tuple[float, ...]
    """Relative frequency of paying 0, 1, 2, … days after the bill."""
    weekdays: tuple[float, ...]
    """Relative frequency Monday to Sunday."""
    hours: tuple[float, ...]
    """Relative frequency of the 24 hours of the day, IST."""


class Channel(_Table, frozen=True, kw_only=True):
    """A kind of journey and its share among the digital (or the other) payments."""

    source: str
    digital: bool
    share: float
    media: dict[str, float] = {}
    """Where the QR is seen, with shares; empty for journeys without a QR."""


class App(_Table, frozen=True, kw_only=True):
    """A payer app: its share of payments and the decoder that stands for its scanner."""

    share: float
    scanner: str


class Journey(_Table, frozen=True, kw_only=True):
    """A kind of journey: the names of its steps, in order."""

    steps: tuple[str, ...]
    source: str
    real_time: bool = True
    """False for journeys that only virtual time can walk (a queue of people at a counter)."""


class Slo(_Table, frozen=True, kw_only=True):
    """A service level objective."""

    name: str
    measure: Literal[
        "machine_time", "end_to_end", "sms_time", "portal_time", "error_rate", "biller_time",
        "faster_than_portal",
    ]  # fmt: skip
    statistic: Literal["p50", "p90", "p95", "p99", "share"]
    limit: float
    """Seconds for a time, a share otherwise."""
    at_least: bool = False
    """The observation must lie above the limit instead of below it."""
    gate: bool = False
    """A gate decides the exit code; a claim is judged and printed all the same."""
    engines: tuple[Literal["measured", "simulated"], ...] = ("measured", "simulated")
    source: str


class LoadWindow(_Table, frozen=True, kw_only=True):
    """Which part of the plan a load test plays, at its true rate."""

    day: Literal["median", "busiest"]
    duration_s: int
    """The busiest stretch of this length within the day."""
    drain_s: int
    """Longest wait for open journeys after the last arrival; then they are ``unfinished``."""
    in_flight_max: int
    source: str


class Simulated(_Table, frozen=True, kw_only=True):
    """How much of the plan the reference engine walks around the load window."""

    journeys_max: int
    source: str
    resolution_us: int = 1
    """Grid of all times in virtual time; a coarse one makes events coincide."""


class Scenario(_Table, frozen=True, kw_only=True):
    """Everything that is assumed; a plan is a pure function of it and a seed."""

    name: str
    title: str
    description: str
    seed: int
    consumers: int
    consumers_source: str
    digital_share: float
    digital_share_source: str
    arrivals: Arrivals
    channels: dict[str, Channel]
    apps: dict[str, App]
    apps_source: str
    banks: dict[str, float]
    banks_source: str
    operators: dict[str, float]
    operators_source: str
    steps: dict[str, Step]
    journeys: dict[str, Journey]
    stations: dict[str, Station]
    load: LoadWindow
    simulate: Simulated
    slo: tuple[Slo, ...]
    fault: tuple[Fault, ...] = ()
    plan_hash: str = ""
    """If set, the plan under the scenario's own seed must have this hash."""
    tripwire: bool = False
    """Measured latency only warns of a gross change: an invalid measurement is run once again."""

    @property
    def digest(self) -> str:
        """SHA-256 of everything in the scenario, in hexadecimal.

        The order of tables counts: shares are laid end to end in it, so the plan depends on it.
        """
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()

    def channel_shares(self) -> dict[str, float]:
        """Share of all payments a kind of journey has."""
        return {
            kind: channel.share
            * (self.digital_share if channel.digital else 1 - self.digital_share)
            for kind, channel in self.channels.items()
        }

    def named_steps(self, kind: str) -> tuple[Step, ...]:
        """The steps of a kind of journey, each with its name."""
        return tuple(
            msgspec.structs.replace(self.steps[name], name=name)
            for name in self.journeys[kind].steps
        )

    def route(self, kind: str) -> Route:
        """A kind of journey, made ready for an engine."""
        return journey.route(kind, self.named_steps(kind))

    def slowdown(self, station: str) -> float:
        """By how much the service times of ``station`` are stretched on purpose, at all times."""
        factor = 1.0
        for fault in self.fault:
            if fault.station == station and fault.start is None and fault.until is None:
                factor *= fault.factor or 1.0
        return factor

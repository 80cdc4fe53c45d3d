"""What we assume: population, arrivals, channels, journeys, stations, faults and objectives.

Every table that carries numbers carries their ``source`` beside them: a public source, a
measurement with the command that repeats it, or ``assumption: …`` with its reason.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from fewseconds import journey
from fewseconds.journey import Route, Step
from fewseconds.payer_app import App, Payee, in_app
from fewseconds.population import Adoption, Arrivals, Channel, Season
from fewseconds.station import Fault, Station

if TYPE_CHECKING:
    import datetime as dt

TRAITS: Final = ("medium", "scanner", "app", "bank", "operator", "signature", "account", "gallery")
"""What may tell one visit of a station from another (``Station.by``)."""
MEDIA: Final = (
    "laser_print", "laptop_screen", "same_phone", "placard", "phone_screen", "thermal_print",
)  # fmt: skip
SAME_PHONE: Final = "same_phone"
"""The medium whose code is a picture in the paying phone itself."""
SCANNERS: Final = ("zxing-cpp", "pyzbar", "opencv")


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the file; unknown keys are refused."""


class Billing(_Table, frozen=True, kw_only=True):
    """What is owed on a bill before and after its day; without this table, what is printed."""

    source: str
    early_days: int = 0
    """The discount is granted up to this many days after the bill was issued; 0: there is none."""
    early_discount: float = 0.0
    """Share of the amount."""
    late_charge: float = 0.0
    """Share of the amount, after the due date."""


class Journey(_Table, frozen=True, kw_only=True):
    """A kind of journey: the names of its steps, in order."""

    steps: tuple[str, ...]
    source: str
    real_time: bool = True
    """False for journeys that only virtual time can walk (a queue of people at a counter)."""
    counts_as: Literal["", "qr", "portal", "other_digital", "counter"] = ""
    """The way of paying that it is an instance of; measures and comparisons are made of ways."""


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
    month: int = 1
    """Which month is played, the first being that of ``arrivals.first_day``."""
    adoption: Adoption
    season: Season = Season()
    arrivals: Arrivals
    channels: dict[str, Channel]
    apps: dict[str, App]
    apps_source: str
    payee: Payee | None = None
    """Missing: a verified merchant."""
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
    billing: Billing | None = None
    plan_hash: str = ""
    """If set, the plan under the scenario's own seed must have this hash."""
    tripwire: bool = False
    """Measured latency only warns of a gross change: an invalid measurement is run once again."""

    @property
    def digest(self) -> str:
        """SHA-256 of everything in the scenario, in hexadecimal.

        The order of tables counts: shares are laid end to end in it, so the plan depends on it.
        Where a file of arrivals lies does not count, what is in it does.
        """
        arrivals = self.arrivals
        if arrivals.file_sha256:
            arrivals = msgspec.structs.replace(arrivals, file="")
        whole = msgspec.structs.replace(self, arrivals=arrivals)
        return hashlib.sha256(msgspec.json.encode(whole)).hexdigest()

    @property
    def first_day(self) -> dt.date:
        """The first day of the month that is played."""
        return self.arrivals.first_day_of(self.month)

    @property
    def digital_share(self) -> float:
        """Share of the payments of the month that are digital."""
        return self.adoption.in_month(self.month)

    @property
    def payments(self) -> int:
        """Number of payments in the month, unless a file of arrivals says otherwise."""
        rate = self.arrivals.payments_per_consumer_month
        return round(self.consumers * rate * self.payments_factor)

    @property
    def payments_factor(self) -> float:
        """What the season makes of the number of this month's payments."""
        return self.season.counts[self.first_day.month - 1]

    @property
    def amount_factor(self) -> float:
        """What the season makes of the amounts of this month's bills."""
        return self.season.amounts[self.first_day.month - 1]

    def channel_shares(self) -> dict[str, float]:
        """Share of all payments of the month a kind of journey has."""
        shares, gained = {}, self.digital_share - self.adoption.share
        for kind, channel in self.channels.items():
            if channel.digital:
                shares[kind] = channel.share * self.digital_share
            else:
                today = channel.share * (1 - self.adoption.share)
                shares[kind] = today - gained * (kind == self.adoption.loses)
        return shares

    def kinds(self, *ways: str) -> tuple[str, ...]:
        """The kinds of journey that count as one of ``ways``."""
        return tuple(kind for kind, table in self.journeys.items() if table.counts_as in ways)

    def named_steps(self, kind: str, app: str = "") -> tuple[Step, ...]:
        """The steps of a kind of journey, each with its name; as they are in ``app``, if given."""
        named = (
            msgspec.structs.replace(self.steps[name], name=name)
            for name in self.journeys[kind].steps
        )
        mine = self.apps.get(app)
        return tuple(named) if mine is None else tuple(in_app(step, mine) for step in named)

    def takers(self) -> dict[str, str]:
        """The station that takes a message over, for each kind of journey that sends one."""
        return {
            kind: step.legs[-2:][0].station
            for kind in self.journeys
            for step in self.named_steps(kind)
            if step.marks == "message"
        }

    def route(self, kind: str, app: str = "") -> Route:
        """A kind of journey, made ready for an engine; with the cadence and waits of ``app``.

        Apps change numbers only: steps, legs, branches and events are those of the kind.
        """
        return journey.route(kind, self.named_steps(kind, app))

    def gallery_capped(self, app: App) -> bool:
        """Whether ``app`` limits what may be paid by a code out of the gallery."""
        verified = self.payee is None or self.payee.verified
        return not verified and app.gallery_max_paise is not None

    def slowdown(self, station: str) -> float:
        """By how much the service times of ``station`` are stretched on purpose, at all times."""
        factor = 1.0
        for fault in self.fault:
            if fault.station == station and fault.start is None and fault.until is None:
                factor *= fault.factor or 1.0
        return factor

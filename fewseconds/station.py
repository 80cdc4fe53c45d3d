"""A station as a scenario describes it: servers, hours, failures, and what befalls it."""

from __future__ import annotations

import datetime as dt
import math
from typing import Final, Literal

import msgspec

from fewseconds.law import Law

WEEKDAYS: Final = (
    "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday",
)  # fmt: skip
PRIORITIES: Final = 4
"""Legs have a priority from 0 to one below this."""


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the file; unknown keys are refused."""


class Failure(_Table, frozen=True, kw_only=True):
    """A way for the work at a station to fail."""

    outcome: Literal["declined", "error", "timed_out"]
    """``timed_out``: the work is done but its answer never arrives."""
    code: str
    share: float
    source: str


class Burst(_Table, frozen=True, kw_only=True):
    """Errors of a station come together: in a few spans of time, as long as there is room in them.

    Each variant of the station has bursts of its own. The mean is that of its failures.
    """

    share_of_time: float
    """Share of the spans in which there are errors."""
    span_s: int
    """Length of a span; spans are cut from the first midnight on."""
    source: str


class Variant(_Table, frozen=True, kw_only=True):
    """What differs at a station for one value of the traits it distinguishes."""

    service_time: Law | None = None
    failures: tuple[Failure, ...] | None = None
    shares: dict[str, float] | None = None
    """Outcome → share of all failures with it; each failure of the station is scaled by what this
    is to the station's ``typical`` share."""
    source: str | None = None
    """Of the shares; a law and a failure have their own."""
    persistence: float | None = None


class Opening(_Table, frozen=True, kw_only=True):
    """When a station serves. Work that has begun is finished after closing time."""

    hours: dict[str, tuple[str, ...]]
    """Weekday → spans such as ``"09:30-13:00"``, IST; a weekday that is missing is closed."""
    outside: Literal["wait", "turn_away"] = "wait"
    """Who comes while it is closed, or still waits when it closes, waits for it to open again or is
    rejected."""
    code: str = "closed"
    """Code of those who are turned away."""
    source: str


class Servers(_Table, frozen=True, kw_only=True):
    """Another number of servers from a moment on. Work that has begun is finished."""

    start: dt.datetime = msgspec.field(name="from")
    servers: int
    source: str


class RateLimit(_Table, frozen=True, kw_only=True):
    """A bucket of ``burst`` tokens that fills at ``per_s``; every visit takes one."""

    per_s: float
    burst: int = 1
    excess: Literal["reject", "wait"] = "reject"
    """``reject``: a visit that finds no token when it comes is turned away. ``wait``: a visit
    waits in the queue until there is a token for its service to begin."""
    code: str = "429"
    """Code of those who are turned away."""
    source: str


class Station(_Table, frozen=True, kw_only=True):
    """Where a leg goes: servers behind one queue, first come, first served within a priority."""

    role: Literal["human", "device", "mocked", "measured"]
    """``mocked`` parties sleep the simulator's draw; ``measured`` ones work at their own speed."""
    service_time: Law
    source: str
    servers: int = 0
    """0 means as many as are wanted: nobody ever waits for one."""
    servers_later: tuple[Servers, ...] = ()
    """The number of servers as a step function of time, in order."""
    opening: Opening | None = None
    rate_limit: RateLimit | None = None
    queue_limit: int | None = None
    """Visits beyond this many waiting are rejected."""
    patience: Law | None = None
    """How long a visit waits before it leaves the queue, its work never done."""
    failures: tuple[Failure, ...] = ()
    persistence: float = 0.0
    """Chance that an attempt shares the luck of the one before it (frames of one hand)."""
    by: tuple[str, ...] = ()
    """Traits that choose a variant; several are joined with ``/`` in the variant's name."""
    variants: dict[str, Variant] = {}
    typical: dict[str, float] = {}
    """Outcome → share over all variants, to which the variants' ``shares`` are related."""
    burst: Burst | None = None
    surface: str = ""
    """The survey that the variants come from: a shipped name or a path of an artefact. It is
    expanded when the scenario is read; what is written by hand goes before it."""

    def grown(self, factor: float) -> Station:
        """The station of a city ``factor`` times as large: so many more servers, places and tokens.

        Servers and places are rounded up to whole ones.
        """
        limit, places = self.rate_limit, self.queue_limit
        if limit is not None:
            burst = math.ceil(limit.burst * factor)
            limit = msgspec.structs.replace(limit, per_s=limit.per_s * factor, burst=burst)
        return msgspec.structs.replace(
            self,
            servers=math.ceil(self.servers * factor),
            servers_later=tuple(
                msgspec.structs.replace(one, servers=math.ceil(one.servers * factor))
                for one in self.servers_later
            ),
            rate_limit=limit,
            queue_limit=None if places is None else math.ceil(places * factor),
        )

    def failures_of(self, variant: str) -> tuple[Failure, ...]:
        """The failures of the visits that ``variant`` names, at their own shares."""
        own = self.variants.get(variant)
        if own is None:
            return self.failures
        failures = self.failures if own.failures is None else own.failures
        if own.shares is None:
            return failures
        return tuple(
            msgspec.structs.replace(
                one, share=one.share * own.shares[one.outcome] / self.typical[one.outcome]
            )
            if one.outcome in own.shares
            else one
            for one in failures
        )


class Fault(_Table, frozen=True, kw_only=True):
    """Something that is made to go wrong on purpose."""

    kind: Literal["slowdown", "outage", "lost_callback", "doubled_callback"]
    station: str = ""
    """Where: of a slowdown and an outage. A callback goes astray on its way to the biller."""
    share: float | None = None
    """Of callbacks: how many of them it befalls. One that is lost stays lost in every attempt."""
    copies: int = 2
    """How many come at once instead of one, if callbacks are doubled."""
    bank: str = ""
    """An outage of one bank only: whose customers' visits fail with ``code`` as long as it lasts.
    """
    factor: float | None = None
    """A slowdown: service times that begin then are this many times as long."""
    start: dt.datetime | None = msgspec.field(default=None, name="from")
    """Missing: from the beginning."""
    until: dt.datetime | None = None
    """Missing: for ever, which only a slowdown may."""
    visits: Literal["reject", "hold"] = "reject"
    """An outage: who comes or waits is rejected with ``code``, or is held in the queue until it
    is over. Work that has begun is finished."""
    code: str = "down"
    source: str = "deliberate"

    @property
    def on_the_wire(self) -> bool:
        """Whether it befalls messages between real services: virtual time has none."""
        return self.kind in ("lost_callback", "doubled_callback")

    @property
    def phrase(self) -> str:
        """The fault in a few words, such as ``slowdown of biller by 5``."""
        where = self.bank or self.station
        what = f"{self.kind} of {where}" if where else self.kind.replace("_", " ")
        if self.share is not None:
            what += f" in {self.share:.3g} of all cases"
        if self.factor is not None:
            what += f" by {self.factor:g}"
        for word, moment in (("from", self.start), ("until", self.until)):
            if moment is not None:
                seconds = f":{moment:%S}" if moment.second else ""
                what += f" {word} {moment:%d %B %H:%M}{seconds}"
        return what

"""Who pays, when and by which way: population, adoption, season, channels and arrivals.

These are separate on purpose, because they change for different reasons: how often people pay
(``payments_per_consumer_month``), how many of the payments are digital (:class:`Adoption`), which
way the digital ones take (:class:`Channel`), and what the month of the year does (:class:`Season`).
"""

from __future__ import annotations

import calendar
import datetime as dt
from typing import Final

import msgspec

MONTHS: Final = 12


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
    file: str = msgspec.field(name="from", default="")
    """CSV or Parquet with real moments, a ``timestamp`` and perhaps a ``kind`` each, which replace
    every rate above. A path in a scenario file starts from the file's own folder."""
    file_sha256: str = ""
    """Filled in when the scenario is read, so that other arrivals are another scenario."""

    def first_day_of(self, month: int) -> dt.date:
        """The first day of the ``month``-th month (from 1), the first one being ``first_day``."""
        months = self.first_day.year * MONTHS + self.first_day.month - 1 + month - 1
        year, place = divmod(months, MONTHS)
        longest = calendar.monthrange(year, place + 1)[1]
        return dt.date(year, place + 1, min(self.first_day.day, longest))


class Adoption(_Table, frozen=True, kw_only=True):
    """Share of the payments that are digital, now and on its way to a goal."""

    source: str
    share: float
    """Share today; the shares of the channels describe today's mix."""
    path: tuple[float, ...] = ()
    """Share in the first, second, … month; the last one stays. Empty: today's share for ever."""
    loses: str = "counter_cash"
    """The channel that loses what digital ways gain (and gains what they lose)."""

    def in_month(self, month: int) -> float:
        """Share of digital payments in the ``month``-th month, from 1."""
        return self.path[min(month, len(self.path)) - 1] if self.path else self.share


class Season(_Table, frozen=True, kw_only=True):
    """What the month of the year does to bills: factors for January to December."""

    source: str = ""
    counts: tuple[float, ...] = (1.0,) * MONTHS
    """Factors on the number of payments."""
    amounts: tuple[float, ...] = (1.0,) * MONTHS
    """Factors on the amounts of the bills."""


class Channel(_Table, frozen=True, kw_only=True):
    """A kind of journey and its share among the digital (or the other) payments."""

    source: str
    digital: bool
    share: float
    media: dict[str, float] = {}
    """Where the QR is seen, with shares; empty for journeys without a QR."""
    weekdays: tuple[float, ...] = ()
    """Relative frequency Monday to Sunday of those who come this way; empty: everybody's."""
    hours: tuple[float, ...] = ()
    """Relative frequency of the 24 hours of those who come this way; empty: everybody's."""

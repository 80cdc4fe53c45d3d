"""The purchase list: what is short, what it costs and by when it must be ordered."""

from __future__ import annotations

import datetime as dt
import math
import tomllib
from typing import TYPE_CHECKING, Final

import msgspec

from fewseconds.errors import UsageError
from fewseconds.spelling import closest
from sim import erlang

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fewseconds.scenario import Scenario
    from sim.capacity import Capacity, Need
    from sim.drain import Drain

ALWAYS: Final = {
    "clerk": "Clerks at the counters",
    "portal_password": "Portal cores that hash passwords",
    "sms_gateway": "SMS a second at the gateway",
}
"""Stations that are on every list, bought or not."""
PAISE: Final = 100


class Item(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One thing that can be bought."""

    item: str
    station: str
    unit_price_rupees: float
    lead_time_days: int
    source: str
    servers: int = 1
    """So many servers come with one unit."""


class Prices(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A price file."""

    item: tuple[Item, ...]


class Purchase(msgspec.Struct, frozen=True):
    """A line of the list."""

    item: str
    station: str
    unit: str
    now: float
    needed: float
    buy: int
    """Units; 0 if there is enough."""
    price_paise: int | None
    """Of all units together; None without a price."""
    order_by: dt.date | None
    reason: str
    source: str = ""


class Purchases(msgspec.Struct, frozen=True):
    """The list, headed by its sentence."""

    sentence: str
    lines: tuple[Purchase, ...]
    total_paise: int
    """Of the lines that have a price."""


def prices(path: Path, scenario: Scenario) -> Prices:
    """Read a price file. Raises UsageError with its place for everything that cannot be."""
    try:
        found = msgspec.convert(tomllib.loads(path.read_text("utf-8")), Prices)
    except OSError as error:
        message = f"{path}: cannot be read: {error.strerror}; check the path after --prices"
        raise UsageError(message) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        message = f"{path}: not valid TOML: {error}; mend it there"
        raise UsageError(message) from None
    except msgspec.ValidationError as error:
        message = (
            f"{path}: {error}; write [[item]] tables with item, station, unit_price_rupees, "
            "lead_time_days and source"
        )
        raise UsageError(message) from None
    lines = []
    for number, one in enumerate(found.item):
        place = f"{path}: item[{number}] {one.item!r}"
        if one.station not in scenario.stations:
            hint = closest(one.station, scenario.stations)
            lines.append(f"{place}: unknown station {one.station!r}; {hint}")
        if one.unit_price_rupees < 0 or one.lead_time_days < 0 or one.servers < 1:
            lines.append(f"{place}: a price, a lead time or servers cannot be negative; mend it")
        if not one.source.strip():
            lines.append(f"{place}: source is empty; say where the price comes from")
    if lines:
        raise UsageError("\n".join(lines))
    return found


def purchases(
    scenario: Scenario, found: Capacity, drains: Sequence[Drain], known: Prices, peak: dt.date
) -> Purchases:
    """What to buy so that the judged hours, on the day ``peak``, are met."""
    needs = {need.station: need for need in found.needs}
    offers = {one.station: one for one in known.item}
    names = [name for name in ALWAYS if name in needs]
    names += [n for n in needs if n not in names and (n in offers or _short(needs[n]))]
    lines = [_line(scenario, needs[name], offers.get(name), peak) for name in names]
    lines += [_backlog(scenario, one) for one in drains]
    total = sum(line.price_paise or 0 for line in lines)
    return Purchases(_sentence(found, lines, total), tuple(lines), total)


def _short(need: Need) -> bool:
    return need.servers < need.servers_min


def _line(scenario: Scenario, need: Need, offer: Item | None, peak: dt.date) -> Purchase:
    station = scenario.stations[need.station]
    now, needed = float(need.servers), float(need.servers_min)
    name = offer.item if offer else ALWAYS.get(need.station, need.station.replace("_", " "))
    scale, unit = 1.0, "servers"
    if need.station == "sms_gateway":
        # A gateway is bought by its rate: servers over the mean time that one message holds one.
        mean_s, _ = erlang.moments(station.service_time)
        scale, unit = 1 / mean_s, "messages a second"
        if (limit := station.rate_limit) is not None and limit.per_s < now * scale:
            # Servers beyond what the account takes are of no use to anybody.
            now, needed = limit.per_s / scale, need.offered.observed or 0.0
    missing = max(math.ceil(needed - now), 0)
    units = math.ceil(missing / (offer.servers if offer else 1))
    return Purchase(
        item=name,
        station=need.station,
        unit=unit,
        now=round(now * scale, 1),
        needed=round(needed * scale, 1),
        buy=units,
        price_paise=round(offer.unit_price_rupees * PAISE) * units if offer else None,
        order_by=peak - dt.timedelta(days=offer.lead_time_days) if offer and units else None,
        reason=f"{need.why}; {need.utilisation:.0%} busy "
        + (f"in {need.rush.partition(', after')[0]}" if need.rush else "at the peak"),
        source=offer.source if offer else "",
    )


def _backlog(scenario: Scenario, found: Drain) -> Purchase:
    """The room that an outage's backlog needs: a setting, not a purchase."""
    limit = scenario.stations[found.station].queue_limit
    longest = found.backlog.observed or 0.0
    lost = found.lost.observed or 0.0
    reason = f"an outage of {found.outage_s / 60:g} minutes leaves {longest:.0f} waiting"
    if lost:
        reason += f" and turns {lost:.0f} away"
    return Purchase(
        item=f"Queue of {found.station.replace('_', ' ')} for the backlog of an outage",
        station=found.station,
        unit="places",
        now=math.inf if limit is None else limit,
        needed=round(longest + lost),
        buy=0,
        price_paise=None,
        order_by=None,
        reason=reason,
    )


def _sentence(found: Capacity, lines: Sequence[Purchase], total: int) -> str:
    short = [line for line in lines if line.buy]
    if found.hopeless:
        return f"Nothing that can be bought meets the gates: {found.hopeless}."
    if short:
        named = ", ".join(f"{line.buy} × {line.item}" for line in short)
        first = min((line.order_by for line in short if line.order_by), default=None)
        cost = f" for ₹{total / PAISE:,.0f}" if total else ""
        when = f"; order by {first:%d %B %Y}" if first else ""
        return f"Buy {named}{cost}{when}."
    nearest = max(found.needs, key=lambda need: need.utilisation, default=None)
    if nearest is None or nearest.utilisation <= 0:
        return "Buy nothing: no station has a limit that is felt."
    times = 1 / nearest.utilisation
    return f"Buy nothing: the nearest limit is {nearest.station} at {times:.3g} times the peak."

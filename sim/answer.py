"""The whole answer of a capacity search, and its one sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from sim import capacity as search
from sim import drain, flips, purchases
from sim.capacity import Capacity
from sim.drain import Drain
from sim.flips import Flip
from sim.purchases import Prices, Purchases

if TYPE_CHECKING:
    from sim.experiments import Say
    from sim.trial import Trial

OUTAGE_S: Final = 600.0
"""assumption: ten minutes, at the worst moment of the month."""


class CapacityAnswer(msgspec.Struct, frozen=True):
    """Everything that ``fewseconds capacity`` says."""

    scenario: str
    window: str
    replications: int
    walks: int
    sentence: str
    capacity: Capacity
    drains: tuple[Drain, ...]
    flips: tuple[Flip, ...]
    purchases: Purchases


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for beside the search itself."""

    prices: Prices = Prices(())
    outages: dict[str, float] = {}
    """Seconds, by station; without any, ten minutes of the bottleneck."""
    with_flips: bool = True


def answer(trial: Trial, request: Request, say: Say) -> CapacityAnswer:
    """Search, drain, flip, and list what to buy."""
    scenario, window = trial.scenario, trial.window
    found = search.capacity(trial, say)
    busy = {need.station: need.utilisation for need in found.needs}
    wanted = request.outages or ({found.bottleneck: OUTAGE_S} if found.bottleneck else {})
    drains: list[Drain] = []
    for station, outage_s in wanted.items():
        say("after an outage", len(drains) / len(wanted))
        drains.append(drain.drain(trial, station, outage_s, busy.get(station, 0.0)))
    flipped = flips.flips(trial, found, say) if request.with_flips else []
    peak = window.day(scenario.arrivals.first_day)
    listed = purchases.purchases(scenario, found, drains, request.prices, peak)
    return CapacityAnswer(
        scenario=scenario.name,
        window=window.text,
        replications=len(trial.seeds),
        walks=trial.walks,
        sentence=sentence(found),
        capacity=found,
        drains=tuple(drains),
        flips=tuple(flipped),
        purchases=listed,
    )


def sentence(found: Capacity) -> str:
    """The answer in one sentence."""
    if found.hopeless:
        return f"No number of servers meets the gates: {found.hopeless}."
    holds = {
        "pass": "Every gate holds",
        "fail": "The gates do not hold",
        "inconclusive": "It is not settled that every gate holds",
    }[found.word]
    short = [need for need in found.needs if need.servers < need.servers_min]
    parts = [holds]
    if short:
        listed = ", ".join(f"{n.station} needs {n.servers_min}, not {n.servers}" for n in short)
        parts.append(listed)
    scarce = f"{found.bottleneck} is scarce first"
    if found.next:
        scarce += f", then {found.next}"
    parts.append(scarce)
    if found.knee is not None and found.knee.low > 0:
        more = "" if found.knee.high else f", where {found.knee.most_because}"
        parts.append(f"{found.knee.low:.3g} times the arrivals are sustained{more}")
    return "; ".join(parts) + "."

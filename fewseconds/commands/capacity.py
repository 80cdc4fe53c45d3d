"""``fewseconds capacity``: least servers, bottleneck, knee, flip points and what to buy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from fewseconds.commands import console, studies
from fewseconds.errors import UsageError
from fewseconds.spelling import closest

if TYPE_CHECKING:
    from pathlib import Path

    from fewseconds.commands.studies import Effort
    from fewseconds.scenario import Scenario
    from sim.answer import CapacityAnswer


def capacity(
    name: str,
    prices: Path | None,
    outage: list[str],
    seed: int | None,
    effort: Effort,
    *,
    with_flips: bool,
    as_json: bool,
) -> int:
    """Search and say; returns the exit code of the gates as the scenario is."""
    scenario = console.load(name)
    seed = scenario.seed if seed is None else seed
    engine = effort.chosen_engine()
    from fewseconds import slo
    from sim import capacity_page, experiments, purchases
    from sim.answer import Request, answer
    from sim.trial import Trial

    known = purchases.prices(prices, scenario) if prices else purchases.Prices(())
    request = Request(prices=known, outages=_outages(outage, scenario), with_flips=with_flips)
    fields = console.header(scenario, seed, engine)
    with console.progress() as say:
        say("planning", 0.0)
        window = effort.window(scenario)
        seeds = experiments.seeds(seed, 0, effort.replications)
        with effort.workers() as workers:
            found = answer(Trial(scenario, window, engine, seeds, workers), request, say)
    parts = ["capacity", name, *(["--prices", str(prices)] if prices else [])]
    parts += [part for text in outage for part in ("--outage", text)]
    parts += [] if with_flips else ["--no-flips"]
    command = studies.command_line(parts, seed, effort)
    content = fields | {"command": command} | msgspec.to_builtins(found)
    _print(found)
    page = capacity_page.page(found, scenario.title, command, fields)
    places = studies.publish(page, content, effort.results, f"{scenario.name}-capacity")
    if as_json:
        console.print_json(content | places)
    return slo.exit_code(found.capacity.word)


def _outages(texts: list[str], scenario: Scenario) -> dict[str, float]:
    """Seconds by station, from ``STATION=MINUTES``."""
    found = {}
    for text in texts:
        station, _, minutes = text.partition("=")
        if station not in scenario.stations:
            message = f"--outage {text!r}: unknown station; {closest(station, scenario.stations)}"
            raise UsageError(message)
        try:
            found[station] = float(minutes) * 60
        except ValueError:
            found[station] = 0.0
        if not 0 < found[station] <= 24 * 3600:
            message = f"--outage {text!r}: not understood; write a station and minutes, biller=10"
            raise UsageError(message)
    return found


def _print(found: CapacityAnswer) -> None:
    from rich.table import Table

    console.say(found.sentence)
    table = Table(box=None, pad_edge=False)
    for column in ("station", "servers", "least", "erlangs", "busy", "because of"):
        table.add_column(column, justify="left" if column == "station" else "right")
    for need in found.capacity.needs:
        table.add_row(
            need.station,
            str(need.servers),
            str(need.servers_min),
            studies.estimate(need.offered.observed),
            f"{need.utilisation:.1%}",
            need.why,
        )
    console.err.print(table)
    knee = found.capacity.knee
    if knee is not None:
        high = "none found" if knee.high is None else f"{knee.high:.3g}"
        console.say(f"Knee: [{knee.low:.3g}, {high}] times {knee.rate_per_s:.3g} journeys a second")
    for one in found.drains:
        console.say(
            f"After {one.outage_s / 60:g} minutes without {one.station}: "
            f"{studies.estimate(one.backlog.observed)} wait, and nobody after "
            f"{studies.estimate(one.drain_s.observed)} s"
        )
    for flip in found.flips:
        if flip.factor is not None:
            console.say(f"  ⇄ {flip.sentence}")
    calm = sum(flip.factor is None for flip in found.flips)
    if calm:
        console.say(f"  {calm} assumptions flip nothing in their whole range")
    table = Table(title=found.purchases.sentence, title_justify="left", box=None, pad_edge=False)
    for column in ("item", "now", "needed", "buy", "price", "order by"):
        table.add_column(column, justify="left" if column == "item" else "right")
    for line in found.purchases.lines:
        rupees = "–" if not line.price_paise else f"₹{line.price_paise / 100:,.0f}"
        date = "–" if line.order_by is None else f"{line.order_by:%d %b %Y}"
        numbers = f"{line.now:g} {line.unit}", f"{line.needed:g}", str(line.buy)
        table.add_row(line.item, *numbers, rupees, date)
    console.err.print(table)
    console.say(f"{found.walks} walks of {found.window}")

"""What is wrong with a scenario that its types cannot say: names, shares, rates, ranges."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fewseconds import journey
from fewseconds.journey import OUTCOMES, Leg, Step
from fewseconds.law import LONGEST_MS
from fewseconds.population_checks import population_problems
from fewseconds.spelling import closest
from fewseconds.station import PRIORITIES, Station
from fewseconds.station_checks import station_problems

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fewseconds.scenario import Scenario


BRANCHES_MAX: Final = 1 << 4
LEGS_MAX: Final = 1 << 8
EVENTS_MAX: Final = 62


def problems(scenario: Scenario) -> list[str]:
    """Everything that is wrong with a scenario of the right shape, as ``place: …`` lines."""
    return [
        *population_problems(scenario),
        *_billing_problems(scenario),
        *station_problems(scenario),
        *_journey_problems(scenario),
        *_objective_problems(scenario),
    ]


def _billing_problems(scenario: Scenario) -> Iterator[str]:
    billing = scenario.billing
    if billing is None:
        return
    if not 0 <= billing.early_days <= 28:  # noqa: PLR2004 - bills are monthly
        yield f"billing.early_days: {billing.early_days!r} is out of range; write 0 to 28"
    for name, share in (
        ("early_discount", billing.early_discount), ("late_charge", billing.late_charge),
    ):  # fmt: skip
        if not 0 <= share <= 0.5:  # noqa: PLR2004 - a discount or a charge, not another bill
            yield f"billing.{name}: {share!r} is out of range; write a share from 0 to 0.5"


def _journey_problems(scenario: Scenario) -> Iterator[str]:
    told: set[str] = set()
    if "end" in scenario.steps:
        yield "steps.end: the word means the end of a branch; choose another name"
    for kind, table in scenario.journeys.items():
        unknown = [name for name in table.steps if name not in scenario.steps]
        for name in unknown:
            yield f"journey {kind!r}: unknown step {name!r}; {closest(name, scenario.steps)}"
        if not table.steps:
            yield f"journey {kind!r}: has no steps; write at least one"
        if len(set(table.steps)) < len(table.steps):
            yield f"journey {kind!r}: names a step twice; write each once"
        if unknown:
            continue
        steps = scenario.named_steps(kind)
        yield from _size_problems(kind, steps)
        lines = [(step, line) for step in steps for line in _step_problems(scenario, step, steps)]
        if steps and not lines:
            lines = list(_way_problems(steps))
        for step, line in lines:
            # A step that several journeys share is reported for the first of them only.
            if f"{step.name}: {line}" not in told:
                told.add(f"{step.name}: {line}")
                yield f"journey {kind!r} step {step.name!r}: {line}"


def _size_problems(kind: str, steps: tuple[Step, ...]) -> Iterator[str]:
    """Whether the places of a journey fit into the number that orders events of one instant."""
    branches = 1 + sum(step.after is not None for step in steps)
    legs = sum(len(step.legs) for step in steps)
    for count, limit, what in (
        (branches, BRANCHES_MAX, "branches"),
        (legs, LEGS_MAX, "legs"),
        (len(events(steps)), EVENTS_MAX, "events"),
    ):
        if count > limit:
            yield f"journey {kind!r}: has {count} {what}; write at most {limit}"


def _way_problems(steps: tuple[Step, ...]) -> Iterator[tuple[Step, str]]:
    """What is wrong with how steps follow one another."""
    first = steps[0]
    if first.after is not None:
        event = f"{first.after.step}.{first.after.event}"
        yield first, f"comes first, so it cannot wait for {event!r}; move it further down"
    rules = journey.route("", steps).rules
    loop = _loop(0, (), rules)
    for start in (index for index, step in enumerate(steps) if step.after is not None):
        loop = loop or _loop(start, (), rules)
    if loop:
        # Draws belong to (journey, step, attempt): every round would repeat the first one.
        way = " → ".join(steps[index].name for index in loop)
        yield steps[loop[0]], f"leads back to itself ({way}); let one of them end or go on"


def _loop(step: int, seen: tuple[int, ...], rules: Sequence[int]) -> tuple[int, ...]:
    """The first circle of steps on any way from ``step``, or nothing."""
    if step in seen:
        return (*seen[seen.index(step) :], step)
    row = step * journey.WIDTH + journey.NEXT
    for follower in sorted(set(rules[row : row + len(OUTCOMES)]) - {journey.END}):
        if loop := _loop(follower, (*seen, step), rules):
            return loop
    return ()


def _step_problems(scenario: Scenario, step: Step, steps: tuple[Step, ...]) -> Iterator[str]:
    names, known = [other.name for other in steps], events(steps)
    if not step.legs:
        yield "has no legs; write at least one station"
    for leg in step.legs:
        yield from _leg_problems(scenario, leg, known)
    if step.after is not None and (event := f"{step.after.step}.{step.after.event}") not in known:
        yield f"unknown event {event!r}; {closest(event, known)}"
    for target in (step.then, *step.on_failure.values()):
        if target not in ("", "end", *names):
            yield f"unknown step {target!r}; {closest(target, [*names, 'end'])}"
    for outcome in (*step.retry_on, *step.on_failure):
        if outcome not in OUTCOMES or outcome == "ok":
            yield f"unknown outcome {outcome!r}; {closest(outcome, OUTCOMES[1:])}"
    if not 1 <= step.attempts_max <= journey.TRIES_MAX:
        yield f"attempts_max {step.attempts_max!r} is out of range; write 1 to {journey.TRIES_MAX}"
    waits_ms = (step.delay_ms, step.cadence_ms, *step.backoff_ms, step.give_up_after_ms or 0)
    if min(waits_ms) < 0:
        yield "a wait is negative; write 0 ms or more"
    if max(*waits_ms, *(leg.timeout_ms or 0 for leg in step.legs)) > LONGEST_MS:
        yield "a wait or time-out is longer than 12 days; write less"
    if not 0 <= step.backoff_jitter <= 1:
        yield f"backoff_jitter {step.backoff_jitter!r} is not between 0 and 1"


def _leg_problems(scenario: Scenario, leg: Leg, known: list[str]) -> Iterator[str]:
    if leg.timeout_ms is None and _may_never_answer(scenario.stations.get(leg.station)):
        yield f"{leg.station!r} may never answer; give the leg a timeout_ms"
    if leg.station not in scenario.stations:
        yield f"unknown station {leg.station!r}; {closest(leg.station, scenario.stations)}"
    if leg.timeout_ms is not None and leg.timeout_ms <= 0:
        yield f"timeout_ms {leg.timeout_ms!r} is not above 0; write a positive number"
    if not 0 <= leg.priority < PRIORITIES:
        yield f"priority {leg.priority!r} is out of range; write 0 to {PRIORITIES - 1}"
    if leg.asks and leg.asks not in known:
        yield f"unknown event {leg.asks!r}; {closest(leg.asks, known)}"


def _may_never_answer(station: Station | None) -> bool:
    if station is None:
        return False
    failures = [station.failures, *(v.failures or () for v in station.variants.values())]
    return any(failure.outcome == "timed_out" for group in failures for failure in group)


def events(steps: tuple[Step, ...]) -> list[str]:
    """Every event (``step.event``) that can happen in a journey of these steps."""
    found = set()
    for step in steps:
        found.add(f"{step.name}.ok")
        for leg in step.legs:
            found |= {f"{step.name}.{leg.emits}"} if leg.emits else set()
            found |= {f"{step.name}.{leg.on_timeout}"} if leg.timeout_ms is not None else set()
    return sorted(found)


def _objective_problems(scenario: Scenario) -> Iterator[str]:
    names = [slo.name for slo in scenario.slo]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"slo {name!r}: written twice; rename one"
    for slo in scenario.slo:
        if not slo.limit > 0:
            yield f"slo {slo.name!r}: limit {slo.limit!r} is not above 0"
        if (slo.statistic == "share") != (slo.measure in ("error_rate", "faster_than_portal")):
            yield (
                f"slo {slo.name!r}: statistic {slo.statistic!r} does not fit measure "
                f"{slo.measure!r}; shares go with error_rate and faster_than_portal, percentiles "
                "with times"
            )

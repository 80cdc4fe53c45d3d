"""The model in the order of the STRESS-DES guidelines, drawn from the scenario itself.

Monks, Currie, Onggo, Robinson, Kunc and Taylor: Strengthening the reporting of empirical simulation
studies: introducing the STRESS guidelines. Journal of Simulation 13 (2019), 55-67.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fewseconds.plan import SCHEMA
from fewseconds.report import provenance, words
from fewseconds.report.page import (
    Answer,
    Box,
    Cell,
    Diagram,
    Lane,
    Page,
    Section,
    Table,
    Text,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fewseconds.journey import Step
    from fewseconds.report.provenance import Assumption
    from fewseconds.scenario import Scenario

GUIDELINES: Final = (
    "Monks et al., Strengthening the reporting of empirical simulation studies: introducing the "
    "STRESS guidelines, Journal of Simulation 13 (2019)"
)
EXPERIMENTS: Final = """
1.2 Experiments: single months, sweeps over any input, paired comparisons of scenarios, least
capacity per station and the rate that can be sustained."""
RULES: Final = """
A station is a number of servers behind one queue, first come first served within a priority. A
visit beyond the queue's limit is rejected. One whose patience ends leaves the queue and its
work is never done.

A caller that times out goes on without the answer while the work is done all the same: a late
debit still debits. That makes deemed payments and reversals.

A branch starts on an event (the credit, the posting) whether or not the payer's screen still
waits.

Events at one instant are ordered by class, journey, branch, leg and attempt, so that a run is
one definite sequence.

Entities enter at the moments of the plan, whether or not the system keeps up (an open model),
and leave when every branch has ended."""
RUNS: Final = """
4.1 Initialisation: a bill month begins and ends with empty queues, so it is a terminating
simulation and needs no warm-up. Where only its busiest hours are judged, the hour before them
is walked and not judged.

4.2 Run length: {days} from {first_day}, {payments}; SimPy walks {journeys_max} of them around
the busiest window unless told otherwise.

4.3 Estimation: independent replications under seeds derived from the scenario's until the
interval is narrow enough; percentiles are pooled over replications, with intervals from their
spread; a percentile that the sample cannot support is refused in words. Scenarios are compared
with common random numbers, payment by payment."""
CODE: Final = """
5.1 The plan (columns {columns}) is a pure function of scenario and seed; its hash and that of
the scenario are at the end.

5.2 Random numbers: every draw is a 32-bit hash of (seed, what it is for, journey, attempt).
Laws are tables of whole microseconds, so a draw is the same on every machine and in every
engine.

5.3 Engines: SimPy, the readable specification, in sim/reference.py; another engine counts only
if every column of every outcome row equals SimPy's. Tests compare stations with queueing theory
as well.

5.4 Versions of what results depend on are below; the code is open (Apache-2.0), and
requirements.lock pins every dependency."""
MINUTE_S: Final = 60
ENDS_AFTER: Final = {
    "unfinished": "pending",
    "error": "it fails",
    "timed_out": "it times out",
    "rejected": "it is turned away",
    "declined": "it is declined",
    "reneged": "the person leaves",
}


def page(scenario: Scenario, command: str, facts: tuple[tuple[str, str], ...]) -> Page:
    """The description of one scenario's model as a page."""
    data = (
        *provenance.general(scenario),
        *provenance.steps(scenario),
        *provenance.stations(scenario),
    )
    assumed = [one for one in data if one.assumed]
    return Page(
        kicker="Model description (STRESS-DES)",
        title=scenario.title,
        about=" ".join(scenario.description.split()),
        answer=Answer(
            f"{words.counted(scenario.payments, 'payment')} of a month by "
            f"{len([s for s in scenario.channel_shares().values() if s > 0])} kinds of journey "
            f"through {len(scenario.stations)} stations; {len(assumed)} of "
            f"{len(data)} inputs are assumptions, and each is listed.",
            facts=(f"in the order of {GUIDELINES}",),
        ),
        sections=(
            _objectives(scenario),
            _logic(scenario),
            *_data(data, assumed),
            _experimentation(scenario),
            _implementation(),
        ),
        command=command,
        facts=facts,
    )


def _objectives(scenario: Scenario) -> Section:
    rows = tuple(
        (
            Cell(slo.name, "gate" if slo.gate else "claim"),
            words.MEASURES[slo.measure],
            f"{slo.statistic} {'at least' if slo.at_least else 'at most'} {slo.limit:g}",
            slo.source,
        )
        for slo in scenario.slo
    )
    return Section(
        "1. Objectives",
        "Whether paying an electricity bill by QR finishes in a few seconds for a whole city, what "
        "could prevent it, and what capacity keeps it so.",
        (
            Table(
                ("objective", "measure", "limit", "source"),
                rows,
                caption="1.1 Outputs and what is wanted of them (seconds or shares)",
                numbers=False,
            ),
            Text(points=_points(EXPERIMENTS)),
        ),
    )


def _logic(scenario: Scenario) -> Section:
    shares = scenario.channel_shares()
    diagrams = tuple(
        diagram(scenario, kind, shares.get(kind, 0.0))
        for kind in scenario.journeys
        if shares.get(kind, 0.0) > 0
    )
    return Section(
        "2. Logic",
        "An entity is one payment of one consumer. It walks the steps of its kind of journey; a "
        "step visits stations one after another. Dashed boxes are people's own time.",
        (
            *diagrams,
            Text(points=_points(RULES)),
        ),
    )


def diagram(scenario: Scenario, kind: str, share: float) -> Diagram:
    """One kind of journey: its main way, then the branches that set out from it."""
    lanes: list[Lane] = []
    start, boxes = "begins", list[Box]()
    steps = scenario.named_steps(kind)
    for number, step in enumerate(steps, 1):
        if step.after is not None:
            lanes.append(Lane(start, tuple(boxes)))
            cause = words.label(step.after.step, words.STEPS)
            start, boxes = f"once “{cause}” is {step.after.event.replace('_', ' ')}", []
        following = steps[number].name if number < len(steps) and not steps[number].after else ""
        before = steps[number - 2].then if boxes else ""
        boxes.append(_box(step, following, detour=before not in {"", step.name}))
    lanes.append(Lane(start, tuple(boxes)))
    label = words.label(kind, words.KINDS)
    return Diagram(f"{label}: {words.percent(share)} of the payments", tuple(lanes))


def _box(step: Step, following: str, *, detour: bool) -> Box:
    lines = list(_lines(step))
    if step.then == "end" and following:
        lines.append("then done")
    elif step.then not in {"", "end", following}:
        lines.append(f"then: {words.label(step.then, words.STEPS)}")
    label = words.label(step.name, words.STEPS)
    return Box(label, tuple(lines), human=step.clock == "human", detour=detour)


def _lines(step: Step) -> Iterator[str]:
    if step.clock == "machine":
        yield " → ".join(
            words.label(leg.station, {})
            + (f" (≤{words.NBSP}{_wait(leg.timeout_ms)})" if leg.timeout_ms else "")
            for leg in step.legs
        )
    if step.delay_ms:
        yield f"begins after {_wait(step.delay_ms)}"
    if step.attempts_max > 1:
        waits = sorted({step.cadence_ms} if step.cadence_ms else set(step.backoff_ms or (0,)))
        apart = _wait(waits[0])
        if len(waits) > 1:
            apart += f" to {_wait(waits[-1])}"
        yield f"up to {step.attempts_max} tries, {apart} apart"
    for outcome, follower in step.on_failure.items():
        yield f"if {ENDS_AFTER.get(outcome, outcome)}: {words.label(follower, words.STEPS)}"


def _wait(wait_ms: int) -> str:
    seconds = wait_ms / 1000
    return f"{seconds:g}{words.NBSP}s" if 1 <= seconds <= MINUTE_S else words.seconds(seconds)


def _data(data: tuple[Assumption, ...], assumed: list[Assumption]) -> tuple[Section, ...]:
    sourced = [one for one in data if not one.assumed]

    def table(rows: list[Assumption], caption: str) -> Table:
        return Table(
            ("input", "value", "source"),
            tuple((Cell(one.subject, one.detail), one.value, one.source) for one in rows),
            caption=caption,
            numbers=False,
        )

    return (
        Section(
            "3. Data",
            "Every input stands in the scenario file with its source beside it.",
            (
                table(sourced, "3.1 Inputs with a public source, or measured"),
                table(assumed, "3.2 Assumptions"),
            ),
        ),
    )


def _experimentation(scenario: Scenario) -> Section:
    arrivals, simulate = scenario.arrivals, scenario.simulate
    return Section(
        "4. Experimentation",
        "",
        (
            Text(
                points=_points(
                    RUNS.format(
                        days=words.counted(arrivals.days, "day"),
                        first_day=f"{scenario.first_day:%d %B %Y}",
                        payments=words.counted(scenario.payments, "payment"),
                        journeys_max=words.whole(simulate.journeys_max),
                    )
                )
            ),
        ),
    )


def _implementation() -> Section:
    text = CODE.format(columns=", ".join(SCHEMA.names))
    return Section("5. Implementation and access", "", (Text(points=_points(text)),))


def _points(text: str) -> tuple[str, ...]:
    """Paragraphs, one line each."""
    return tuple(" ".join(part.split()) for part in text.split("\n\n"))

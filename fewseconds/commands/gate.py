"""``fewseconds load gate``: how often the gate cries wolf, and the regression that it catches."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from fewseconds.commands import console
from fewseconds.errors import EXIT_OK, UsageError
from fewseconds.gate import Calibration, Gate, calibrated
from fewseconds.slo import Verdict

if TYPE_CHECKING:
    from pathlib import Path

    from fewseconds.run import LoadWish

RECORDS = ("load_record.json", "record.json")


class Recorded(msgspec.Struct, frozen=True):
    """What a record of either kind of run says that matters here."""

    verdicts: tuple[Verdict, ...]
    fates: dict[str, int] = {}


class Order(NamedTuple):
    """What the command line says."""

    scenario: str
    runs: int
    folders: list[Path]
    slow: list[str]
    results: Path
    wish: LoadWish
    alpha: float
    power: float


class Slowed(msgspec.Struct, frozen=True):
    """Runs with a known slow-down: what was really caught."""

    slow: list[str]
    words: list[str]
    """Of every run: pass, fail or inconclusive, at the scenario's own limits."""
    above_proposed: dict[str, int]
    """Runs above the proposed limit, by objective."""


def load_gate(order: Order, *, as_json: bool) -> int:
    """Run or read the runs, calibrate, and print; always 0: a calibration passes no judgement."""
    scenario = console.load(order.scenario)
    fields = console.header(scenario, scenario.seed, "locust")
    runs = [recorded(folder).verdicts for folder in order.folders]
    if not order.folders:
        runs = _played(order, [])
    found = calibrated(runs, order.alpha, order.power)
    slowed = _slowed(order, found) if order.slow else None
    if as_json:
        console.print_json(
            fields | msgspec.to_builtins(found) | {"slowed": msgspec.to_builtins(slowed)}
        )
    else:
        show(found)
        if slowed is not None:
            console.show(f"with {', '.join(slowed.slow)}: {', '.join(slowed.words)}")
            for name, count in slowed.above_proposed.items():
                console.show(f"  {name}: {count} of {len(slowed.words)} above the proposed limit")
    return EXIT_OK


def recorded(folder: Path) -> Recorded:
    """What a run left in its folder; raises UsageError if there is no record."""
    for name in RECORDS:
        if (folder / name).exists():
            try:
                return msgspec.json.decode((folder / name).read_bytes(), type=Recorded)
            except msgspec.MsgspecError as error:
                message = f"--from {str(folder)!r}: {name} is no record: {error}; name a run"
                raise UsageError(message) from None
    message = f"--from {str(folder)!r}: holds no {' or '.join(RECORDS)}; name the folder of a run"
    raise UsageError(message)


def _played(order: Order, slow: list[str]) -> list[tuple[Verdict, ...]]:
    """Runs one after the other, each with everything anew."""
    from fewseconds.load_run import run

    scenario = console.load(order.scenario, slow)
    found = []
    for number in range(order.runs):
        console.say(f"run {number + 1} of {order.runs}")
        with console.progress() as say:
            record = run(
                scenario, scenario.seed, order.results, order.wish, say,
                f"fewseconds load run {order.scenario}",
            )  # fmt: skip
        console.say(f"  {record.word}: {record.folder}")
        found.append(record.verdicts)
    return found


def _slowed(order: Order, found: Gate) -> Slowed:
    words: list[str] = []
    above = {one.name: 0 for one in found.gates}
    limits = {one.name: one.proposed_limit for one in found.gates}
    for verdicts in _played(order, order.slow):
        gates = [one for one in verdicts if one.name in limits and one.engine == "measured"]
        said = {one.word for one in gates}
        words.append(next(word for word in ("fail", "inconclusive", "pass") if word in said))
        for one in gates:
            above[one.name] += one.observed is not None and one.observed > limits[one.name]
    return Slowed(order.slow, words, above)


def show(found: Gate) -> None:
    """The calibration for the person at the keyboard."""
    from rich.table import Table

    table = Table(
        "gate", "limit", "observed", "false alarms", f"limit for {found.alpha:.1%}",
        f"caught in {found.power:.0%}", box=None,
    )  # fmt: skip
    for one in found.gates:
        table.add_row(*_row(one))
    console.out.print(table)
    whole = found.overall
    console.show(
        f"{found.runs} runs of the unchanged system ({found.inconclusive} more were inconclusive): "
        f"{whole.count} false alarms, which is a rate between {whole.low:.1%} and {whole.high:.1%}"
    )


def _row(one: Calibration) -> list[str]:
    own, proposed = (
        "never" if factor is None else f"× {factor:.2f}"
        for factor in (one.detectable_at_own_limit, one.detectable)
    )
    return [
        one.name,
        f"{one.limit:.3g}",
        f"{min(one.observed):.3g} … {max(one.observed):.3g}",
        f"{one.false_alarms.count} of {one.false_alarms.of}, expected {one.false_alarm_rate:.2%}",
        f"{one.proposed_limit:.3g}",
        f"{proposed} ({own} at its own)",
    ]

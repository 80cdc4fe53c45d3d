"""``fewseconds load gate``: how often the gate cries wolf, and the regression that it catches."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from fewseconds.commands import console, studies
from fewseconds.commands.gate_page import page, sentence, tables
from fewseconds.errors import EXIT_OK, UsageError
from fewseconds.gate import calibrated, slowed
from fewseconds.slo import Verdict

if TYPE_CHECKING:
    from pathlib import Path

    from fewseconds.gate import Gate, Slowed
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


def load_gate(order: Order, *, as_json: bool) -> int:
    """Run or read the runs, calibrate, and print; always 0: a calibration passes no judgement."""
    scenario = console.load(order.scenario)
    fields = console.header(scenario, scenario.seed, "locust")
    runs = [recorded(folder).verdicts for folder in order.folders]
    if not order.folders:
        runs = _played(order, [])
    found = calibrated(runs, order.alpha, order.power)
    planted = slowed(runs, _played(order, order.slow), order.slow, found) if order.slow else None
    # Everything that was said stands on the command line.
    command = shlex.join(["fewseconds", *sys.argv[1:]])
    content = fields | msgspec.to_builtins(found) | {"slowed": msgspec.to_builtins(planted)}
    shown = page(scenario, found, planted, command, fields)
    if not as_json:
        show(found, planted)
    places = studies.publish(shown, content, order.results, f"{scenario.name}-gate")
    if as_json:
        console.print_json(content | places)
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
    stretched = [part for text in slow for part in ("--slow", text)]
    command = shlex.join(["fewseconds", "load", "run", order.scenario, *stretched])
    found = []
    for number in range(order.runs):
        said = f" with {', '.join(slow)}" if slow else ""
        console.say(f"run {number + 1} of {order.runs}{said}")
        with console.progress() as say:
            record = run(
                scenario, scenario.seed, order.results, order.wish, say,
                command,
            )  # fmt: skip
        console.say(f"  {record.word}: {record.folder}")
        found.append(record.verdicts)
    return found


def show(found: Gate, planted: Slowed | None) -> None:
    """The calibration for the person at the keyboard."""
    from rich.table import Table

    for table in tables(found, planted):
        drawn = Table(*table.columns, title=table.caption, title_justify="left", box=None)
        for row in table.cells:
            drawn.add_row(*(cell.text for cell in row))
        console.out.print(drawn)
    console.show(sentence(found))

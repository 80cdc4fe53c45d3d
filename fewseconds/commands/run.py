"""``fewseconds run``: the main job, and once more if a smoke test could not be judged."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from fewseconds.commands import console
from fewseconds.commands.load_run import told_only
from fewseconds.shapes import Shape

if TYPE_CHECKING:
    from pathlib import Path

    from fewseconds.parties import Parties
    from fewseconds.record import Record
    from fewseconds.scenario import Scenario
    from loadtests.spec import Telemetry

MARKS = {
    "pass": "[green]✓ pass[/green]",
    "fail": "[red]✗ FAIL[/red]",
    "inconclusive": "[yellow]? open[/yellow]",
}
TRIES_MAX = 2


class Order(NamedTuple):
    """What the command line says."""

    scenario: str
    seed: int | None
    results: Path
    month: int | None
    slow: list[str]
    parties: Parties
    telemetry: Telemetry
    dry_run: bool

    def repeated(self, seed: int) -> str:
        """The command that does the same; who looked on is no part of it."""
        at = [] if self.month is None else ["--month", str(self.month)]
        stretched = [part for text in self.slow for part in ("--slow", text)]
        words = [self.scenario, "--seed", str(seed), *at, *stretched, *self.parties.words()]
        return shlex.join(["fewseconds", "run", *words])


def run(order: Order, *, as_json: bool) -> int:
    """Run a scenario and print its verdicts; returns the exit code."""
    scenario = console.load(order.scenario, order.slow, order.month)
    seed = scenario.seed if order.seed is None else order.seed
    from fewseconds.real_target import checked

    real = checked(order.parties, scenario, seed)
    fields = console.header(scenario, seed, "locust+simpy")
    if order.dry_run:
        return told_only(scenario, seed, Shape(), real, fields, as_json=as_json)
    from fewseconds.run import LoadWish
    from fewseconds.run import run as run_once
    from fixtures import decoding

    # A decoder that is missing here is said before anything starts; another one reads in its place.
    for scanner in sorted({app.scanner for app in scenario.apps.values()}):
        decoding.substitute(scanner)

    command = order.repeated(seed)
    wish = LoadWish(real=real, telemetry=order.telemetry)
    tries = 1
    with console.progress() as say:
        record, folder = run_once(scenario, seed, order.results, command, say, tries, wish)
    while _worth_another_try(scenario, record) and tries < TRIES_MAX:
        tries += 1
        console.say(f"inconclusive: {record.summary} Once more.")
        with console.progress() as say:
            record, folder = run_once(scenario, seed, order.results, command, say, tries, wish)
    _print(record, folder)
    if as_json:
        whole = msgspec.to_builtins(record)
        console.print_json(
            fields | whole | {"folder": str(folder), "report": str(folder / "report.html")}
        )
    return record.exit_code


def _worth_another_try(scenario: Scenario, record: Record) -> bool:
    """Whether a smoke test was spoiled by a busy machine; what broke off would only be hidden."""
    return scenario.tripwire and record.word == "inconclusive" and record.generator is not None


def _print(record: Record, folder: Path) -> None:
    from rich.markup import escape
    from rich.table import Table

    for gate, title in ((True, "Gates"), (False, "Claims")):
        table = Table(title=title, title_justify="left", box=None, pad_edge=False)
        for column in ("", "objective", "engine"):
            table.add_column(column)
        for column in ("observed", "limit", "n"):
            table.add_column(column, justify="right", no_wrap=True)
        for verdict in record.verdicts:
            if verdict.gate is gate:
                table.add_row(
                    MARKS[verdict.word],
                    # Names come from a scenario file: brackets in them are no markup.
                    escape(verdict.name),
                    verdict.engine,
                    *console.numbers(verdict),
                    str(verdict.count),
                )
        if table.row_count:
            console.err.print(table)
    broken = [check for check in record.checks if not check.passed]
    console.say(f"Exact checks: {len(record.checks) - len(broken)} of {len(record.checks)} hold")
    for check in broken:
        console.say(
            f"  ✗ {check.name}: {check.violations} of {check.checked}; {'; '.join(check.first)}"
        )
    for reason in record.validity.reasons:
        console.say(f"  ? {reason}")
    said = f"[bold]{record.word.upper()}[/bold]  {escape(record.summary)}"
    console.err.print(said, soft_wrap=True)
    console.say(f"Report: {folder / 'report.html'}")

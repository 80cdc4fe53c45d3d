"""What commands share on the terminal: header, errors, progress, one JSON object."""

from __future__ import annotations

import datetime as dt
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from fewseconds import scenario_file
from fewseconds.commit import commit
from fewseconds.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from fewseconds.errors import FewsecondsError
    from fewseconds.scenario import Scenario
    from fewseconds.slo import Verdict

err = Console(stderr=True, highlight=False)
out = Console(highlight=False)

VIRTUAL: Final = ("numba", "simpy", "numba+simpy")
"""Engines without messages that could go astray."""


def say(text: str) -> None:
    """A line for the person at the keyboard."""
    err.print(text, markup=False, soft_wrap=True)


def show(text: str) -> None:
    """A line of the answer itself, on stdout; brackets in it are no markup."""
    out.print(text, markup=False, soft_wrap=True)


def show_verdicts(verdicts: Iterable[Verdict]) -> None:
    """A line for every objective, on stdout."""
    for verdict in verdicts:
        observed, limit = numbers(verdict)
        show(f"{verdict.word:13} {verdict.name:36} {observed:>12}  {limit}")


def numbers(verdict: Verdict) -> tuple[str, str]:
    """What was observed and its limit, with their units, in spaces that a search finds."""
    from fewseconds.report import words

    said = words.quantity(verdict.measure, verdict.observed), words.limit(verdict)
    observed, limit = (text.replace(words.NBSP, " ") for text in said)
    return observed, limit


def say_error(error: FewsecondsError, *, as_json: bool) -> None:
    """An error in words; with ``--json`` also as the one object on stdout."""
    for line in str(error).splitlines():
        err.print(f"[red]✗[/red] {_escaped(line)}", soft_wrap=True)
    if as_json:
        print_json({"error": str(error), "exit_code": error.exit_code})


def _escaped(text: str) -> str:
    return text.replace("[", r"\[")


def print_json(content: dict[str, Any]) -> None:
    """Exactly one JSON object on stdout."""
    sys.stdout.write(msgspec.json.encode(content).decode() + "\n")


def load(
    name: str, slow: list[str] | None = None, month: int | None = None, consumers: int = 0
) -> Scenario:
    """The scenario in the month asked for, slowed down as ``--slow STATION=FACTOR`` asks.

    Says so when its camera stations were computed from other laws of people than today's.
    """
    faults = [_fault(text) for text in slow or []]
    laid_over: dict[str, Any] = {} if month is None else {"month": month}
    if consumers:
        laid_over["consumers"] = consumers
    if not faults:
        found = scenario_file.load(name, laid_over)
        _say_stale(found)
        return found
    already = [
        {
            key: value
            for key, value in msgspec.to_builtins(fault, builtin_types=(dt.datetime,)).items()
            if value is not None
        }
        for fault in scenario_file.load(name, laid_over).fault
    ]
    return scenario_file.load(name, laid_over | {"fault": [*already, *faults]})


def _say_stale(scenario: Scenario) -> None:
    """Once per surface; an artefact by path is its owner's business."""
    from fixtures import surface

    for used in sorted({one.surface for one in scenario.stations.values()} - {""}):
        if not used.endswith(".json") and surface.laws_of(used) != surface.laws_hash():
            say(f"{scenario.name}: surface {used!r}: {surface.STALE_LAWS}")


def _fault(text: str) -> dict[str, Any]:
    station, _, factor = text.partition("=")
    try:
        return {"kind": "slowdown", "station": station, "factor": float(factor)}
    except ValueError:
        message = f"--slow {text!r}: not understood; write a station and a factor, such as biller=5"
        raise UsageError(message) from None


def header(scenario: Scenario, seed: int, engine: str) -> dict[str, Any]:
    """Say what is about to run; returns the same as fields for JSON."""
    state = commit()
    say(
        f"seed={seed} scenario={scenario.name}#{scenario.digest[:12]} "
        f"engine={engine} commit={state}"
    )
    if engine in VIRTUAL:
        for fault in scenario.fault:
            if fault.on_the_wire:
                say(f"{scenario.name}: {fault.phrase}: befalls real services only")
    return {
        "seed": seed,
        "scenario": scenario.name,
        "scenario_hash": scenario.digest,
        "engine": engine,
        "commit": state,
    }


@contextmanager
def progress() -> Iterator[Callable[[str, float], None]]:
    """A bar on stderr, or one line a stage where stderr is not a terminal.

    Yields ``say(stage, share)``; calling it with another stage ends the one before.
    """
    if not err.is_terminal:
        stages: list[str] = []

        def line(stage: str, _: float) -> None:
            if stage not in stages[-1:]:
                stages.append(stage)
                say(f"· {stage}")

        yield line
        return
    columns = (
        TextColumn("{task.description:<24}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err, transient=False) as bar:
        tasks: dict[str, Any] = {}

        def move(stage: str, share: float) -> None:
            if stage not in tasks:
                for earlier in tasks.values():
                    bar.update(earlier, completed=1.0)
                tasks[stage] = bar.add_task(stage, total=1.0)
            bar.update(tasks[stage], completed=share)

        yield move
        for task in tasks.values():
            bar.update(task, completed=1.0)

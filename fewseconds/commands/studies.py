"""What sweep, capacity and compare share: how hard to try, where, and how it is said."""

from __future__ import annotations

import shlex
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import msgspec

from fewseconds.commands import console
from fewseconds.errors import UsageError
from fewseconds.spelling import closest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fewseconds.report.page import Page
    from fewseconds.scenario import Scenario
    from sim.experiments import Precision
    from sim.window import Window
    from sim.workers import Workers


class Effort(msgspec.Struct, frozen=True, kw_only=True):
    """The options that these commands have in common."""

    hours: int = 1
    whole: bool = False
    replications: int = 10
    most: int = 40
    precision: float = 0.05
    engine: str = ""
    processes: int = 0
    cluster: str = ""
    results: Path = Path("results")

    def words(self) -> list[str]:
        """What differs from the defaults, as arguments that repeat it."""
        parts: list[str] = []
        names = {
            "hours": "--hours", "replications": "--replications", "most": "--replications-max",
            "precision": "--precision", "engine": "--engine",
        }  # fmt: skip
        for field, option in names.items():
            value = getattr(self, field)
            # Commands begin with different numbers of replications, so that one is always said.
            if value != getattr(Effort(), field) or field == "replications":
                parts += [option, f"{value:g}" if isinstance(value, float) else str(value)]
        return [*parts, "--whole"] if self.whole else parts

    def chosen_engine(self) -> str:
        """The engine asked for, or the default; raises UsageError if there is none of that name."""
        from sim import engines

        known = get_args(engines.Engine)
        if self.engine and self.engine not in known:
            message = f"--engine {self.engine!r}: unknown; {closest(self.engine, known)}"
            raise UsageError(message)
        return self.engine or engines.DEFAULT

    def until(self) -> Precision:
        """When to stop replicating."""
        from sim.experiments import Precision

        if self.most < self.replications:
            message = (
                f"--replications-max {self.most}: is below --replications {self.replications}; "
                "raise it"
            )
            raise UsageError(message)
        return Precision(self.precision, self.replications, self.most)

    def window(self, scenario: Scenario) -> Window:
        """The hours that are judged."""
        from sim import window

        return window.whole_month(scenario) if self.whole else window.busiest(scenario, self.hours)

    @contextmanager
    def workers(self) -> Iterator[Workers]:
        """Whoever does the work."""
        from sim.workers import workers

        with workers(self.cluster, self.processes or None) as found:
            yield found


def command_line(parts: Sequence[str], seed: int, effort: Effort) -> str:
    """The command that makes the same answer again."""
    return shlex.join(["fewseconds", *parts, "--seed", str(seed), *effort.words()])


def publish(
    page: Page, content: dict[str, Any], results: Path, name: str, summary: str = ""
) -> dict[str, str]:
    """Write page, JSON and Markdown into a folder of their own; returns where they are.

    The Markdown is ``summary``, or the page's own sentences and tables.
    """
    from fewseconds import markdown
    from fewseconds.report import page as pages
    from fewseconds.report import page_markdown
    from fewseconds.results import new_folder

    folder = new_folder(results, name)
    report = pages.write(folder, page)
    (folder / "answer.json").write_bytes(msgspec.json.format(msgspec.json.encode(content)))
    told = folder / markdown.FILE_NAME
    told.write_text(summary or page_markdown.markdown(page), encoding="utf-8")
    console.say(f"Report: {report}")
    return {"folder": str(folder), "report": str(report), "markdown": str(told)}


def estimate(number: float | None, form: str = "{:.3g}") -> str:
    """A number for a terminal, or a dash."""
    if number is None:
        return "–"
    return "never" if number == float("inf") else form.format(number)

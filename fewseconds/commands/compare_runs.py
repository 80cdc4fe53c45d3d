"""``fewseconds compare RUN BASE``: a run beside its baseline."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from fewseconds.commands import console, studies
from fewseconds.errors import UsageError

if TYPE_CHECKING:
    from fewseconds.baseline.comparison import Found


class RunsWish(msgspec.Struct, frozen=True, kw_only=True):
    """How runs are to be compared."""

    worse_by: float = 0.10
    more_failures: float = 0.01
    labels: tuple[str, ...] = ()
    across: bool = False
    on_inconclusive: str = "inconclusive"
    results: Path = Path("results")


def are_runs(first: str, second: str) -> bool:
    """Whether these are runs, not scenarios; raises UsageError for one of each."""
    one, other = (Path(name).is_dir() for name in (first, second))
    if one:
        return True
    if other:
        message = (
            f"{first} is a scenario and {second} a folder of results; name two scenarios, or a "
            "run and its baseline"
        )
        raise UsageError(message)
    return False


def compare_runs(run: str, base: str, wish: RunsWish, *, as_json: bool) -> int:
    """Compare, print, and leave page, JUnit and Markdown behind; returns the exit code."""
    labels = dict(_label(text) for text in wish.labels)
    from fewseconds import slo
    from fewseconds.baseline import foreign, runs
    from fewseconds.baseline.comparison import Margins, compare
    from fewseconds.baseline.page import cases, page, summary
    from fewseconds.commit import commit
    from fewseconds.junit import write_cases

    with console.progress() as say:
        say("reading", 0.0)
        after = runs.read(Path(run))
        before = (
            runs.read(Path(base))
            if Path(base).is_dir()
            else foreign.read(Path(base), labels, after.series)
        )
        say("comparing", 0.0)
        found = compare(
            after, before, Margins(wish.worse_by, wish.more_failures), across=wish.across
        )
    command = shlex.join(["fewseconds", "compare", run, base, *_options(wish)])
    fields: dict[str, Any] = {"scenario": after.scenario, "commit": commit()}
    code = _code(found, wish.on_inconclusive, slo.exit_code(found.word))
    content = fields | {"command": command, "exit_code": code} | msgspec.to_builtins(found)
    _print(found)
    places = studies.publish(
        page(found, command, fields), content, wish.results,
        f"{after.name}-against-{before.name}", summary(found, command),
    )  # fmt: skip
    folder = Path(places["folder"])
    write_cases(folder / "junit.xml", f"fewseconds.compare.{after.scenario}", cases(found))
    if as_json:
        console.print_json(content | places)
    return code


def _code(found: Found, on_inconclusive: str, code: int) -> int:
    if found.word != "inconclusive":
        return code
    return {"pass": 0, "fail": 1}.get(on_inconclusive, code)


def _label(text: str) -> tuple[str, str]:
    label, mark, step = text.rpartition("=")
    if not mark or not label or not step:
        message = f"--label {text!r}: not understood; write 'LABEL=STEP', such as 'Pay now=pay'"
        raise UsageError(message)
    return label, step


def _options(wish: RunsWish) -> list[str]:
    words = [part for text in wish.labels for part in ("--label", text)]
    plain = RunsWish()
    if wish.worse_by != plain.worse_by:
        words += ["--worse-by", f"{wish.worse_by:g}"]
    if wish.more_failures != plain.more_failures:
        words += ["--more-failures", f"{wish.more_failures:g}"]
    return [*words, "--across"] if wish.across else words


def _print(found: Found) -> None:
    from rich.markup import escape
    from rich.table import Table

    from fewseconds.baseline.comparison import amount

    table = Table(box=None, pad_edge=False)
    table.add_column("", no_wrap=True)
    for column in ("baseline", "run", "change", "95 %", ""):
        table.add_column(column, justify="right", no_wrap=True)
    for row in found.rows:
        effect = row.effect
        if effect.change is None:
            continue
        share = row.statistic == "share"
        told = [
            studies.estimate(one, "{:.2%}" if share else "{:.3g} s")
            for one in (effect.base, effect.run)
        ]
        marks = f"{row.word}" if row.gate else "significant" if row.significant else ""
        ends = f"{amount(row, effect.low)} to {amount(row, effect.high)}"
        table.add_row(escape(row.label), *told, amount(row, effect.change), ends, marks)
    console.err.print(table)
    for row in found.rows:
        if row.effect.reason:
            console.say(f"  – {row.label}: {row.effect.reason}")
    for note in (*found.reasons, *found.notes):
        console.say(f"  · {note}")
    console.say(f"{found.word.upper()}  {found.sentence}")

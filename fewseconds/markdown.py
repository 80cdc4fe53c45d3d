"""A summary of a run in Markdown, short enough for the page that a CI job shows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fewseconds.report import words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fewseconds.record import Record
    from fewseconds.slo import Verdict

FILE_NAME: Final = Path("summary").with_suffix(".md").name
SIGNS: Final = {"pass": "✓", "fail": "✗", "inconclusive": "–"}
SPECIAL: Final = re.compile(r"([\\`*_{}\[\]<>|#~])")


def write(folder: Path, record: Record) -> Path:
    """Write the summary into ``folder`` (which must exist) and return its path.

    Raises OSError if it cannot be written.
    """
    path = Path(folder) / FILE_NAME
    path.write_text(summary(record), encoding="utf-8")
    return path


def summary(record: Record) -> str:
    """The summary as text."""
    lines = [
        f"## {SIGNS[record.word]} {record.word}: {plain(record.title)}",
        "",
        plain(record.summary),
        "",
        *(f"- Why nothing can be concluded: {plain(r)}" for r in record.validity.reasons),
        *([""] if record.validity.reasons else []),
        *_objectives(record),
        *_checks(record),
        *_generator(record),
        *(f"- {plain(note)}" for note in record.notes),
        *([""] if record.notes else []),
        _provenance(record),
        "",
        "```console",
        # A fence cannot be closed from inside when no line holds three backticks.
        record.command.replace("```", "'''"),
        "```",
        "",
    ]
    return "\n".join(lines).replace(words.NBSP, " ")


def _provenance(record: Record) -> str:
    simulated = record.simulated_journeys
    return (
        f"{words.counted(record.measured_journeys, 'journey')} measured"
        f"{f', {words.whole(simulated)} simulated' if simulated else ''}. "
        f"Seed {record.seed}, scenario "
        f"{_code(record.scenario)} {_code(record.scenario_hash[:12])}, plan "
        f"{_code(record.plan_hash[:12])}, commit {_code(record.commit)}."
    )


def _objectives(record: Record) -> Iterator[str]:
    if not record.verdicts:
        return
    # A load run has no simulation beside it.
    engines = ("measured", "simulated") if record.simulated_journeys else ("measured",)
    yield f"| | objective | limit | {' | '.join(engines)} |"
    yield f"|---|---|---{'|---' * len(engines)}|"
    names = dict.fromkeys(verdict.name for verdict in record.verdicts)
    pairs = [{v.engine: v for v in record.verdicts if v.name == name} for name in names]
    pairs.sort(key=lambda pair: not next(iter(pair.values())).gate)
    for pair in pairs:
        one = next(iter(pair.values()))
        kind = "gate" if one.gate else "claim"
        cells = (_cell(pair.get(engine)) for engine in engines)
        yield f"| {kind} | {plain(one.name)} | {words.limit(one)} | {' | '.join(cells)} |"
    yield ""


def _cell(verdict: Verdict | None) -> str:
    if verdict is None:
        return ""
    value = words.quantity(verdict.measure, verdict.observed)
    reason = f" ({plain(verdict.reason)})" if verdict.reason else ""
    return f"{SIGNS[verdict.word]} {verdict.word}, {value}{reason}"


def _checks(record: Record) -> Iterator[str]:
    if not record.checks:
        return
    broken = [check for check in record.checks if not check.passed]
    yield f"{len(record.checks) - len(broken)} of {len(record.checks)} exact checks hold."
    yield ""
    for check in broken:
        first = f": {plain('; '.join(check.first))}" if check.first else ""
        yield f"- {SIGNS['fail']} {plain(check.name)}: {check.violations} of {check.checked}{first}"
    if broken:
        yield ""


def _generator(record: Record) -> Iterator[str]:
    if record.generator is not None:
        kept = record.generator
        yield (
            f"Load generator: {words.whole(kept.started)} of {words.whole(kept.intended)} journeys "
            f"started, {kept.dropped} dropped, {kept.late} of {kept.steps} steps late, lag p99 "
            f"{words.seconds(kept.lag_ms_p99 / 1000)}."
        )
        yield ""


def plain(text: str) -> str:
    """Text on one line in which nothing is taken for markup."""
    return SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _code(text: str) -> str:
    return f"`{text.replace('`', '')}`"

"""The verdicts and exact checks of a run as JUnit XML, for machines that only count test cases.

The form is that of the schema which Jenkins publishes for its xUnit plug-in (junit-10.xsd): one
suite with properties, then test cases that hold at most one of ``failure``, ``error`` and
``skipped``. A gate or exact check that fails is a failure, an inconclusive gate is an error. A
claim never turns a build red: one that fails or is inconclusive is skipped, with the reason.
"""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple
from xml.etree import ElementTree as ET

from fewseconds.report import words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fewseconds.record import Check, Record
    from fewseconds.slo import Verdict

FILE_NAME: Final = "junit.xml"
UNSAYABLE: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot hold, not even escaped (section 2.2)."""


class Case(NamedTuple):
    """A test case that is not one of a run's."""

    name: str
    kind: Literal["", "failure", "error", "skipped"]
    message: str = ""
    output: str = ""


def write(folder: Path, record: Record) -> Path:
    """Write ``junit.xml`` into ``folder`` (which must exist) and return its path.

    Raises OSError if it cannot be written.
    """
    path = Path(folder) / FILE_NAME
    root = ET.Element("testsuites")
    root.append(suite(record))
    ET.indent(root)
    ET.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)
    return path


def write_cases(path: Path, name: str, cases: Iterable[Case]) -> None:
    """Write one suite of plain cases; raises OSError if it cannot be written."""
    elements = []
    for case in cases:
        element = ET.Element("testcase", classname=_sayable(name), name=_sayable(case.name))
        if case.kind:
            _mark(element, case.kind, case.message)
        _output(element, case.output)
        elements.append(element)
    root = ET.Element("testsuites")
    counts = {
        plural: str(sum(element.find(kind) is not None for element in elements))
        for plural, kind in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped"))
    }
    told = ET.SubElement(
        root, "testsuite", {"name": _sayable(name), "tests": str(len(elements)), **counts}
    )
    told.extend(elements)
    ET.indent(root)
    ET.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


def suite(record: Record) -> ET.Element:
    """The one suite of a run."""
    cases = list(_cases(record))
    counts = {
        kind: sum(case.find(kind) is not None for case in cases)
        for kind in ("failure", "error", "skipped")
    }
    element = ET.Element(
        "testsuite",
        name=_sayable(f"fewseconds.{record.scenario}"),
        tests=str(len(cases)),
        failures=str(counts["failure"]),
        errors=str(counts["error"]),
        skipped=str(counts["skipped"]),
        time=f"{record.wall_s:.3f}",
        # The schema has no room for an offset.
        timestamp=record.started_at.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S"),
        hostname="localhost",
    )
    properties = ET.SubElement(element, "properties")
    for name, value in _properties(record).items():
        ET.SubElement(properties, "property", name=_sayable(name), value=_sayable(value))
    element.extend(cases)
    return element


def _properties(record: Record) -> dict[str, str]:
    return {
        "verdict": record.word,
        "exit_code": str(record.exit_code),
        "summary": record.summary,
        "seed": str(record.seed),
        "scenario_hash": record.scenario_hash,
        "plan_hash": record.plan_hash,
        "commit": record.commit,
        "command": record.command,
        "tries": str(record.tries),
        **{f"version.{name}": version for name, version in record.versions.items()},
    }


def _cases(record: Record) -> Iterator[ET.Element]:
    validity = _case(record, "validity", "The measurement allows a conclusion")
    if not record.validity.valid:
        _mark(validity, "error", "; ".join(record.validity.reasons) or "the measurement is spoiled")
    elif record.word == "inconclusive" and not any(v.gate for v in record.verdicts):
        _mark(validity, "error", "no gate was judged")
    yield validity
    for verdict in record.verdicts:
        yield _verdict(record, verdict)
    for check in record.checks:
        yield _check(record, check)


def _verdict(record: Record, verdict: Verdict) -> ET.Element:
    kind = "gate" if verdict.gate else "claim"
    case = _case(record, kind, f"{verdict.name} ({verdict.engine})")
    interval = words.interval(verdict)
    told = (
        f"{words.quantity(verdict.measure, verdict.observed)} against {words.limit(verdict)}"
        f"{f', 95 % interval {interval}' if interval else ''}, n = {verdict.count}"
    )
    if verdict.word == "fail":
        _mark(case, "failure" if verdict.gate else "skipped", f"{kind} fails: {told}")
    elif verdict.word == "inconclusive":
        reason = verdict.reason or "nothing can be said"
        _mark(case, "error" if verdict.gate else "skipped", f"{kind} inconclusive: {reason}")
    _output(case, f"{verdict.measure} {verdict.statistic}: {told}")
    return case


def _check(record: Record, check: Check) -> ET.Element:
    case = _case(record, "check", check.name)
    if not check.passed:
        first = f": {'; '.join(check.first)}" if check.first else ""
        message = f"{words.counted(check.violations, 'violation')} in {check.checked}{first}"
        _mark(case, "failure" if check.gate else "skipped", message)
    _output(case, f"{check.checked} looked at")
    return case


def _case(record: Record, kind: str, name: str) -> ET.Element:
    classname = f"fewseconds.{record.scenario}.{kind}"
    return ET.Element("testcase", classname=_sayable(classname), name=_sayable(name), time="0")


def _mark(case: ET.Element, kind: str, message: str) -> None:
    message = _sayable(message)
    mark = ET.SubElement(case, kind, message=message)
    if kind != "skipped":
        mark.set("type", kind)
        mark.text = message


def _output(case: ET.Element, text: str) -> None:
    ET.SubElement(case, "system-out").text = _sayable(text)


def _sayable(text: str) -> str:
    """Text without what XML cannot hold, and with plain spaces."""
    return UNSAYABLE.sub("\ufffd", text.replace(words.NBSP, " "))

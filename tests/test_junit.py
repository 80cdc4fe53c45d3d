"""JUnit XML and the Markdown summary: their form, and that they say what the record says."""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING, Any, Final
from xml.etree import ElementTree as ET

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewseconds import junit, markdown, slo
from fewseconds.record import Check, Generator, Record
from fewseconds.slo import Validity, Verdict

if TYPE_CHECKING:
    from pathlib import Path

WORDS: Final = ("pass", "fail", "inconclusive")
CHILDREN: Final = {
    "testsuites": {"testsuite"},
    "testsuite": {"properties", "testcase", "system-out", "system-err"},
    "properties": {"property"},
    "testcase": {"skipped", "error", "failure", "system-out", "system-err"},
}
NEEDED: Final = {
    "testsuite": {"name", "tests", "failures", "errors", "skipped", "time", "timestamp"},
    "property": {"name", "value"},
    "testcase": {"name", "classname", "time"},
    "failure": {"message", "type"},
    "error": {"message", "type"},
    "skipped": {"message"},
}
PATTERNS: Final = {
    "tests": r"\d+",
    "failures": r"\d+",
    "errors": r"\d+",
    "skipped": r"\d+",
    "time": r"\d+(\.\d+)?",
    "timestamp": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d",
}


def faults(element: ET.Element) -> list[str]:
    """What in a tree breaks the common JUnit schema (Jenkins' junit-10.xsd), as sentences."""
    found = [
        f"{element.tag} lacks {name}"
        for name in sorted(NEEDED.get(element.tag, set()) - set(element.attrib))
    ]
    found += [
        f"{element.tag} {name}={value!r}"
        for name, value in element.attrib.items()
        if name in PATTERNS and not re.fullmatch(PATTERNS[name], value)
    ]
    found += [
        f"{element.tag} holds {child.tag}"
        for child in element
        if child.tag not in CHILDREN.get(element.tag, set())
    ]
    marks = [child.tag for child in element if child.tag in {"skipped", "error", "failure"}]
    found += [f"{element.tag} holds {marks}"] * (len(marks) > 1)
    if element.tag == "testsuite":
        order = [child.tag for child in element]
        found += ["properties come first"] * (order != sorted(order, key="properties".__ne__))
        for attribute, tag in (
            ("failures", "failure"),
            ("errors", "error"),
            ("skipped", "skipped"),
        ):
            counted = len(element.findall(f"testcase/{tag}"))
            found += [f"{attribute}={element.get(attribute)}, not {counted}"] * (
                element.get(attribute) != str(counted)
            )
        found += ["tests"] * (element.get("tests") != str(len(element.findall("testcase"))))
    return found + [fault for child in element for fault in faults(child)]


def verdict(name: str, word: Any, *, gate: bool, **changes: Any) -> Verdict:  # noqa: ANN401
    """Return a verdict on a median."""
    observed = None if word == "inconclusive" else 2.8
    made = Verdict(
        name, "machine_time", "p50", "measured", gate, 5.0, at_least=False, word=word,
        observed=observed, low=2.7, high=2.9, count=140,
    )  # fmt: skip
    return msgspec.structs.replace(made, **changes)


def record(**changes: Any) -> Record:  # noqa: ANN401 - any field
    """Return the record of a run in which all is well."""
    whole = Record(
        scenario="smoke",
        scenario_hash="a" * 64,
        title="Smoke test",
        description="A few payments.",
        seed=7,
        plan_hash="b" * 64,
        commit="abcdef0",
        versions={"python": "3.11.7"},
        command="fewseconds run smoke --seed 7",
        started_at=dt.datetime(2026, 11, 22, 12, 0, tzinfo=dt.timezone(dt.timedelta(hours=5.5))),
        wall_s=61.5,
        window_us=(0, 12_000_000),
        word="pass",
        exit_code=0,
        summary="Yes: a few seconds.",
        verdicts=(verdict("machine time", "pass", gate=True),),
        validity=Validity(valid=True),
        checks=(Check("money is conserved", passed=True, checked=12),),
        generator=Generator(300, 299, 2000, 2, 1, 0.4, 3.2, 7.0, None, None, 0.08, 3),
        measured_journeys=300,
        simulated_journeys=600,
        simulated_wall_s=0.1,
    )
    return msgspec.structs.replace(whole, **changes)


def written(tmp_path: Path, whole: Record) -> ET.Element:
    """Write a record and read it again."""
    return ET.parse(junit.write(tmp_path, whole)).getroot()  # noqa: S314 - our own file


texts = st.text(max_size=30)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(texts, st.sampled_from(WORDS), st.booleans(), texts), max_size=6),
    st.lists(st.tuples(texts, st.booleans(), st.booleans(), texts), max_size=4),
    st.lists(texts, max_size=2),
    texts,
)
def test_any_record_makes_a_valid_file(
    judged: list[tuple[str, str, bool, str]],
    checked: list[tuple[str, bool, bool, str]],
    reasons: list[str],
    text: str,
) -> None:
    """Whatever a record says, in whatever characters, its XML parses and keeps to the schema."""
    whole = record(
        verdicts=tuple(verdict(n, w, gate=g, reason=r) for n, w, g, r in judged),
        checks=tuple(Check(n, p, 3, int(not p), (f,), g) for n, p, g, f in checked),
        validity=Validity(not reasons, tuple(reasons)),
        summary=text,
        command=text,
        scenario=text,
    )
    root = ET.fromstring(ET.tostring(junit.suite(whole), encoding="utf-8"))  # noqa: S314 - our own
    assert faults(root) == []
    assert len(root.findall("testcase")) == 1 + len(judged) + len(checked)


def test_each_word_becomes_its_mark(tmp_path: Path) -> None:
    """A failed gate is a failure, an inconclusive one an error, and no claim reddens a build."""
    judged = [
        verdict(f"{word} {kind}", word, gate=kind == "gate")
        for word in WORDS
        for kind in ("gate", "claim")
    ]
    checks = (
        Check("holds", passed=True, checked=3),
        Check("broken", passed=False, checked=3, violations=1, first=("bill 7 twice",)),
        Check("told", passed=False, checked=3, violations=1, gate=False),
    )
    root = written(tmp_path, record(verdicts=tuple(judged), checks=checks))
    assert faults(root) == []
    marks = {
        str(case.get("name")).removesuffix(" (measured)"): [
            child.tag for child in case if child.tag != "system-out"
        ]
        for case in root.iter("testcase")
    }
    assert marks == {
        "The measurement allows a conclusion": [],
        "pass gate": [],
        "pass claim": [],
        "fail gate": ["failure"],
        "fail claim": ["skipped"],
        "inconclusive gate": ["error"],
        "inconclusive claim": ["skipped"],
        "holds": [],
        "broken": ["failure"],
        "told": ["skipped"],
    }
    message = root.find(".//testcase[@name='broken']/failure")
    assert message is not None
    assert "bill 7 twice" in str(message.get("message"))


@pytest.mark.parametrize("word", WORDS)
def test_the_file_and_the_exit_code_agree(tmp_path: Path, word: Any) -> None:  # noqa: ANN401
    """A run that passes has neither failures nor errors, and one that does not has some."""
    reasons = ("the biller ended",) if word == "inconclusive" else ()
    verdicts = () if reasons else (verdict("machine time", word, gate=True),)
    validity = Validity(not reasons, reasons)
    whole = record(
        word=word, exit_code=slo.exit_code(word), verdicts=verdicts, validity=validity, checks=()
    )
    suite = written(tmp_path, whole)[0]
    red = int(suite.get("failures", "0")) + int(suite.get("errors", "0"))
    assert (red == 0) == (whole.exit_code == 0)


def test_properties_say_how_to_repeat_the_run(tmp_path: Path) -> None:
    """Seed, hashes, commit and command are properties, and the time is told without an offset."""
    root = written(tmp_path, record())
    told = {str(item.get("name")): item.get("value") for item in root.iter("property")}
    assert told["seed"] == "7"
    assert told["scenario_hash"] == "a" * 64
    assert told["plan_hash"] == "b" * 64
    assert told["command"] == "fewseconds run smoke --seed 7"
    assert root[0].get("timestamp") == "2026-11-22T06:30:00"


def test_the_summary_has_a_row_for_every_objective(tmp_path: Path) -> None:
    """The Markdown table pairs both worlds, gates first, and nothing breaks its cells."""
    judged = (
        verdict("a claim | with a bar", "fail", gate=False),
        verdict("machine time", "pass", gate=True),
        verdict("machine time", "inconclusive", gate=True, engine="simulated", reason="too | few"),
    )
    broken = Check("<b>bold</b> claims", passed=False, checked=3, violations=1)
    whole = record(verdicts=judged, checks=(broken,), title="Smoke *test*")
    text = markdown.write(tmp_path, whole).read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]
    assert [len(row) for row in cells] == [5] * 4
    assert [row[0].strip() for row in cells[2:]] == ["gate", "claim"]
    assert cells[2][3].strip() == "✓ pass, 2.8 s"
    assert cells[2][4].strip() == r"– inconclusive, – (too \| few)"
    assert text.startswith(r"## ✓ pass: Smoke \*test\*")
    assert r"\<b\>bold\</b\>" in text
    assert "fewseconds run smoke --seed 7" in text

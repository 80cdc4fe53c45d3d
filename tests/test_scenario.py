"""Scenario files: what is shipped loads, and what is wrong is told all at once and in words."""

from __future__ import annotations

import copy
import datetime as dt
import json
import math
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fewseconds import scenario_file
from fewseconds.errors import ScenarioError, UsageError
from fewseconds.plan import plan
from sim import reference

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def toml(value: Any) -> str:  # noqa: ANN401 - anything that TOML can say
    """Write a value as TOML, tables inline."""
    if isinstance(value, dict):
        pairs = (f"{json.dumps(k, ensure_ascii=False)} = {toml(v)}" for k, v in value.items())
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, dt.date):
        return value.isoformat()
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str | bool) else repr(value)


def written(folder: Path, tree: dict[str, Any], name: str = "mine.toml") -> str:
    """Write a tree as a scenario file; returns its path."""
    lines = (f"{json.dumps(key)} = {toml(value)}\n" for key, value in tree.items())
    (folder / name).write_text("".join(lines), encoding="utf-8")
    return str(folder / name)


def without_none(value: Any) -> Any:  # noqa: ANN401 - any part of a tree
    """A tree without the keys that hold nothing, which TOML cannot write."""
    if isinstance(value, dict):
        return {key: without_none(item) for key, item in value.items() if item is not None}
    return [without_none(item) for item in value] if isinstance(value, list | tuple) else value


@pytest.fixture(scope="module")
def smoke_tree() -> dict[str, Any]:
    """Every key of the smoke test, for 40 consumers."""
    tree = without_none(msgspec.to_builtins(scenario_file.load("smoke", {"consumers": 40})))
    assert isinstance(tree, dict)
    return tree


def complaints(name: str, overrides: dict[str, Any] | None = None) -> list[str]:
    """The problems of a scenario, without the name of its file."""
    with pytest.raises(ScenarioError) as caught:
        scenario_file.load(name, overrides)
    assert str(caught.value).splitlines() == caught.value.problems
    places = {line.partition(".toml: ")[0] for line in caught.value.problems}
    assert len(places) == 1
    return [line.partition(".toml: ")[2] for line in caught.value.problems]


def test_a_misspelled_station_is_told_with_its_place_and_the_right_name() -> None:
    """The message names file, journey, step and station, and suggests the name that is close."""
    pay = msgspec.to_builtins(scenario_file.load("due_date_evening").steps["pay"])
    legs = without_none(pay["legs"])
    legs[4]["station"] = "remiter_bank"
    with pytest.raises(ScenarioError) as caught:
        scenario_file.load("due_date_evening", {"steps": {"pay": {"legs": legs}}})
    assert str(caught.value) == (
        "due_date_evening.toml: journey 'qr_ebill' step 'pay': unknown station 'remiter_bank'; "
        "did you mean 'remitter_bank'?"
    )


ALL_AT_ONCE = """
extends = "mumbai"
titel = "A city of mistakes"
consumers = "many"
seed = -1

[banks]
SBI = 0.5

[adoption]
share = 1.7
path = [0.7, 0.95]
loses = "qr_ebill"

[season]
counts = [1, 1, 1]

[arrivals]
payments_per_consumer_month = -0.5
weekdays = [1, 1, 1]
hours = [-3, 1, 1, 1, 1, 3, 8, 20, 40, 60, 80, 85, 80, 60, 50, 50, 60, 80, 90, 95, 85, 60, 30, 12]

[channels.qr_ebill]
share = 0.9
media = { laser_print = 0.5, lasr_print = 0.5 }

[channels.qr_bill]
source = "made up"
digital = false
share = 0.0

[apps.navi]
scanner = "zxing"

[steps.resolve]
legs = [{ station = "biler", timeout_ms = -10, asks = "pay.credit" }]
retry_on = ["eror"]
delay_ms = -5
give_up_after_ms = -1
attempts_max = 0

[steps.review]
clock = "mechanical"

[steps.register]
atempts_max = 3

[journeys.portal]
steps = ["open_portal", "pey"]

[stations.biller]
servers = -4
queue_limit = "two thousand"

[stations.clerk]
service_time = { law = "lognormal", median_ms = -75_000, p95_ms = 150_000, source = "made up" }
patience = { law = "uniform", low_ms = 2, high_ms = 1, source = "made up" }

[stations.switch]
service_time = { law = "lognorm", median_ms = 75, p95_ms = 150, source = "made up" }

[stations.operator.variants.gio]
failures = [{ outcome = "timed_out", code = "undelivered", share = 1.5, source = "made up" }]

[load]
duration_s = 0
drain_s = -1

[[fault]]
kind = "slowdown"
station = "bilier"
factor = -5
"""
TOLD = [
    "titel: unknown key; did you mean 'title'?",
    "consumers: 'many': expected `int`, got `str`",
    "adoption.share: 1.7 is not between 0 and 1",
    "adoption.loses: 'qr_ebill' is no channel of those who are not digital; ",
    "season.counts: 3 weights; write 12",
    "seed: -1 is out of range",
    "banks: shares sum to 1.2132",
    "arrivals.payments_per_consumer_month: -0.5 is not above 0",
    "arrivals.weekdays: 3 weights; write 7",
    "arrivals.hours: [-3.0, 1.0, ",
    "channels (digital): shares sum to 1.4;",
    "channels.qr_ebill.media: unknown medium 'lasr_print'; did you mean 'laser_print'?",
    "channels.qr_ebill.media: shares sum to 1.45",
    "channels.qr_bill: no such journey; did you mean 'qr_ebill'?",
    "apps.navi.scanner: unknown scanner 'zxing'; did you mean 'zxing-cpp'?",
    "journey 'qr_ebill' step 'resolve': unknown station 'biler'; did you mean 'biller'?",
    "journey 'qr_ebill' step 'resolve': timeout_ms -10 is not above 0",
    "journey 'qr_ebill' step 'resolve': unknown event 'pay.credit'; did you mean 'pay.credited'?",
    "journey 'qr_ebill' step 'resolve': unknown outcome 'eror'; did you mean 'error'?",
    "journey 'qr_ebill' step 'resolve': a wait is negative",
    "journey 'qr_ebill' step 'resolve': attempts_max 0 is out of range",
    "steps.review.clock: 'mechanical': ",
    "steps.register.atempts_max: unknown key; did you mean 'attempts_max'?",
    "journey 'portal': unknown step 'pey'; did you mean 'pay'?",
    "stations.biller.servers: -4 is negative",
    "stations.biller.queue_limit: 'two thousand': expected `int`, got `str`",
    "stations.clerk.service_time.median_ms: -75000.0 is not a duration",
    "stations.clerk.patience.low_ms: 2.0 is above high_ms 1.0",
    "stations.switch.service_time.law: 'lognorm': ",
    "stations.operator.variants.gio: no such operator; did you mean 'jio'?",
    "stations.operator.variants.gio.failures[0].share: 1.5 is not between 0 and 1",
    "stations.operator.variants.gio.failures: shares sum to 1.5",
    "load.duration_s: 0 is not above 0",
    "load.drain_s: -1 is negative",
    "fault[0]: unknown station 'bilier'; did you mean 'biller'?",
    "fault[0].factor: -5.0 is not above 0",
]


def test_all_problems_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    """Keys, types, names, shares, rates and times: one error lists each of them, and no other."""
    (tmp_path / "mine.toml").write_text(ALL_AT_ONCE, encoding="utf-8")
    said = complaints(str(tmp_path / "mine.toml"))
    missing = [line for line in TOLD if not any(one.startswith(line) for one in said)]
    unexpected = [one for one in said if not any(one.startswith(line) for line in TOLD)]
    assert (missing, unexpected) == ([], [])
    assert len(said) == len(TOLD)


STEP = "journey 'qr_ebill' step 'pay'"
BAD_ALONE: list[tuple[dict[str, Any], str]] = [
    # What is laid over the smoke test; how the one complaint begins.
    ({"consumers": 2**70}, "consumers: 118059162071741130"),
    ({"consumers": 0}, "consumers: 0 is not above 0"),
    ({"banks": {"SBI": 0.28}}, "banks: shares sum to 0.9932; make them sum to 1"),
    ({"consumers": True}, "consumers: True: expected `int`, got `bool`"),
    ({"adoption": {"share": math.nan}}, "adoption.share: nan"),
    ({"adoption": {"share": 0.7, "path": [0.7, -0.1]}}, "adoption.path[1]: -0.1 is not between"),
    ({"adoption": {"share": 0.7, "path": [0.7], "loses": "cash"}}, "adoption.loses: 'cash'"),
    ({"season": {"amounts": [0] * 12}}, "season.amounts: [0.0, "),
    ({"month": 0}, "month: 0 is not above 0"),
    ({"month": 241}, "month: 241 is too many"),
    ({"name": "a/b"}, "name: 'a/b'"),
    ({"arrivals": {"days": 10**9}}, "arrivals.days: 1000000000"),
    ({"arrivals": {"cycles": 2}}, "arrivals.cycles: 2"),
    ({"arrivals": {"hours": [math.inf] + [1] * 23}}, "arrivals.hours[0]: inf"),
    ({"arrivals": {"days_after_bill": []}}, "arrivals.days_after_bill: []"),
    ({"arrivals": {"first_day": "tomorrow"}}, "arrivals.first_day: 'tomorrow'"),
    ({"arrivals": {"source": " "}}, "arrivals.source: is empty"),
    ({"consumers_source": ""}, "consumers_source: is empty"),
    ({"load": {"duration_s": 100_000}}, "load.duration_s: 100000"),
    (
        {"fault": [{"kind": "slowdown", "station": "biller", "factor": math.inf}]},
        "fault[0].factor: inf",
    ),
    ({"steps": {"pay": {"give_up_after_ms": -1}}}, f"{STEP}: a wait is negative"),
    ({"steps": {"pay": {"backoff_ms": [5, -1]}}}, f"{STEP}: a wait is negative"),
    ({"steps": {"pay": {"backoff_jitter": 1.1}}}, f"{STEP}: backoff_jitter 1.1"),
    ({"steps": {"pay": {"legs": []}}}, ""),
    ({"steps": {"pay": {"then": "pay"}}}, f"{STEP}: leads back to itself (pay → pay)"),
    (
        {"steps": {"type_number": {"on_failure": {"error": "scan"}}}},
        "journey 'qr_ebill' step 'scan': leads back to itself (scan → put_aside → scan_again → ",
    ),
    ({"steps": {"pay": {"on_failure": {"ok": "end"}}}}, f"{STEP}: unknown outcome 'ok'"),
    ({"steps": {"sms": {"after": {"step": "pay", "event": "posted"}}}}, ""),
    ({"steps": {"open_portal": {"after": {"step": "pay", "event": "ok"}}}},
     "journey 'portal' step 'open_portal': comes first, so it cannot wait for 'pay.ok'"),
    ({"journeys": {"qr_ebill": {"steps": []}}}, "journey 'qr_ebill': has no steps"),
    ({"journeys": {"portal": {"steps": ["pay", "pay"]}}}, ""),
    ({"stations": {"biller": {"persistence": -0.1}}}, "stations.biller.persistence: -0.1"),
    ({"stations": {"biller": {"by": ["phone"]}}}, "stations.biller.by: unknown trait 'phone'"),
    ({"stations": {"biller": {"variants": {"jio": {}}}}}, "stations.biller.variants.jio: "),
    (
        {"stations": {"camera": {"variants": {"laser_print/pyzbra": {}}}}},
        "stations.camera.variants.laser_print/pyzbra: no such scanner; did you mean 'pyzbar'?",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("overrides", "said"), BAD_ALONE)
def test_a_single_mistake_is_told(overrides: dict[str, Any], said: str) -> None:
    """One mistake in a good scenario is refused, in one line if nothing follows from it."""
    lines = complaints("smoke", overrides)
    assert lines[0].startswith(said)
    assert len(lines) == 1 or not said


@pytest.mark.parametrize("name", ["apps", "banks", "operators"])
def test_an_empty_table_of_shares_is_refused(
    name: str, smoke_tree: dict[str, Any], tmp_path: Path
) -> None:
    """Nobody can be drawn from an empty table, so it is refused when read."""
    said = complaints(written(tmp_path, smoke_tree | {name: {}}))
    assert said[0] == f"{name}: has no shares; write at least one"


def test_payments_need_a_channel_on_their_side(smoke_tree: dict[str, Any], tmp_path: Path) -> None:
    """A share of payments that are not digital needs a channel that is not."""
    channels = {k: c for k, c in smoke_tree["channels"].items() if c["digital"]}
    scenario_file.load(written(tmp_path, smoke_tree | {"channels": channels}))
    tree = smoke_tree | {"channels": channels, "adoption": {**smoke_tree["adoption"], "share": 0.9}}
    assert complaints(written(tmp_path, tree)) == [
        "channels (other): has no shares; write at least one"
    ]


def test_what_is_written_is_what_is_read(smoke_tree: dict[str, Any], tmp_path: Path) -> None:
    """A scenario written out with every key of its own is read as the same scenario."""
    again = scenario_file.load(written(tmp_path, smoke_tree))
    assert again == scenario_file.load("smoke", {"consumers": 40})
    assert again.digest != scenario_file.load("smoke").digest


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:  # noqa: ANN401
    """Paths of everything in a tree."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        yield (*path, key)
        if isinstance(item, dict | list):
            yield from places(item, (*path, key))


def drawn_place(tree: Any, data: st.DataObject) -> tuple[Any, Any]:  # noqa: ANN401
    """A table or list of a tree and one of its keys; higher ones are as likely as deep ones."""
    while True:
        key = data.draw(st.sampled_from(list(tree) if isinstance(tree, dict) else range(len(tree))))
        if (
            not isinstance(tree[key], dict | list)
            or not tree[key]
            or data.draw(st.integers(0, 3)) == 0
        ):
            return tree, key
        tree = tree[key]


ODD = [
    0, -1, 3, 1.5, 1e300, math.nan, math.inf, -math.inf, 2**70, 10**400, True, "", "pay", "ok",
    "biller", "constant", "2026-11-01", [], [1], ["pay"], [[0, 1], [1, 2]], {}, {"law": "constant"},
    dt.date(2026, 2, 28), dt.datetime(2026, 2, 28, tzinfo=dt.UTC),
]  # fmt: skip


def mutated(tree: dict[str, Any], data: st.DataObject) -> dict[str, Any]:
    """A copy of a tree with one to three keys deleted, renamed, or given another value."""
    tree = copy.deepcopy(tree)
    for _ in range(data.draw(st.integers(1, 3))):
        holder, key = drawn_place(tree, data)
        change = data.draw(st.sampled_from(["delete", "rename", "replace", "replace"]))
        if change == "replace":
            holder[key] = copy.deepcopy(data.draw(st.sampled_from(ODD)))
        else:
            taken = holder.pop(key)
            if change == "rename" and isinstance(holder, dict):
                holder[data.draw(st.sampled_from([f"{key}s", str(key)[:-1], "source", "pay"]))] = (
                    taken
                )
    return tree


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_scenario_is_refused_in_words_or_works(
    smoke_tree: dict[str, Any], tmp_path: Path, data: st.DataObject
) -> None:
    """However keys are deleted, renamed or replaced, a file is refused, or planned and walked."""
    path = written(tmp_path, mutated(smoke_tree, data))
    said = "fine: "
    try:
        whole = plan(scenario_file.load(path), 7)
    except UsageError as error:
        said = str(error)
    else:
        walked = plan(whole.scenario, 7).window(0, 10**12)
        assert len(reference.simulate(walked).outcomes) >= len(walked)
    for line in said.splitlines():
        assert ": " in line
        assert not set(line) & {"\0"}


@pytest.mark.parametrize("name", scenario_file.shipped())
def test_every_number_of_a_shipped_scenario_has_a_source(name: str) -> None:
    """Beside every number, or around its table, stands where it comes from."""
    tree = without_none(msgspec.to_builtins(scenario_file.load(name)))

    def sourced(path: tuple[Any, ...]) -> bool:
        if tree.get(f"{path[0]}_source", "").strip():
            return True
        around: Any = tree
        for key in path[:-1]:
            around = around[key]
            if isinstance(around, dict) and around.get("source", "").strip():
                return True
        return path in (("seed",), ("month",))

    bare = []
    for path in places(tree):
        value: Any = tree
        for key in path:
            value = value[key]
        if isinstance(value, int | float) and not isinstance(value, bool) and not sourced(path):
            bare.append(path)
    assert bare == []


def test_a_change_of_any_number_changes_the_digest() -> None:
    """Two scenarios that differ in one share or name have different digests."""
    smoke = scenario_file.load("smoke").digest
    assert smoke == scenario_file.load("smoke").digest
    for changes in (
        {"title": "x"},
        {"consumers": 99_999},
        {"stations": {"biller": {"servers": 5}}},
    ):
        assert scenario_file.load("smoke", changes).digest != smoke

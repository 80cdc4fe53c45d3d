"""The compiled engine writes the rows of the reference engine, and sums them up as its rows do.

Scenarios are drawn at random: a few steps and branches over a few stations with everything that
can befall them, on a coarse grid of times, so that many events share an instant and flows merge.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from fewseconds import scenario_file
from fewseconds.measures import frame
from fewseconds.plan import Plan, plan
from fewseconds.timeline import HOLDING
from sim import engines, flat, layout, ready, reference_station

if TYPE_CHECKING:
    from collections.abc import Callable

    from fewseconds.scenario import Scenario
    from sim.summary import Summary

    Tiny = Callable[..., Scenario]
    Starting = Callable[..., Plan]

pytestmark = pytest.mark.timeout(300)
SOURCE = {"source": "made up"}
GRID_MS = 50
FIRST = "2026-11-01"
APPS = ("phonepe", "google_pay", "other")


def law(value_ms: int) -> dict[str, Any]:
    """A constant time."""
    return SOURCE | {"law": "constant", "value_ms": value_ms}


def moment(second: int) -> str:
    """A moment of the first day, in the seconds of these tests."""
    return f"{FIRST}T00:{second // 60:02d}:{second % 60:02d}+05:30"


times = st.integers(0, 12).map(lambda n: n * GRID_MS)
laws = st.one_of(
    times.map(law),
    st.tuples(times, times).map(
        lambda pair: SOURCE | {"law": "uniform", "low_ms": min(pair), "high_ms": max(pair)}
    ),
)
windows = st.tuples(st.integers(0, 8), st.integers(1, 5)).map(
    lambda pair: {"from": moment(pair[0]), "until": moment(sum(pair))}
)
failures = st.lists(
    st.sampled_from(["declined", "error", "timed_out"]), max_size=2, unique=True
).map(
    lambda found: [
        SOURCE | {"outcome": one, "code": one[:2].upper(), "share": 0.2} for one in found
    ]
)
limits = st.fixed_dictionaries(
    {
        "per_s": st.sampled_from([2.0, 5.0, 10.0, 30.0]),
        "burst": st.integers(1, 3),
        "excess": st.sampled_from(["reject", "wait"]),
    }
)
changes = st.lists(
    st.tuples(st.integers(0, 10), st.integers(1, 4)), max_size=3, unique_by=lambda pair: pair[0]
).map(
    lambda found: [
        SOURCE | {"from": moment(second), "servers": servers} for second, servers in sorted(found)
    ]
)


@st.composite
def stations(draw: st.DrawFn) -> dict[str, Any]:
    """One station with some of what a station may have."""
    table: dict[str, Any] = SOURCE | {
        "role": "mocked",
        "service_time": draw(laws),
        "servers": draw(st.integers(0, 3)),
        "failures": draw(failures),
        "persistence": draw(st.sampled_from([0.0, 0.5])),
    }
    if draw(st.booleans()):
        table["queue_limit"] = draw(st.integers(0, 4))
    if draw(st.booleans()):
        table["patience"] = draw(laws)
    if draw(st.integers(0, 3)) == 0:
        table["rate_limit"] = SOURCE | draw(limits)
    if table["servers"] and draw(st.integers(0, 3)) == 0:
        table["servers_later"] = draw(changes)
    if draw(st.booleans()):
        table["by"] = [draw(st.sampled_from(["bank", "account"]))]
        table["variants"] = {"SBI": {"service_time": draw(laws)}, "HDFC": {"persistence": 0.9}}
    if draw(st.integers(0, 2)) == 0:
        table["burst"] = SOURCE | {"share_of_time": 0.5, "span_s": draw(st.integers(1, 2))}
    if draw(st.integers(0, 2)) == 0 and "variants" in table:
        table["typical"] = {"error": 0.2, "declined": 0.4}
        table["variants"]["SBI"]["shares"] = {"error": 0.25, "declined": 0.1}
    if draw(st.integers(0, 5)) == 0:
        outside = draw(st.sampled_from(["wait", "turn_away"]))
        table["opening"] = SOURCE | {"hours": {"sunday": ["00:00-00:01"]}, "outside": outside}
    return table


polls = st.fixed_dictionaries(
    {
        "first_ms": times,
        "waits_ms": st.lists(times, min_size=1, max_size=2),
        "asks_max": st.integers(1, 3),
    }
).map(lambda found: SOURCE | found)
apps = st.fixed_dictionaries(
    {
        "phonepe": st.fixed_dictionaries(
            {"cadence_ms": st.sampled_from([0, 50, 150])}, optional={"polls": polls}
        ),
        "google_pay": st.fixed_dictionaries({"cadence_ms": st.sampled_from([50, 100])}),
    }
)
faults = st.one_of(
    windows.map(lambda window: {"kind": "outage", "visits": "reject"} | window),
    windows.map(lambda window: {"kind": "outage", "visits": "hold"} | window),
    windows.map(lambda window: {"kind": "outage", "bank": "SBI", "code": "XY"} | window),
    windows.map(lambda window: {"kind": "slowdown", "factor": 2.5} | window),
    st.just({"kind": "slowdown", "factor": 1.5}),
)
OUTCOMES = ("error", "timed_out", "rejected", "reneged", "unfinished", "declined")


@st.composite
def steps(draw: st.DrawFn, index: int, count: int, names: list[str]) -> dict[str, Any]:
    """One step: legs, retries, and perhaps a branch of its own."""
    legs = []
    for _ in range(draw(st.integers(1, 3))):
        leg: dict[str, Any] = {
            "station": draw(st.sampled_from(names)),
            "priority": draw(st.sampled_from([0, 0, 1, 3])),
            # Whatever may never answer needs a limit.
            "timeout_ms": draw(st.integers(1, 10)) * GRID_MS,
            "on_timeout": draw(st.sampled_from(["failed", "reversed", "deemed"])),
        }
        if draw(st.booleans()):
            leg["emits"] = "done"
        if index and draw(st.integers(0, 3)) == 0:
            leg["asks"] = f"q{draw(st.integers(0, index - 1))}.ok"
        legs.append(leg)
    step: dict[str, Any] = SOURCE | {
        "legs": legs,
        "attempts_max": draw(st.integers(1, 4)),
        "retry_on": draw(st.lists(st.sampled_from(OUTCOMES), max_size=4, unique=True)),
        "backoff_ms": draw(st.lists(times, max_size=3)),
        "backoff_jitter": draw(st.sampled_from([0.0, 0.5])),
        "delay_ms": draw(st.sampled_from([0, 0, 50, 100])),
        "marks": draw(st.sampled_from(["", "aim", "pay", "pending", "message"])),
    }
    if draw(st.integers(0, 3)) == 0:
        step["cadence_ms"] = 100
    if draw(st.integers(0, 3)) == 0:
        step["give_up_after_ms"] = draw(times)
    if index + 1 < count:
        step["on_failure"] = {
            outcome: f"q{draw(st.integers(index + 1, count - 1))}"
            for outcome in draw(st.lists(st.sampled_from(OUTCOMES), max_size=2, unique=True))
        }
    if index and draw(st.integers(0, 2)) == 0:
        earlier = draw(st.integers(0, index - 1))
        step["after"] = {"step": f"q{earlier}", "event": "ok"}
        step["then"] = "end"
    return step


@st.composite
def worlds(draw: st.DrawFn) -> tuple[dict[str, Any], list[int]]:
    """What to lay over the smoke test, and when journeys begin, in milliseconds."""
    names = [f"t{number}" for number in range(draw(st.integers(1, 3)))]
    if draw(st.booleans()):
        names[0] = "biller"
    if len(names) > 1 and draw(st.booleans()):
        names[1] = "sms_gateway"
    count = draw(st.integers(1, 4))
    tables = {f"q{index}": draw(steps(index, count, names)) for index in range(count)}
    befall = [SOURCE | {"station": draw(st.sampled_from(names))} | draw(faults) for _ in range(2)]
    starts = draw(st.lists(st.integers(0, 80), min_size=1, max_size=60))
    world = {
        "consumers": 100,
        "apps": draw(apps),
        "steps": tables,
        "stations": {name: draw(stations()) for name in names},
        "journeys": {"qr_ebill": SOURCE | {"steps": list(tables)}},
        "channels": {"qr_ebill": {"share": 1.0}, "qr_counter": {"share": 0.0}},
        "fault": befall[: draw(st.integers(0, 2))],
        "simulate": {"resolution_us": draw(st.sampled_from([1, 1000, 50_000]))},
    }
    return world, [start * GRID_MS for start in sorted(starts)]


def difference(made: Plan) -> str:
    """What the engines say differently of one plan; empty if nothing."""
    compiled, reference = engines.walk(made, "numba"), engines.walk(made, "simpy")
    left, right = frame(compiled.outcomes), frame(reference.outcomes)
    if left.columns != right.columns or len(left) != len(right):
        return f"{left.shape} rows against {right.shape}"
    if not left.equals(right):
        columns = [name for name in left.columns if not left[name].equals(right[name])]
        return f"rows differ in {columns}"
    if compiled.events != reference.events:
        return f"{compiled.events} events against {reference.events}"
    return summary_difference(engines.walk(made, "numba", rows=False).summarised(made),
                              reference.summarised(made))  # fmt: skip


def summary_difference(left: Summary, right: Summary) -> str:
    """The first place in which two summaries differ; empty if there is none."""
    if left.ends.tolist() != right.ends.tolist():
        return "other journeys ended otherwise"
    if left.fates != right.fates:
        return f"fates {left.fates} against {right.fates}"
    for measure, said in left.says.items():
        # The samples of one journey come in no particular order.
        mine, theirs = (
            np.array([one.rows, one.seconds])[:, np.lexsort((one.seconds, one.rows))]
            for one in (said, right.says[measure])
        )
        if not np.array_equal(mine, theirs, equal_nan=True):
            return f"samples of {measure}"
    for name, use in left.stations.items():
        for field in use.__struct_fields__:
            mine, theirs = getattr(use, field), getattr(right.stations[name], field)
            if not np.array_equal(mine, theirs):
                return f"station {name}: {field} {mine} against {theirs}"
    return ""


def agree(world: dict[str, Any], starts_ms: list[int], starting: Starting) -> None:
    """Load the scenario and compare the engines on it."""
    scenario = scenario_file.load("smoke", world)
    made = starting(scenario, [float(start) for start in starts_ms], apps=APPS)
    assert difference(made) == ""


@pytest.fixture(scope="module", autouse=True)
def _compiled() -> None:
    """Compile before the first test, which is not to be charged with it."""
    engines.walk(plan(scenario_file.load("smoke", {"consumers": 200})), "numba")


# A failing scenario is small as it is drawn, and making it smaller would take minutes.
PHASES = [Phase.explicit, Phase.reuse, Phase.generate]
UNHURRIED = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]


@settings(max_examples=40, deadline=None, phases=PHASES, suppress_health_check=UNHURRIED)
@given(drawn=worlds())
def test_random_scenarios_have_equal_rows(
    starting: Starting, drawn: tuple[dict[str, Any], list[int]]
) -> None:
    """Every column of every row, the number of events and the summary are the reference's."""
    agree(*drawn, starting)


@pytest.mark.slow
@pytest.mark.timeout(600)
@settings(deadline=None, phases=PHASES, suppress_health_check=UNHURRIED)
@given(drawn=worlds())
def test_many_random_scenarios_have_equal_rows(
    starting: Starting, drawn: tuple[dict[str, Any], list[int]]
) -> None:
    """The same over as many more scenarios as Hypothesis tries: a hundred, or all that explores."""
    agree(*drawn, starting)


@pytest.mark.parametrize("resolution_us", [1, 1000])
def test_the_city_has_equal_rows(resolution_us: int) -> None:
    """A thousand journeys of the month, as they are and with all times in whole milliseconds."""
    scenario = scenario_file.load("mumbai", {"simulate": {"resolution_us": resolution_us}})
    whole = plan(scenario)
    made = Plan(scenario, whole.seed, whole.table.slice(500_000, 1000))
    assert difference(made) == ""


BUSY: dict[str, Any] = {
    "consumers": 100,
    "steps": {
        "q0": SOURCE
        | {
            "legs": [
                {"station": "t0", "timeout_ms": 400, "priority": 1},
                {"station": "t1", "timeout_ms": 300, "on_timeout": "deemed", "emits": "done"},
            ],
            "attempts_max": 3,
            "retry_on": ["error", "rejected", "reneged"],
            "backoff_ms": [100],
        },
        "q1": SOURCE
        | {"legs": [{"station": "t0"}], "after": {"step": "q0", "event": "done"}, "then": "end"},
    },
    "stations": {
        "t0": SOURCE
        | {
            "role": "mocked", "servers": 2, "queue_limit": 4, "service_time": law(150),
            "patience": law(300), "failures": [SOURCE | {
                "outcome": "error", "code": "XY", "share": 0.2}],
            "rate_limit": SOURCE | {"per_s": 20.0, "burst": 4, "excess": "reject"},
        },
        "t1": SOURCE
        | {"role": "mocked", "servers": 1, "service_time": law(100), "patience": law(500)},
    },
    "journeys": {"qr_ebill": SOURCE | {"steps": ["q0", "q1"]}},
    "channels": {"qr_ebill": {"share": 1.0}, "qr_counter": {"share": 0.0}},
    "fault": [
        SOURCE | {"kind": "outage", "station": "t1", "from": moment(2), "until": moment(3)},
    ],
}  # fmt: skip


@pytest.fixture
def busy(starting: Starting) -> Plan:
    """Two hundred journeys in ten seconds, with every way to wait and to fail."""
    starts_ms = np.sort(np.random.default_rng(3).integers(0, 200, 200)) * float(GRID_MS)
    return starting(scenario_file.load("smoke", BUSY), list(starts_ms))


def in_table(name: str, field: int, value: int) -> Callable[[pytest.MonkeyPatch], None]:
    """Plant a mistake in the compiled engine: one field of one of its tables is wrong."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        build = flat.Flat.__init__

        def built(self: flat.Flat, *args: Any) -> None:  # noqa: ANN401
            build(self, *args)
            self.tables[name][:, field] = value

        patch.setattr(flat.Flat, "__init__", built)

    return plant


def in_reference(name: str, wrong: Any) -> Callable[[pytest.MonkeyPatch], None]:  # noqa: ANN401
    """Plant a mistake in the reference engine."""
    return lambda patch: patch.setattr(reference_station, name, wrong)


PLANTED = {
    "compiled: nobody is impatient": in_table("draws", layout.DRAW_PATIENCE, layout.NONE),
    "compiled: no limit of the queue": in_table("stations", layout.ST_QUEUE_LIMIT, layout.NONE),
    "compiled: priorities are not looked at": in_table("legs", layout.LEG_PRIORITY, 0),
    "compiled: a bucket holds one token": in_table("stations", layout.ST_SLACK_NS, 0),
    "compiled: outages only hold": in_table("phases", layout.PHASE_DOOR, HOLDING),
    "compiled: nobody has a time limit": in_table("legs", layout.LEG_LIMIT_US, layout.NONE),
    "reference: ties blind to the journey": in_reference(
        "rank", lambda kind, journey, *rest: ready.rank(kind, -journey & 0xFFFF, *rest)
    ),
    "reference: outages only hold": in_reference("REFUSING", HOLDING + 9),
}


def test_nothing_planted_nothing_found(busy: Plan) -> None:
    """The engines agree on the world in which mistakes are planted."""
    assert difference(busy) == ""


@pytest.mark.parametrize("planted", PLANTED, ids=PLANTED)
def test_a_planted_difference_is_caught(
    planted: str, busy: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistake in either engine shows as a difference between the two."""
    PLANTED[planted](monkeypatch)
    assert difference(busy) != ""

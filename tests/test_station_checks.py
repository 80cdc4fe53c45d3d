"""A bad value of a station, a fault or a channel is refused with its place, what is, what to do."""

from __future__ import annotations

from typing import Any

import pytest

from fewseconds import scenario_file
from fewseconds.errors import ScenarioError

NOON = "2026-11-01T12:00:00+05:30"
LATER = "2026-11-01T13:00:00+05:30"


def biller(**keys: Any) -> dict[str, Any]:  # noqa: ANN401 - any key of a station
    """The smoke test with some keys of its biller."""
    return {"stations": {"biller": keys}}


def fault(**keys: Any) -> dict[str, Any]:  # noqa: ANN401 - any key of a fault
    """The smoke test with one fault at the biller."""
    return {"fault": [{"station": "biller", "kind": "outage", **keys}]}


def limit(**keys: Any) -> dict[str, Any]:  # noqa: ANN401 - any key of a limit
    """The smoke test with a rate limit at its biller."""
    return biller(rate_limit={"per_s": 5.0, "source": "made up", **keys})


def hours(**days: list[str]) -> dict[str, Any]:
    """The smoke test with a biller that has opening hours."""
    return biller(opening={"hours": days, "source": "made up"})


CASES: list[tuple[dict[str, Any], str]] = [
    (biller(servers=-1), "stations.biller.servers: -1 is negative; write 0 or more"),
    (biller(queue_limit=-2), "stations.biller.queue_limit: -2 is negative; write 0 or more"),
    (
        biller(servers_later=[{"from": NOON, "servers": 0, "source": "made up"}]),
        "stations.biller.servers_later[0].servers: 0 leaves nobody to serve; ",
    ),
    (
        biller(servers_later=[{"from": t, "servers": 2, "source": "x"} for t in (LATER, NOON)]),
        "stations.biller.servers_later: changes must come in order of time; sort them",
    ),
    (
        biller(servers_later=[{"from": "2027-01-01T12:00:00+05:30", "servers": 2, "source": "x"}]),
        "stations.biller.servers_later[0].from: 2027-01-01 12:00:00+05:30 is outside the 1 days",
    ),
    (hours(mnday=["09:00-10:00"]), "stations.biller.opening.hours: unknown weekday 'mnday'; did"),
    (hours(monday=["10:00-09:00"]), "stations.biller.opening.hours.monday: '10:00-09:00' is not"),
    (
        hours(monday=["09:00-12:00", "11:00-13:00"]),
        "stations.biller.opening.hours.monday: '11:00-13:00' begins before the one before it ends",
    ),
    (hours(), "stations.biller.opening.hours: never open; write at least one weekday"),
    (limit(per_s=0.0), "stations.biller.rate_limit.per_s: 0.0 is out of range; write "),
    (limit(burst=0), "stations.biller.rate_limit.burst: 0 is out of range; write 1 to "),
    (limit(excess="drop"), "stations.biller.rate_limit.excess: 'drop': invalid enum value"),
    (fault(), "fault[0]: an outage has a beginning and an end; write from and until"),
    (
        fault(**{"from": LATER, "until": NOON}),
        "fault[0].until: does not come after 'from'; write a later moment",
    ),
    (
        fault(**{"from": NOON, "until": LATER, "factor": 2.0}),
        "fault[0].factor: belongs to a slowdown; remove it",
    ),
    (
        fault(**{"from": "2026-11-01T12:00:00", "until": LATER}),
        "fault[0].from: 2026-11-01 12:00:00 has no offset; write 2026-11-01T12:00:00+05:30",
    ),
    (
        fault(station="biler", kind="slowdown", factor=2.0),
        "fault[0]: unknown station 'biler'; did you mean 'biller'?",
    ),
    (
        {"steps": {"resolve": {"legs": [{"station": "biller", "timeout_ms": 9, "priority": 4}]}}},
        "journey 'qr_ebill' step 'resolve': priority 4 is out of range; write 0 to 3",
    ),
    (
        {"steps": {"resolve": {"legs": [{"station": "biller", "timeout_ms": 0}]}}},
        "journey 'qr_ebill' step 'resolve': timeout_ms 0 is not above 0; write a positive number",
    ),
    (
        {"adoption": {"share": 0.7, "path": [0.7, 1.2]}},
        "adoption.path[1]: 1.2 is not between 0 and 1",
    ),
    ({"season": {"counts": [1.0] * 11}}, "season.counts: 11 weights; write 12"),
    ({"season": {"amounts": [-1.0] + [1.0] * 11}}, "season.amounts: [-1.0, 1.0, "),
    (
        {"channels": {"qr_counter": {"hours": [1.0] * 23}}},
        "channels.qr_counter.hours: 23 weights; write 24",
    ),
    (
        {"channels": {"qr_counter": {"weekdays": [0.0] * 7}}},
        "channels.qr_counter.weekdays: [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0] has a negative rate",
    ),
]


@pytest.mark.parametrize(("overrides", "said"), CASES)
def test_a_bad_value_is_told_with_its_place_and_a_way_out(
    overrides: dict[str, Any], said: str
) -> None:
    """The complaint begins with the key, says what is there, and says what should be."""
    with pytest.raises(ScenarioError) as caught:
        scenario_file.load("smoke", overrides)
    assert any(line.startswith(f"smoke.toml: {said}") for line in caught.value.problems), (
        caught.value.problems
    )

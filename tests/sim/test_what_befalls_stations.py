"""Hours, outages, rates, priorities and capacity in worlds small enough to work out by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from sim import reference

if TYPE_CHECKING:
    from collections.abc import Callable

    from fewseconds.plan import Plan
    from fewseconds.scenario import Scenario

    Tiny = Callable[..., Scenario]
    Starting = Callable[..., Plan]

SOURCE = {"source": "made up"}
BUY = {"buy": {"legs": [{"station": "till"}]}}
Seen = list[tuple[float, float, str, str]]
"""Beginning of service and end in seconds, outcome and code; a journey each."""


def at(second: int) -> str:
    """A moment of the first day."""
    return f"2026-11-01T00:{second // 60:02d}:{second % 60:02d}+05:30"


def window(kind: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401
    """A fault of the till from second 10 to second 20."""
    return SOURCE | {"kind": kind, "station": "till", "from": at(10), "until": at(20)} | more


HAND_MADE: dict[str, tuple[dict[str, Any], list[dict[str, Any]], list[int], Seen]] = {
    "an outage rejects who comes and who waits": (
        {"servers": 1}, [window("outage")], [8, 9, 10, 20],
        [(8, 12, "ok", ""), (10, 10, "rejected", "down"), (10, 10, "rejected", "down"),
         (20, 24, "ok", "")],
    ),
    "an outage holds the work and nothing is lost": (
        {"servers": 1}, [window("outage", visits="hold")], [8, 9, 15],
        [(8, 12, "ok", ""), (20, 24, "ok", ""), (24, 28, "ok", "")],
    ),
    "an outage holds visits of a station where nobody waits for a server": (
        {"servers": 0}, [window("outage", visits="hold")], [9, 15, 16],
        [(9, 13, "ok", ""), (20, 24, "ok", ""), (20, 24, "ok", "")],
    ),
    "a slow-down counts for service that begins in it": (
        {"servers": 0}, [window("slowdown", factor=2.5)], [9, 10, 19, 20],
        [(9, 13, "ok", ""), (10, 20, "ok", ""), (19, 29, "ok", ""), (20, 24, "ok", "")],
    ),
    "more servers take at once who waits, fewer finish what they do": (
        {"servers": 1, "servers_later": [
            SOURCE | {"from": at(2), "servers": 2}, SOURCE | {"from": at(5), "servers": 1}]},
        [], [0, 1, 1, 1],
        [(0, 4, "ok", ""), (2, 6, "ok", ""), (4, 8, "ok", ""), (8, 12, "ok", "")],
    ),
    "a bucket of two tokens turns the third away": (
        {"rate_limit": SOURCE | {"per_s": 0.5, "burst": 2}}, [], [0, 0, 1, 2],
        [(0, 4, "ok", ""), (0, 4, "ok", ""), (1, 1, "rejected", "429"), (2, 6, "ok", "")],
    ),
    "a bucket of one token paces those who wait for it": (
        {"rate_limit": SOURCE | {"per_s": 0.5, "excess": "wait"}}, [], [0, 0, 1, 9],
        [(0, 4, "ok", ""), (2, 6, "ok", ""), (4, 8, "ok", ""), (9, 13, "ok", "")],
    ),
    "who waits at closing time is turned away": (
        {"servers": 1, "opening": SOURCE | {
            "hours": {"sunday": ["00:00-00:01"]}, "outside": "turn_away"}},
        [], [58, 59, 60], [(58, 62, "ok", ""), (60, 60, "rejected", "closed"),
                           (60, 60, "rejected", "closed")],
    ),
    "who waits at closing time is served when it opens again": (
        {"servers": 1, "opening": SOURCE | {
            "hours": {"sunday": ["00:00-00:01", "00:02-00:03"]}}},
        [], [58, 59, 90], [(58, 62, "ok", ""), (120, 124, "ok", ""), (124, 128, "ok", "")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", HAND_MADE, ids=HAND_MADE)
def test_hand_made(case: str, tiny: Tiny, starting: Starting) -> None:
    """Every visit begins and ends as worked out by hand; the service takes four seconds."""
    till, faults, starts_s, expected = HAND_MADE[case]
    scenario = tiny(BUY, {"till": {"service_time": 4000, **till}}, fault=faults)
    made = starting(scenario, [1000.0 * second for second in starts_s])
    rows = reference.simulate(made).outcomes.to_pylist()
    seen = {
        row["journey_id"]: (
            row["service_start_us"] / 1e6, row["end_us"] / 1e6, row["outcome"], row["code"]
        )
        for row in rows
        if row["station"] == "till"
    }  # fmt: skip
    assert [seen[number] for number in range(len(starts_s))] == expected


def test_a_higher_priority_is_served_first(tiny: Tiny, starting: Starting) -> None:
    """Of two who wait, the one whose leg has priority 3 is served first, though it came later."""
    steps = {
        "buy": {"legs": [{"station": "till"}]},
        "ask": {"legs": [{"station": "till", "priority": 3}]},
    }
    till = {"servers": 1, "service_time": 4000}
    made = starting(tiny(steps, {"till": till}), [0, 1000, 2000, 3000])
    begun = {
        (row["journey_id"], row["step"]): row["service_start_us"] / 1e6
        for row in reference.simulate(made).outcomes.to_pylist()
        if row["station"]
    }
    # At second 4 the till takes journey 1 before journey 0 asks; at second 8 journey 0 asks first,
    # at second 12 journey 1, and so on; journeys 2 and 3 came before they asked.
    assert begun == {
        (0, "buy"): 0, (1, "buy"): 4, (0, "ask"): 8, (1, "ask"): 12,
        (2, "buy"): 16, (3, "buy"): 20, (2, "ask"): 24, (3, "ask"): 28,
    }  # fmt: skip

"""How a run stands while journeys are under way: what they wait for counts once it is too long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gevent
import numpy as np
import pytest

from fewseconds import scenario_file
from loadtests import notes, open_model
from loadtests.dispatcher import Dispatcher
from loadtests.histogram import Histogram
from loadtests.notes import Notes
from loadtests.standing import Standing, objectives, together

if TYPE_CHECKING:
    from collections.abc import Callable

S = 1_000_000
SMOKE = scenario_file.load("smoke")


def seconds(*values: float) -> Any:  # noqa: ANN401 - a packed histogram
    """So long, in seconds."""
    histogram = Histogram()
    histogram.add(np.array([round(one * S) for one in values], np.int64))
    return histogram.packed()


def words(standing: Standing) -> dict[tuple[str, str], str]:
    """What the gates say so far."""
    return {
        (one.measure, one.statistic): one.word for one in objectives(SMOKE, standing) if one.gate
    }


@pytest.mark.parametrize(
    ("waiting", "median", "p95"),
    [
        ([], "pass", "pass"),
        # Within the limits they say nothing yet, however many they are.
        ([4.5] * 400, "pass", "pass"),
        # Above 5 s they count for the median, above 10 s for the 95th percentile as well.
        ([6.0] * 99, "pass", "pass"),
        ([6.0] * 101, "fail", "pass"),
        ([11.0] * 5, "pass", "pass"),
        ([11.0] * 6, "pass", "fail"),
    ],
)
def test_who_has_waited_too_long_already_has_broken_the_limit(
    waiting: list[float], median: str, p95: str
) -> None:
    """Beside a hundred journeys that took 2 s, counted by hand."""
    parts = [
        Standing(
            measures={"machine_time": seconds(*[2.0] * 50)},
            waiting={"machine_time": seconds(*waiting[side::2])},
        )
        for side in (0, 1)
    ]
    found = words(together(parts))
    assert (found["machine_time", "p50"], found["machine_time", "p95"]) == (median, p95)


def test_steps_tell_of_the_measures_that_last_longer() -> None:
    """People's own steps are no wait; the SMS is waited for by itself."""
    told = notes.waited_for(SMOKE)
    assert told["qr_ebill", "resolve"] == told["qr_ebill", "pay"] == ("machine_time", "end_to_end")
    assert told["qr_ebill", "sms"] == ("sms_time",)
    assert told["portal", "log_in"] == ("portal_time",)
    assert ("qr_ebill", "review") not in told
    assert ("portal", "fill_log_in") not in told


def test_a_portal_that_answers_nobody_breaks_its_gate_before_anybody_has_ended(
    serve: Callable[..., Any], stage: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No journey has ended, and yet the median of 0.2 s is broken."""
    monkeypatch.setattr(notes, "TURN_S", 0.05)
    monkeypatch.setattr(open_model, "GRACE_S", 0.1)
    person = {"law": "constant", "value_ms": 20, "source": "quick for a test"}
    gate = {
        "name": "portal", "measure": "portal_time", "statistic": "p50", "limit": 0.2,
        "source": "quick for a test", "gate": True,
    }  # fmt: skip
    quick = {
        "journeys": {"portal": {"steps": ["fill_log_in", "log_in"]}},
        "stations": {"person_logs_in": {"service_time": person}},
        "load": {"drain_s": 0, "in_flight_max": 50},
        "slo": [gate],
    }
    played = stage(serve().url, 20, quick)
    dispatcher, mine = Dispatcher(played.world, played.window_us), Notes(played.world.scenario, 7)
    mine.counts, mine.waits = dispatcher.counts, dispatcher.waits
    played.world.onlookers = (mine,)
    mine.keep_up()
    seen: list[tuple[int, str]] = []

    def look() -> None:
        while True:
            gevent.sleep(0.05)
            so_far = mine.standing()
            (one,) = objectives(played.world.scenario, so_far)
            seen.append((sum(sum(fates.values()) for fates in so_far.fates.values()), one.word))

    looking = gevent.spawn(look)
    dispatcher.run()
    looking.kill()
    mine.close()
    assert (0, "inconclusive") in seen
    assert (0, "fail") in seen
    assert not dispatcher.waits()
    assert not mine.standing().waiting

"""The open model: what starts, what is dropped, what is cut off, and how it is written down."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from fewseconds import contracts as c
from fewseconds import measures
from fewseconds.errors import HarnessError
from fewseconds.journey import STEP_ROW
from fewseconds.promise import GAUGE_INTERVAL_S
from loadtests import open_model
from loadtests.dispatcher import Dispatcher

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from fewseconds.outcomes import Outcome
    from fewseconds.plan import Row

HUMAN_MS = 200
LOG_IN_ONLY: dict[str, Any] = {
    "journeys": {"portal": {"steps": ["fill_log_in", "log_in"]}},
    "stations": {
        "person_logs_in": {
            "service_time": {"law": "constant", "value_ms": HUMAN_MS, "source": "quick for a test"}
        }
    },
    "load": {"drain_s": 0, "in_flight_max": 100},
}
"""The shortest journey: a person hesitates, then one request goes to the portal."""


@pytest.fixture(autouse=True)
def _little_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers that never answer need no second of grace after the cut-off."""
    monkeypatch.setattr(open_model, "GRACE_S", 0.1)


def log_in(overrides: dict[str, Any] | None = None, load: dict[str, int] | None = None) -> Any:  # noqa: ANN401
    """The shortest journey, with another retry rule or load."""
    steps = {"log_in": overrides} if overrides else {}
    return LOG_IN_ONLY | {"steps": steps, "load": LOG_IN_ONLY["load"] | (load or {})}


def portal(json_reply: Callable[..., bytes], sms: bool = True) -> Callable[..., bool]:  # noqa: FBT001, FBT002
    """A portal that lets everybody in, and a handset on which the SMS has (not) arrived."""
    message = {"message_id": "m", "reference": "r", "sender": "BESTMU-S", "text": "Paid"}

    def answer(request: Any, connection: socket.socket) -> bool:  # noqa: ANN401 - conftest's Request
        if request.path == c.PORTAL_LOG_IN:
            connection.sendall(json_reply(201, {"token": "t"}))
        else:
            connection.sendall(json_reply(200, {"messages": [message] if sms else []}))
        return True

    return answer


def terminal_rows(rows: pl.DataFrame) -> pl.DataFrame:
    """How often each journey has come to an end on its main branch."""
    main = rows.filter((pl.col("leg") == STEP_ROW) & (pl.col("branch") == "main"))
    ended = (pl.col("step") == "log_in") | (pl.col("outcome") != "ok")
    return main.filter(ended).group_by("journey_id").len().sort("journey_id")


def test_nobody_waits_for_a_system_that_does_not_answer(
    serve: Callable[..., Any], stage: Callable[..., Any]
) -> None:
    """All journeys ask although none is ever answered, and end as unfinished at the cut-off."""
    count = 30
    server = serve()
    played = stage(server.url, count, log_in())
    dispatcher = Dispatcher(played.world, played.window_us)
    dispatcher.run()
    assert len(server.requests) == count
    assert (dispatcher.intended, dispatcher.started, dispatcher.dropped) == (count, count, 0)
    assert dispatcher.in_flight_max == count
    rows = played.rows()
    first = rows.filter(pl.col("step") == "fill_log_in")
    assert first["intended_us"].sort().to_list() == [number * 10_000 for number in range(count)]
    assert (first["start_us"] >= first["intended_us"]).all()
    walked = measures.journeys(rows, played.world.plan)
    assert walked["fate"].to_list() == ["unfinished"] * count
    assert walked["last_code"].to_list() == ["cut_off"] * count
    assert terminal_rows(rows)["len"].to_list() == [1] * count
    cut = rows.filter(pl.col("outcome") == "unfinished")
    assert cut["step"].to_list() == ["log_in"] * count
    assert (cut["end_us"] >= dispatcher.cut_off_us).all()


def test_what_is_too_much_is_dropped_and_counted(
    serve: Callable[..., Any], stage: Callable[..., Any]
) -> None:
    """With three in flight and none answered, the other seven are dropped, each with a row."""
    server = serve()
    played = stage(server.url, 10, log_in(load={"in_flight_max": 3}))
    dispatcher = Dispatcher(played.world, played.window_us)
    dispatcher.run()
    assert (dispatcher.intended, dispatcher.started, dispatcher.dropped) == (10, 3, 7)
    assert dispatcher.in_flight_max == 3
    assert len(server.requests) == 3
    rows = played.rows()
    walked = measures.journeys(rows, played.world.plan)
    assert walked["fate"].to_list() == ["unfinished"] * 3 + ["dropped"] * 7
    dropped = rows.filter(pl.col("outcome") == "dropped")
    assert dropped["code"].to_list() == ["in_flight_max"] * 7
    assert dropped["step"].to_list() == ["fill_log_in"] * 7
    assert terminal_rows(rows)["len"].to_list() == [1] * 10


def test_a_run_that_is_stopped_starts_nothing_more(
    serve: Callable[..., Any], stage: Callable[..., Any], json_reply: Callable[..., bytes]
) -> None:
    """After the first answer nobody else sets out, and who is under way comes to the end."""
    count, gap_us = 40, 50_000
    server = serve(portal(json_reply))
    played = stage(server.url, count, log_in(), gap_us=gap_us)
    dispatcher = Dispatcher(played.world, played.window_us)

    class Stops:
        """Stops the run at the first answer of a service."""

        def noted(self, _: Row, outcome: Outcome) -> None:
            """Look for the step that asks."""
            if outcome.step == "log_in":
                dispatcher.stop()

        def ended(self, _: Row) -> None:
            """Nothing to do."""

    played.world.onlookers += (Stops(),)
    dispatcher.run()
    begun = dispatcher.started
    assert 0 < begun < count
    assert dispatcher.intended == begun
    rows = played.rows()
    assert rows["journey_id"].n_unique() == begun
    walked = measures.journeys(rows, played.world.plan).head(begun)
    assert walked["fate"].to_list() == ["confirmed"] * begun


def test_a_run_that_is_aborted_lets_go_of_who_is_never_answered(
    serve: Callable[..., Any], stage: Callable[..., Any]
) -> None:
    """An hour before the end of its window nobody is waited for any more; all are unfinished."""
    count = 40
    played = stage(serve().url, count, log_in(), gap_us=50_000)
    dispatcher = Dispatcher(played.world, (0, 3_600_000_000))

    class Aborts:
        """Gives up once somebody has something to ask."""

        def noted(self, _: Row, outcome: Outcome) -> None:
            """Look for the step before."""
            if outcome.step == "fill_log_in":
                dispatcher.abort()

        def ended(self, _: Row) -> None:
            """Nothing to do."""

    played.world.onlookers += (Aborts(),)
    dispatcher.run()
    assert 0 < dispatcher.started < count
    walked = measures.journeys(played.rows(), played.world.plan).head(dispatcher.started)
    assert set(walked["fate"]) == {"unfinished"}


def test_places_that_become_free_are_used_again(
    serve: Callable[..., Any], stage: Callable[..., Any], json_reply: Callable[..., bytes]
) -> None:
    """With one place and journeys far enough apart, nobody is dropped."""
    gap_us = 5 * HUMAN_MS * 1000
    server = serve(portal(json_reply))
    played = stage(server.url, 2, log_in(load={"in_flight_max": 1}), gap_us=gap_us)
    dispatcher = Dispatcher(played.world, played.window_us)
    dispatcher.run()
    assert (dispatcher.started, dispatcher.dropped) == (2, 0)
    assert len(dispatcher.idle) == 1


def test_the_gauge_agrees_with_the_sojourns(
    serve: Callable[..., Any], stage: Callable[..., Any], json_reply: Callable[..., bytes]
) -> None:
    """The integral of the journeys in flight is the sum of their sojourns, as Little's law says."""
    count = 40
    server = serve(portal(json_reply))
    played = stage(server.url, count, log_in())
    dispatcher = Dispatcher(played.world, played.window_us)
    dispatcher.run()
    rows = played.rows()
    walked = measures.journeys(rows, played.world.plan)
    assert walked["fate"].to_list() == ["confirmed"] * count
    assert walked["sms_outcome"].to_list() == ["ok"] * count
    by_journey: dict[int, list[dict[str, int]]] = {}
    for row in rows.to_dicts():
        by_journey.setdefault(row["journey_id"], []).append(row)
    sojourns_s = [
        (max(row["end_us"] for row in mine) - min(row["start_us"] for row in mine)) / 1e6
        for mine in by_journey.values()
    ]
    assert min(sojourns_s) >= HUMAN_MS / 1000
    # Six standard errors of a sum of sojourns that are measured on a grid.
    allowed_s = 6 * GAUGE_INTERVAL_S * math.sqrt(count / 6)
    assert abs(dispatcher.in_flight_integral_s - sum(sojourns_s)) < allowed_s


def test_a_wait_between_attempts_ends_at_the_cut_off(
    serve: Callable[..., Any], stage: Callable[..., Any], json_reply: Callable[..., bytes]
) -> None:
    """Who would try again after the cut-off has one row a try, and an unfinished one after it."""
    rules = {"attempts_max": 2, "backoff_ms": [60_000], "retry_on": ["rejected"]}
    server = serve(json_reply(503, b""))
    played = stage(server.url, 4, log_in(rules))
    dispatcher = Dispatcher(played.world, played.window_us)
    dispatcher.run()
    assert len(server.requests) == 4
    rows = played.rows().filter(pl.col("step") == "log_in")
    tries = rows.sort("journey_id", "attempt").select("journey_id", "attempt", "outcome").rows()
    assert tries == [
        (100 + number, attempt, outcome)
        for number in range(4)
        for attempt, outcome in ((1, "rejected"), (2, "unfinished"))
    ]
    cut = rows.filter(pl.col("outcome") == "unfinished")
    assert cut["end_us"].to_list() == [dispatcher.cut_off_us] * 4


def test_who_waits_for_an_sms_at_the_cut_off_has_paid(
    serve: Callable[..., Any], stage: Callable[..., Any], json_reply: Callable[..., bytes]
) -> None:
    """The journey is confirmed and its SMS unfinished when the cut-off comes in between."""

    def no_sms(request: Any, connection: socket.socket) -> bool:  # noqa: ANN401 - conftest's Request
        if request.path == c.PORTAL_LOG_IN:
            connection.sendall(json_reply(201, {"token": "t"}))
            return True
        return bool(server.hang(request, connection))

    server = serve(no_sms)
    played = stage(server.url, 5, log_in())
    Dispatcher(played.world, played.window_us).run()
    walked = measures.journeys(played.rows(), played.world.plan)
    assert walked["fate"].to_list() == ["confirmed"] * 5
    assert walked["sms_outcome"].to_list() == ["unfinished"] * 5


def test_a_failure_of_the_harness_ends_the_run(
    serve: Callable[..., Any], stage: Callable[..., Any]
) -> None:
    """When scans cannot be made any more, the run ends with that error instead of going on."""
    played = stage(serve().url, 5, {"load": {"drain_s": 3600}}, kind="qr_counter")
    with pytest.raises(HarnessError, match="scans: none for journey 10"):
        Dispatcher(played.world, played.window_us).run()
    assert not played.rows().is_empty()

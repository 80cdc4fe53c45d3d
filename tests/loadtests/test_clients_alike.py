"""Locust's own client, by option, sees what ours sees."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from fewseconds import measures, outcomes
from fewseconds.schedule import Stage
from loadtests.probe import ProbeSpec, probe
from loadtests.target import Target, TargetSpec

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.loadtests.conftest import Played

ANSWERS = {"/there": '{"word":"hello"}'}


@pytest.mark.slow
@pytest.mark.parametrize("client", ["lean", "fasthttp"])
@pytest.mark.parametrize(("path", "outcome"), [("there", "ok"), ("nowhere", "status_404")])
def test_either_client_sees_the_status(client: str, path: str, outcome: str) -> None:
    """Every one of forty requests starts on its own and has the outcome that the server gave it."""
    with Target(TargetSpec(answers=ANSWERS)) as target:
        spec = ProbeSpec(url=f"{target.url}{path}", stages=[Stage(20, 2)], client=client)
        found = probe(spec, lambda *_: None)
    assert (found.intended, found.started, found.dropped) == (40, 40, 0)
    assert found.outcomes == {outcome: 40}
    assert found.completed == (40 if outcome == "ok" else 0)


@pytest.mark.slow
def test_journeys_pass_through_locusts_client_too(orders: Callable[..., Played]) -> None:
    """Thirty people log in, each at their time, and nothing is lost on the way."""
    played = orders(1)
    played.generator.spec = msgspec.structs.replace(played.generator.spec, client="fasthttp")
    with played.generator as generator:
        summary = generator.wait(lambda: None)
    assert (summary.intended, summary.started, summary.dropped) == (30, 30, 0)
    rows = measures.frame(outcomes.read(played.generator.folder / "outcomes"))
    walked = measures.journeys(rows, played.plan)
    assert walked["fate"].to_list() == ["confirmed"] * 30

"""Locust's own client, by option, sees what ours sees."""

from __future__ import annotations

import pytest

from fewseconds.schedule import Stage
from loadtests.probe import ProbeSpec, probe
from loadtests.target import Target, TargetSpec

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

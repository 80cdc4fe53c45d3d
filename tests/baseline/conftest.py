"""Runs with a known truth: folders as a load run leaves them, filled with times that were drawn."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, Protocol

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest

from fewseconds import outcomes, scenario_file
from fewseconds.journey import STEP_ROW
from fewseconds.outcomes import Outcome
from fewseconds.plan import Plan, plan

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

MEDIANS_S: Final = {"scan": 0.4, "resolve": 0.3, "pay": 1.2}


def correlated(rng: np.random.Generator, count: int, memory: float) -> NDArray[np.float64]:
    """A stationary series of the normal law with lag-1 correlation ``memory``."""
    noise = rng.normal(0, np.sqrt(1 - memory**2), count)
    found = np.empty(count)
    found[0] = rng.normal()
    for place in range(1, count):
        found[place] = memory * found[place - 1] + noise[place]
    return found


class MakeRun(Protocol):
    """Makes the folder of a run."""

    def __call__(
        self, name: str, seed: int, *, slower: float = 1.0, failing: float = 0.0,
        scenario: str = "smoke", reasons: tuple[str, ...] = (), journeys: int = 1200,
    ) -> Path:  # fmt: skip
        """``slower`` stretches the step pay, ``failing`` is the share of failed payments."""


@pytest.fixture
def made_run(tmp_path: Path) -> MakeRun:
    """Journeys of scan, resolve and pay, one after another, with times that are drawn."""

    def make(
        name: str, seed: int, *, slower: float = 1.0, failing: float = 0.0,
        scenario: str = "smoke", reasons: tuple[str, ...] = (), journeys: int = 1200,
    ) -> Path:  # fmt: skip
        world = scenario_file.load(scenario, {"plan_hash": ""})
        whole = plan(world, world.seed).as_kind("qr_ebill")
        window = Plan(world, world.seed, whole.table.slice(0, journeys))
        rng = np.random.default_rng(seed)
        rows = []
        common = 0.2 * correlated(rng, journeys, 0.7)
        for number, row in enumerate(window.rows()):
            at_us = row.intended_start_us
            for step, median_s in MEDIANS_S.items():
                stretch = slower if step == "pay" else 1.0
                took_s = stretch * median_s * np.exp(common[number] + rng.normal(0, 0.3))
                end_us = at_us + int(took_s * 1e6)
                lost = step == "pay" and rng.random() < failing
                rows.append(
                    Outcome(
                        "client", "load", row.journey_id, "main", step, STEP_ROW, 1, "", at_us,
                        at_us, at_us, end_us, "error" if lost else "ok",
                    )
                )  # fmt: skip
                at_us = end_us
            heard_us = at_us + int(2e6 * np.exp(rng.normal(0, 0.3)))
            rows.append(
                Outcome(
                    "client", "load", row.journey_id, "sms", "sms", STEP_ROW, 1, "", at_us, at_us,
                    at_us, heard_us, "ok",
                )
            )  # fmt: skip
        folder = tmp_path / name
        (folder / "outcomes").mkdir(parents=True)
        outcomes.write(outcomes.table(rows), folder / "outcomes" / "load.parquet")
        (folder / "scenario.json").write_bytes(msgspec.json.encode(world))
        pq.write_table(window.table, folder / "plan.parquet")
        record = {
            "load": "the window at its true rate",
            "validity": {"valid": not reasons, "reasons": list(reasons)},
        }
        (folder / "load_record.json").write_text(json.dumps(record))
        return folder

    return make

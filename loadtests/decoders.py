"""What every scan of a plan asks of a camera, and the processes that photograph and decode."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import msgspec

from fewseconds.payer_app import in_app, memory
from fixtures import media
from fixtures.scanning import Row, Spec
from loadtests import codes

if TYPE_CHECKING:
    from pathlib import Path

    from fewseconds.identity import Bill
    from fewseconds.plan import Plan
    from fewseconds.scenario import Scenario


def frames_max(scenario: Scenario, app: str) -> int:
    """How many frames of a bill ``app`` looks at before its owner gives up."""
    step = scenario.steps.get("scan")
    return in_app(step, scenario.apps[app]).attempts_max if step else 1


def work(plan: Plan, own: tuple[Bill, ...] = ()) -> list[Row]:
    """A scan for every journey that has a code to point at, in the plan's order.

    ``own`` are bills that are not made from the seed.
    """
    scenario, step = plan.scenario, plan.scenario.steps.get("scan")
    lasting, frames = {}, {}
    for name, app in scenario.apps.items():
        lasting[name] = memory(media.PERSISTENCE, step, app) if step else media.PERSISTENCE
        frames[name] = frames_max(scenario, name)
    found = []
    for row in plan.rows():
        if row.medium:
            counter = row.kind == "qr_counter"
            # A camera knows by itself what the bill of a seed says as long as it never changes.
            dated = bool(own) or scenario.billing is not None
            link = codes.code(plan, row, own)[0] if dated else ""
            found.append(
                Row(
                    row.journey_id, row.bill, row.medium, scenario.apps[row.app].scanner, counter,
                    frames[row.app], lasting[row.app], link,
                )
            )  # fmt: skip
    return found


def started(
    plan: Plan, rows: list[Row], strip: Path | None = None, strip_count: int = 0
) -> subprocess.Popen[bytes]:
    """A process that does ``rows`` of the plan in order, a line of JSON each on its stdout.

    Of ``strip_count`` scans it keeps pictures in the folder ``strip``, for the report.
    """
    spec = Spec(
        seed=plan.seed,
        rows=rows,
        month=plan.scenario.first_day,
        season=plan.scenario.season.amounts,
        strip=strip_count,
        strip_dir=None if strip is None else str(strip),
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "fixtures.scanning"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    if process.stdin is not None:
        process.stdin.write(msgspec.json.encode(spec) + b"\n")
        process.stdin.close()
    return process

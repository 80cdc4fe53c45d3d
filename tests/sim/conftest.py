"""Small worlds: a journey of one's own through stations of one's own, at moments of one's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pytest

from fewseconds import scenario_file
from fewseconds.plan import SCHEMA, Plan

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fewseconds.scenario import Scenario

BANKS = ("SBI", "HDFC", "BOB")


def with_source(tables: dict[str, Any]) -> dict[str, Any]:
    """The same tables, each with a source, and laws given as whole milliseconds spelled out."""
    filled = {}
    for name, table in tables.items():
        law = table.get("service_time")
        spelled = {"law": "constant", "value_ms": law} if isinstance(law, int | float) else law
        laws = {"service_time": {"source": "made up", **spelled}} if spelled else {}
        filled[name] = {"source": "made up", **table, **laws}
    return filled


@pytest.fixture(scope="session")
def tiny() -> Callable[..., Scenario]:
    """Build a scenario whose QR journey consists of the given steps and stations only."""

    def build(
        steps: dict[str, Any],
        stations: dict[str, Any],
        consumers: int = 1000,
        **more: Any,  # noqa: ANN401
    ) -> Scenario:
        roles = {name: {"role": "mocked", **table} for name, table in stations.items()}
        made = scenario_file.load(
            "smoke",
            {
                "consumers": consumers,
                "steps": with_source(steps),
                "stations": with_source(roles),
                "journeys": {"qr_ebill": {"source": "made up", "steps": list(steps)}},
                "channels": {"qr_ebill": {"share": 1.0}, "qr_counter": {"share": 0.0}},
                **more,
            },
        )
        # A desk of one's own does not keep the hours of the city's.
        own = {
            name: msgspec.structs.replace(made.stations[name], opening=None)
            for name, table in stations.items()
            if "opening" not in table
        }
        return msgspec.structs.replace(made, stations={**made.stations, **own})

    return build


@pytest.fixture(scope="session")
def starting() -> Callable[..., Plan]:
    """Make a plan of journeys 0, 1, … (or other numbers) that start at the given milliseconds."""

    def make(
        scenario: Scenario,
        starts_ms: Sequence[float],
        numbers: Sequence[int] | None = None,
        apps: Sequence[str] = ("other",),
    ) -> Plan:
        rows = [
            {
                "journey_id": number, "consumer": number, "bill": number, "kind": "qr_ebill",
                "app": apps[number % len(apps)], "bank": BANKS[number % len(BANKS)],
                "medium": "laser_print",
                "intended_start_us": round(start_ms * 1000),
            }
            for number, start_ms in zip(
                numbers or range(len(starts_ms)), starts_ms, strict=True
            )
        ]  # fmt: skip
        return Plan(scenario, 7, pa.Table.from_pylist(rows, schema=SCHEMA))

    return make

"""Keys that vary: what they take, the scenarios they make, and what is refused beforehand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fewseconds import scenario_file
from fewseconds.errors import ScenarioError, UsageError
from sim import variants

if TYPE_CHECKING:
    from fewseconds.scenario import Scenario


@pytest.fixture(scope="module")
def mumbai() -> Scenario:
    """The shipped city."""
    return scenario_file.load("mumbai")


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("stations.biller.servers=2..5", (2, 3, 4, 5)),
        ("stations.biller.servers=2..9:3", (2, 5, 8)),
        ("stations.biller.servers=7,3", (7, 3)),
        ("adoption.share=0.7..0.8:0.05", (0.7, 0.75, 0.8)),
        ("stations.remitter_bank.service_time.median_ms=800,1600", (800, 1600)),
        ("stations.remitter_bank.service_time.scale=.5..2:.5", (0.5, 1, 1.5, 2)),
        ("stations.camera.variants.laser_print/pyzbar.persistence=0.5", (0.5,)),
        ("stations.biller.queue_limit=10,20", (10, 20)),
        ("tripwire=true,false", (True, False)),
    ],
)
def test_ranges_and_lists_are_read_exactly(
    mumbai: Scenario, text: str, values: tuple[object, ...]
) -> None:
    """Steps of a tenth meet their ends, whole numbers stay whole, and names may hold a slash."""
    assert variants.parse(text, mumbai).values == values


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("stations.biler.servers=2..6", "unknown key 'biler' in 'stations'; did you mean 'biller'"),
        ("statons.biller.servers=2", "unknown key 'statons'; did you mean 'stations'?"),
        ("stations.biller.service_time.medain_ms=5", "did you mean 'median_ms'?"),
        ("stations.biller.servers", "no values; write KEY=2..16"),
        ("stations.biller.servers=1.5..3", "no step between broken numbers"),
        ("stations.biller.servers=1.5", "'1.5' is not a whole number"),
        ("stations.biller=3", "is a table or a list, not a value; go on with one of 'role'"),
        ("slo=3", "is a table or a list, not a value; choose a key with one value"),
        ("stations.biller.servers=x", "'x' is not a number"),
        ("stations.biller.servers=9..3", "9 is not below 3; swap them"),
        ("adoption.share=0..1:0.00001", "makes too many values"),
        ("tripwire=yes", "'yes' is not true or false"),
    ],
)  # fmt: skip
def test_keys_and_values_that_cannot_be_are_refused(
    mumbai: Scenario, text: str, complaint: str
) -> None:
    """A misspelt key or a value of the wrong kind is one sentence with a way out."""
    with pytest.raises(UsageError) as caught:
        variants.parse(text, mumbai)
    assert str(caught.value).startswith("--vary ")
    assert complaint in str(caught.value)


def test_a_design_needs_ranges(mumbai: Scenario) -> None:
    """A list of values cannot be drawn from; a range can, and knows whether it is whole."""
    with pytest.raises(UsageError, match="draws from a range"):
        variants.parse("adoption.share=0.7,0.8", mumbai, continuous=True)
    servers = variants.parse("stations.biller.servers=2..16", mumbai, continuous=True)
    assert (servers.low, servers.high, servers.whole) == (2, 16, True)


def test_a_variant_differs_in_its_keys_alone(mumbai: Scenario) -> None:
    """Stretching a law stretches all of its times; nothing else of the scenario moves."""
    found = variants.variant(
        "mumbai", {"stations.remitter_bank.service_time.scale": 2, "stations.biller.servers": 7}
    )
    bank, before = (s.stations["remitter_bank"].service_time for s in (found, mumbai))
    assert (bank.median_ms, bank.p95_ms, bank.max_ms) == (2400, 6000, 60_000)
    assert bank.source == before.source
    undone = {"stations.remitter_bank.service_time.scale": 1, "stations.biller.servers": 4}
    assert variants.variant("mumbai", undone) == mumbai
    assert found.stations["biller"].servers == 7


def test_values_that_make_no_scenario_are_named(mumbai: Scenario) -> None:
    """What a scenario refuses is said with the values that led to it."""
    with pytest.raises(ScenarioError) as caught:
        variants.variant("mumbai", {"adoption.share": 3}, mumbai)
    assert str(caught.value) == (
        "--vary adoption.share=3: mumbai.toml: adoption.share: 3.0 is not between 0 and 1"
    )


def test_a_grid_has_every_combination_once(mumbai: Scenario) -> None:
    """Two keys of three and two values make six variants, the last key the fastest."""
    varied = [
        variants.parse(text, mumbai)
        for text in ("stations.biller.servers=1..3", "adoption.share=0.7,0.8")
    ]
    found = variants.grid(varied)
    assert [tuple(one.values()) for one in found] == [
        (1, 0.7), (1, 0.8), (2, 0.7), (2, 0.8), (3, 0.7), (3, 0.8)
    ]  # fmt: skip

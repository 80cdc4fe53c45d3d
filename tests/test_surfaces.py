"""Stations that come from a survey: expanded when a scenario is read."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from fewseconds import scenario_file, surfaces
from fewseconds.errors import ScenarioError

if TYPE_CHECKING:
    from pathlib import Path


def artefact(share: float) -> dict[str, Any]:
    """An artefact with one variant of one station."""
    failure = {"outcome": "error", "code": "unread", "share": share, "source": "test"}
    return {
        "stations": {
            "camera": {
                "by": ["medium", "scanner"], "persistence": 0.25,
                "variants": {"placard/pyzbar": {"failures": [failure], "persistence": 0.5}},
            }
        }
    }  # fmt: skip


def own(tmp_path: Path, share: float, extra: str = "") -> Path:
    """A scenario whose camera comes from an artefact beside it."""
    (tmp_path / "mine.json").write_text(json.dumps(artefact(share)))
    text = f'extends = "smoke"\n[stations.camera]\nsurface = "mine.json"\n{extra}'
    (tmp_path / "mine.toml").write_text(text)
    return tmp_path / "mine.toml"


def test_shipped_scenarios_know_every_medium_and_scanner_of_their_payers() -> None:
    """The artefact of the shipped scenarios has a variant for whatever their payers hold."""
    scenario = scenario_file.load("mumbai")
    media = {name for channel in scenario.channels.values() for name in channel.media}
    scanners = {app.scanner for app in scenario.apps.values()}
    wanted = {f"{medium}/{scanner}" for medium in media for scanner in scanners}
    for name in ("camera", "camera_place", "camera_hand"):
        assert wanted <= scenario.stations[name].variants.keys()


def test_what_is_written_by_hand_goes_before_the_artefact(tmp_path: Path) -> None:
    """A variant's own persistence replaces the artefact's, and its failures stay."""
    extra = '[stations.camera.variants."placard/pyzbar"]\npersistence = 0.75\n'
    station = scenario_file.load(str(own(tmp_path, 0.125, extra))).stations["camera"]
    variant = station.variants["placard/pyzbar"]
    assert variant.persistence == 0.75
    assert variant.failures is not None
    assert [failure.share for failure in variant.failures] == [0.125]
    assert station.persistence == 0.25


def test_the_digest_holds_the_artefact(tmp_path: Path) -> None:
    """Another number in the artefact is another scenario."""
    first = scenario_file.load(str(own(tmp_path, 0.125))).digest
    assert scenario_file.load(str(own(tmp_path, 0.125))).digest == first
    assert scenario_file.load(str(own(tmp_path, 0.25))).digest != first


@pytest.mark.parametrize(
    ("surface", "said"),
    [
        ("camera-2", "stations.camera.surface: 'camera-2': No such file"),
        ("none.json", "stations.camera.surface: 'none.json': No such file"),
        ("mine.toml.json", "stations.camera.surface: 'mine.toml.json': is no surface"),
    ],
)
def test_a_surface_that_is_none_is_told_with_its_place(
    tmp_path: Path, surface: str, said: str
) -> None:
    """A missing artefact and a broken one are a line among the problems of a scenario."""
    path = own(tmp_path, 0.1)
    (tmp_path / "mine.toml.json").write_text("[]")
    path.write_text(path.read_text().replace("mine.json", surface))
    with pytest.raises(ScenarioError) as caught:
        scenario_file.load(str(path))
    assert any(said in line for line in caught.value.problems)


def test_a_station_that_the_surface_lacks_is_told() -> None:
    """A surface has tables for certain stations; others cannot come from it."""
    tree = {"stations": {"kamera_hand": {"surface": "camera-1"}}}
    _, (line,) = surfaces.expanded(tree, surfaces.SURFACES)
    assert line.endswith("has no station 'kamera_hand'; did you mean 'camera_hand'?")

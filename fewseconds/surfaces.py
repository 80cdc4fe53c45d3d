"""Stations whose tables come from a survey: ``surface = "camera-1"`` becomes variants.

The artefact is expanded while a scenario is read, before anything is checked. What engines and the
load test see is a scenario like any other, and its digest holds every number of the artefact.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from fewseconds.spelling import closest

SURFACES: Final = Path(__file__).resolve().parent.parent / "fixtures" / "surfaces"
KEY: Final = "surface"


def expanded(tree: dict[str, Any], beside: Path) -> tuple[dict[str, Any], list[str]]:
    """``tree`` with the tables of its surfaces under those written by hand, and what is wrong.

    A surface is a name that is shipped or a path of a ``.json`` file, seen from the folder
    ``beside``.
    """
    stations = tree.get("stations")
    if not isinstance(stations, dict):
        return tree, []
    lines: list[str] = []
    result = dict(stations)
    for name, table in stations.items():
        if isinstance(table, dict) and isinstance(surface := table.get(KEY), str) and surface:
            try:
                result[name] = _laid_over(_tables(surface, beside), name, table)
            except ValueError as error:
                lines.append(f"stations.{name}.surface: {error}")
    return tree | {"stations": result}, lines


def _laid_over(tables: dict[str, Any], name: str, by_hand: dict[str, Any]) -> dict[str, Any]:
    """The artefact's table of a station, with what the scenario itself says on top."""
    if name not in tables:
        message = f"{by_hand[KEY]!r} has no station {name!r}; {closest(name, tables)}"
        raise ValueError(message)
    measured: dict[str, Any] = tables[name]
    variants = dict(measured.get("variants", {}))
    for key, variant in by_hand.get("variants", {}).items():
        variants[key] = variants.get(key, {}) | variant
    return measured | by_hand | {"variants": variants}


def _tables(surface: str, beside: Path) -> dict[str, Any]:
    """The stations of an artefact; ValueError says what is wrong with it."""
    is_path = surface.endswith(".json")
    path = beside / surface if is_path else SURFACES / f"{surface}.json"
    try:
        tables = json.loads(path.read_bytes())["stations"]
    except OSError as error:
        known = sorted(one.stem for one in SURFACES.glob("*.json"))
        hint = "make one with `fewseconds scan survey`" if is_path else closest(surface, known)
        message = f"{surface!r}: {error.strerror}; {hint}"
        raise ValueError(message) from None
    except (ValueError, KeyError, TypeError):
        message = f"{surface!r}: is no surface; make one with `fewseconds scan survey`"
        raise ValueError(message) from None
    if not isinstance(tables, dict):
        message = f"{surface!r}: is no surface; make one with `fewseconds scan survey`"
        raise ValueError(message)  # noqa: TRY004 - the caller turns every trouble into a line
    return tables

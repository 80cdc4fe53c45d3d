"""Whether the two engines say the same: row by row, and in sum."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import polars as pl

from fewseconds.measures import frame
from sim import engines

if TYPE_CHECKING:
    from collections.abc import Callable

    from fewseconds.plan import Plan


class Equality(msgspec.Struct, frozen=True):
    """What a comparison of the engines found."""

    compared: int
    """Rows of outcomes, all columns each."""
    different: int
    """Rows that differ, or that one engine alone wrote."""
    events: tuple[int, int]
    """Events counted by the compiled and by the reference engine."""
    first: tuple[dict[str, Any], dict[str, Any]] | None
    """The first row that differs, as the compiled and as the reference engine wrote it."""


def compare(plan: Plan, progress: Callable[[int], None] | None = None) -> Equality:
    """Walk ``plan`` in both engines and compare what they wrote, in the order of writing."""
    walked = [engines.walk(plan, name, progress) for name in ("numba", "simpy")]
    left, right = (frame(one.outcomes) for one in walked)
    both = min(len(left), len(right))
    unequal = pl.Series([False]).new_from_index(0, both)
    for name in left.columns:
        unequal |= left[name][:both].ne_missing(right[name][:both])
    places = unequal.arg_true()
    different = len(places) + max(len(left), len(right)) - both
    first = None
    if different:
        place = int(places[0]) if len(places) else both
        first = tuple(
            table.row(place, named=True) if place < len(table) else {} for table in (left, right)
        )
    events = (walked[0].events, walked[1].events)
    return Equality(max(len(left), len(right)), different, events, first)  # type: ignore[arg-type]

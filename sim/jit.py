"""Compilation: the rules of the product, compiled as they stand.

``chance``, ``journey`` and ``pace`` are plain Python. Their functions are compiled here from the
very same source, with the functions that they call replaced by compiled ones, so that every rule
exists once.
"""

from __future__ import annotations

import inspect
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numba

from fewseconds import chance, journey, pace

if TYPE_CHECKING:
    from collections.abc import Callable

    F = TypeVar("F", bound=Callable[..., Any])

OPTIONS: Final[dict[str, Any]] = {"error_model": "numpy", "nogil": True, "_nrt": False}
"""Nothing is allocated in the engine, so arrays need no counting of references (``_nrt``), which
took nine tenths of its time."""


def inlined(function: F) -> F:
    """Compile a part of the engine, to be put in place wherever it is called."""
    made: F = numba.njit(forceinline=True, **OPTIONS)(function)
    return made


def same(function: F, **calls: Any) -> F:  # noqa: ANN401 - compiled functions
    """The same source compiled, with the functions that it calls replaced by ``calls``."""
    if not inspect.isfunction(function):
        raise TypeError(function)
    names = {**function.__globals__, **calls}
    again = FunctionType(function.__code__, names, function.__name__, function.__defaults__)
    return inlined(again)  # type: ignore[return-value]


@inlined
def _bisect_right(edges: Any, draw: int) -> int:  # noqa: ANN401 - an array of int64
    # Shares are few: from the left is faster than halving.
    index = 0
    while index < len(edges) and edges[index] <= draw:
        index += 1
    return index


_mix = same(chance._mix)  # noqa: SLF001 - compiled as it stands
_key = same(chance.key, _mix=_mix)
draw = same(chance.draw)
_uniform = same(chance.uniform, draw=draw, key=_key)
quantile = same(chance.quantile)
pick = same(chance.pick, bisect_right=_bisect_right)
last_refresh = same(chance.last_refresh, uniform=_uniform)
next_move = same(journey.next_move)
scaled = same(pace.scaled)
token_us = same(pace.token_us)
taken_ns = same(pace.taken_ns)

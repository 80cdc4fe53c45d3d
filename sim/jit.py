"""Compilation: the rules of the product compiled as they stand, and a cache that knows its sources.

``chance``, ``journey`` and ``pace`` are plain Python. Their functions are compiled here from the
very same source, with the functions that they call replaced by compiled ones, so that every rule
exists once.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import tempfile
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numba
from numba.core import config

from fewseconds import chance, journey, pace, station, timeline

if TYPE_CHECKING:
    from collections.abc import Callable

    F = TypeVar("F", bound=Callable[..., Any])

OPTIONS: Final[dict[str, Any]] = {"error_model": "numpy", "nogil": True, "_nrt": False}
"""Nothing is allocated in the engine, so arrays need no counting of references (``_nrt``), which
took nine tenths of its time."""

SOURCES: Final = ("jit", "layout", "ready", "slots", "kernel_station", "kernel_walk", "compiled")
"""Modules of this package that are compiled."""


def _cache_folder() -> Path:
    """Where compiled code is kept: a folder that changes with every source it is made from.

    Numba itself looks only at the file of the outermost function.
    """
    total = hashlib.sha256()
    modules = [module.__file__ for module in (chance, journey, pace, station, timeline)]
    here = [str(Path(__file__).with_name(f"{name}.py")) for name in SOURCES]
    for path in [*map(str, modules), *here]:
        total.update(Path(path).read_bytes())
    for base in _bases():
        folder = base / total.hexdigest()[:16]
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return folder
    return Path(tempfile.mkdtemp(prefix="fewseconds-numba-"))


def _bases() -> list[Path]:
    asked = os.environ.get("NUMBA_CACHE_DIR")
    if asked:
        return [Path(asked)]
    home = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return [Path(home) / "fewseconds" / "numba"]


setattr(config, "CACHE_DIR", str(_cache_folder()))  # noqa: B010 - unknown to its annotations


def inlined(function: F) -> F:
    """Compile a part of the engine, to be put in place wherever it is called."""
    made: F = numba.njit(forceinline=True, **OPTIONS)(function)
    return made


def outermost(function: F) -> F:
    """Compile a function that Python calls, and keep the code for the next process."""
    made: F = numba.njit(cache=True, **OPTIONS)(function)
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
draw = same(chance.draw, _mix=_mix)
_uniform = same(chance.uniform, draw=draw, key=_key)
quantile = same(chance.quantile)
pick = same(chance.pick, bisect_right=_bisect_right)
last_refresh = same(chance.last_refresh, uniform=_uniform)
next_move = same(journey.next_move)
scaled = same(pace.scaled)
token_us = same(pace.token_us)
taken_ns = same(pace.taken_ns)

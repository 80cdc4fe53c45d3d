"""Machine code of the compiled engine, kept from one process to the next and loaded without numba.

The key of what is kept is made of everything it depends on: sources, versions, numba's settings
and the processor. What is broken, or was made for another key, is made anew and never run.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import tempfile
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final

import llvmlite.binding as llvm
import numpy as np

from fewseconds import chance, journey, pace, station, timeline
from sim.layout import RANKS, SHAPE_WIDTH, City

if TYPE_CHECKING:
    from collections.abc import Callable

SOURCES: Final = (
    "jit", "layout", "ready", "slots", "kernel_station", "kernel_walk", "compiled", "entry",
)  # fmt: skip
"""Modules of this package that are compiled; those of the product are imported above."""
_MAGIC: Final = b"fewseconds engine 1"
_FIELDS: Final = 4


def key() -> str:
    """Changes with whatever the machine code depends on."""
    total = hashlib.sha256()
    rules = [str(module.__file__) for module in (chance, journey, pace, station, timeline)]
    here = [str(Path(__file__).with_name(f"{name}.py")) for name in SOURCES]
    for path in [*rules, *here]:
        total.update(Path(path).read_bytes())
    settings = sorted(f"{name}={value}" for name, value in os.environ.items() if "NUMBA" in name)
    versions = [metadata.version(name) for name in ("numba", "llvmlite")]
    features = llvm.get_host_cpu_features().flatten()
    place = [llvm.get_default_triple(), llvm.get_host_cpu_name(), features]
    total.update("\x1f".join([*versions, *place, *settings]).encode())
    return total.hexdigest()


def folder() -> Path:
    """Where machine code is kept: ``$XDG_CACHE_HOME/fewseconds`` or ``~/.cache/fewseconds``."""
    home = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return Path(home) / "fewseconds"


def packed(mine: str, name: str, code: bytes) -> bytes:
    """An object file with what it must be checked for."""
    digest = hashlib.sha256(name.encode() + code).hexdigest()
    return b"\n".join([_MAGIC, mine.encode(), digest.encode(), name.encode(), code])


def unpacked(content: bytes, mine: str) -> tuple[str, bytes] | None:
    """Name of the function and object file; None if broken or made for another key."""
    head, *rest = content.split(b"\n", _FIELDS)
    if head != _MAGIC or len(rest) != _FIELDS or rest[0] != mine.encode():
        return None
    _, digest, name, code = rest
    if hashlib.sha256(name + code).hexdigest().encode() != digest:
        return None
    return name.decode(), code


def _kept_or_made() -> tuple[str, bytes]:
    mine = key()
    path = folder() / f"engine-{mine[:16]}.o"
    with suppress(OSError):
        found = unpacked(path.read_bytes(), mine)
        if found is not None:
            return found
    from sim.entry import machine_code  # noqa: PLC0415 - what the artefact is there to avoid

    made = machine_code()
    # Where nothing can be kept, the next process compiles again.
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(packed(mine, *made))
        Path(file.name).replace(path)
    return made


@cache
def _loaded() -> tuple[Callable[..., int], object]:
    """The function of the engine, and what keeps its machine code in memory."""
    name, code = _kept_or_made()
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple().create_target_machine(jit=True)
    holder = llvm.create_mcjit_compiler(llvm.parse_assembly(""), target)
    holder.add_object_file(llvm.ObjectFileRef.from_data(code))
    holder.finalize_object()
    # ctypes lets other threads run meanwhile: the engine touches nothing of Python's.
    kind = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p)
    return kind(holder.get_function_address(name)), holder


def prepare() -> None:
    """Compile, or load what was compiled before."""
    _loaded()


def run(city: City) -> int:
    """Walk on; see :func:`sim.compiled.run`.

    Raises TypeError if a field is not what the machine code takes it for.
    """
    where = np.empty(len(City._fields), np.uintp)
    shapes = np.zeros((len(City._fields), SHAPE_WIDTH), np.int64)
    for number, (name, array) in enumerate(zip(City._fields, city, strict=True)):
        if (
            array.dtype != np.int64
            or array.ndim != RANKS.get(name, 2)
            or not array.flags.c_contiguous
        ):
            message = (
                f"{name!r}: {array.dtype} of shape {array.shape}; "
                f"must be int64, {RANKS.get(name, 2)} axes, in C order"
            )
            raise TypeError(message)
        where[number] = array.ctypes.data
        shapes[number, : array.ndim] = array.shape
    function, _ = _loaded()
    return function(where.ctypes.data, shapes.ctypes.data)

"""The compiled engine as machine code: one function that C could call, and nothing around it.

Numba's own cache keeps Python objects that only numba can read, which costs most of a second in
every process. The object code made here needs neither numba nor Python: :mod:`sim.artefact` keeps
it and loads it in a fraction of that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import llvmlite.binding as llvm
from numba import cfunc, types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array, populate_array

from sim.compiled import run
from sim.jit import OPTIONS
from sim.layout import RANKS, SHAPE_WIDTH, City

if TYPE_CHECKING:
    from collections.abc import Callable

_WORDS: Final = types.CPointer(types.int64)
_CITY: Final = types.NamedTuple(
    [types.Array(types.int64, RANKS.get(name, 2), "C") for name in City._fields], City
)
_NUMBERS: Final = types.intp


@intrinsic
def _city_at(_: Any, where: Any, shapes: Any) -> tuple[Any, Callable[..., Any]]:  # noqa: ANN401
    """Arrays at the addresses ``where``; ``shapes`` has SHAPE_WIDTH lengths for each of them."""

    def made(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ANN401
        def entry(pointer: Any, place: int) -> Any:  # noqa: ANN401 - a value of LLVM
            return builder.load(builder.gep(pointer, [context.get_constant(_NUMBERS, place)]))

        width = context.get_constant(_NUMBERS, 8)
        arrays = []
        for number, kind in enumerate(_CITY.types):
            first = number * SHAPE_WIDTH
            shape = [entry(arguments[1], first + axis) for axis in range(kind.ndim)]
            strides = [width]
            for length in reversed(shape[1:]):
                strides.insert(0, builder.mul(strides[0], length))
            array = make_array(kind)(context, builder)
            data = builder.bitcast(entry(arguments[0], number), array.data.type)
            populate_array(array, data, shape, strides, width, meminfo=None)
            arrays.append(array._getvalue())  # noqa: SLF001 - as every extension of numba does
        return context.make_tuple(builder, signature.return_type, arrays)

    return _CITY(where, shapes), made


def _enter(where: Any, shapes: Any) -> int:  # noqa: ANN401 - pointers
    # numba passes the first parameter, its own, by itself.
    return run(_city_at(where, shapes))  # type: ignore[call-arg]


def machine_code() -> tuple[str, bytes]:
    """Compile the engine for this processor: the name of its function and the object file.

    Takes some twenty seconds.
    """
    options = {name: value for name, value in OPTIONS.items() if name != "nogil"}
    compiled = cfunc(types.int64(types.CPointer(_WORDS), _WORDS), **options)(_enter)
    module = llvm.parse_assembly(compiled.inspect_llvm())
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=llvm.get_host_cpu_features().flatten(),
        opt=3,
        jit=True,
    )
    return compiled.native_name, machine.emit_object(module)

"""Columns of numbers and of words as Arrow arrays and back, without a copy and without pandas.

``pyarrow.array`` and ``to_numpy`` import pandas wherever it is installed, to see whether they have
to do with it; that takes longer than making the plan of a city. Buffers do not ask.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def numbers(values: NDArray[Any]) -> pa.Array:
    """Whole numbers of any width, none of them missing; shape ``(rows,)``."""
    whole = np.ascontiguousarray(values)
    kind = pa.from_numpy_dtype(whole.dtype)
    return pa.Array.from_buffers(kind, len(whole), [None, pa.py_buffer(whole)])


def words(codes: NDArray[Any], known: Sequence[str]) -> pa.DictionaryArray:
    """Words as ``codes``, which are positions in those ``known``."""
    texts = [word.encode() for word in known]
    ends = np.cumsum([0, *map(len, texts)], dtype=np.int32)
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(b"".join(texts))]
    dictionary = pa.Array.from_buffers(pa.string(), len(texts), buffers)
    return pa.DictionaryArray.from_arrays(numbers(codes), dictionary)


def values(column: pa.ChunkedArray) -> NDArray[Any]:
    """The whole numbers of a column that :func:`numbers` could have made; shape ``(rows,)``."""
    whole = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    kind = np.dtype(whole.type.to_pandas_dtype())
    offset = whole.offset * kind.itemsize
    return np.frombuffer(whole.buffers()[1], kind, len(whole), offset)

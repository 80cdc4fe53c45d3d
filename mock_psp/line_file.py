"""Files of lines that are only ever added to, by services that may be killed at any moment.

What has been written without a buffer outlives its process. A kill may still cut the last write
short (Linux looks for it between the pages of a write); nobody has been told of that piece, so it
counts for nothing, and whoever goes on with the file must not glue a line to it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PIECE_BYTES: Final = 1 << 16
LENGTH_BITS: Final = 24
LENGTH_MASK: Final = (1 << LENGTH_BITS) - 1
"""A place in a file is where a line begins, up to half a terabyte, and how long it is."""


def opened(path: Path) -> int:
    """The descriptor of a file, made if need be for its owner alone, that ends with a whole line.

    Whatever is written to it stands at its end, however many have it open.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    end = place = os.fstat(descriptor).st_size
    while place > 0:
        begin = max(place - PIECE_BYTES, 0)
        found = os.pread(descriptor, place - begin, begin).rfind(b"\n")
        if found >= 0:
            place = begin + found + 1
            break
        place = begin
    if place < end:
        os.ftruncate(descriptor, place)
    return descriptor


def placed(begin: int, length: int) -> int:
    """The place of a line of so many bytes that begins there."""
    return begin << LENGTH_BITS | length


def line_at(descriptor: int, place: int) -> bytes:
    """The line that stands at a place."""
    return os.pread(descriptor, place & LENGTH_MASK, place >> LENGTH_BITS)


def whole_lines(path: Path) -> Iterator[bytes]:
    """The lines of a file, each with its end; none if there is no file."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield line

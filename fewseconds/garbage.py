"""Python's garbage collector in a process that has to answer, or to send, on time."""

from __future__ import annotations

import gc
from typing import Final

THRESHOLD: Final = 50_000
"""Objects more than before at which it comes by; 700 are Python's, which every few requests make.
A pass over so many takes a few milliseconds."""


def settle() -> None:
    """Collect now, and seldom from now on.

    What is there now, modules and tables, lives as long as the process and is not looked at again.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(THRESHOLD)

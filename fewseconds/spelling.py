"""Which known word a misspelt one was probably meant to be."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def closest(word: str, known: Iterable[str]) -> str:
    """``; did you mean …?`` when something known resembles ``word``, else the known words."""
    known = sorted(known)
    near = nearest(word, known)
    if near:
        return f"did you mean {near!r}?"
    return f"use one of {', '.join(map(repr, known))}" if known else "remove it"


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that ``word`` was probably meant to be, or nothing."""
    return next(iter(difflib.get_close_matches(word, sorted(known), n=1)), "")

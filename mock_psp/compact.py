"""A number for each of very many keys, in 16 bytes a key where a dict takes some two hundred.

Services remember for a whole run what they have been told once, and must not grow with it.
"""

from __future__ import annotations

from array import array
from typing import Final

BUCKETS: Final = 1 << 12
_MARK: Final = 1 << 63
"""Set in every hash and in no number, so that neither is taken for the other."""


class Index:
    """Keys by their 64-bit hash, which is keyed anew in every process.

    Of ten million keys, two share a hash with a probability of three in a million.
    """

    def __init__(self) -> None:
        """Nothing is known."""
        self._buckets = [array("Q") for _ in range(BUCKETS)]
        self._count = 0

    def __len__(self) -> int:
        """How many keys have a number."""
        return self._count

    def add(self, key: str, number: int) -> None:
        """Give a key that has none its number, from 0 to 2**63 - 1."""
        word = hash(key) & (_MARK - 1) | _MARK
        self._buckets[word % BUCKETS].extend((word, number))
        self._count += 1

    def get(self, key: str) -> int | None:
        """The number of a key, None if it has none."""
        word = hash(key) & (_MARK - 1) | _MARK
        bucket = self._buckets[word % BUCKETS]
        try:
            return bucket[bucket.index(word) + 1]
        except ValueError:
            return None

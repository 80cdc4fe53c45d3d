"""A number for each of very many keys, in 16 bytes a key where a dict takes some two hundred.

Services remember for a whole run what they have been told once, and must not grow with it.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

BUCKETS: Final = 1 << 12
_MARK: Final = 1 << 63
"""Set in every hash and in no number, so that neither is taken for the other."""


class Index:
    """Keys by 63 bits of their hash (SipHash), which is keyed anew in every process.

    Of n keys, two share a hash with a probability below n(n - 1) / 2 / 2**63 (each of the pairs
    with 1 / 2**63; Boole's inequality): six in a million for ten million keys, a tenth of that for
    the three million of a city's month. Whoever has the whole key at hand compares it
    (:meth:`numbers`); whoever asks for one number (:meth:`get`) takes that risk.
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
        """The number of a key, None if it has none; the first one's of two that share a hash."""
        word = hash(key) & (_MARK - 1) | _MARK
        bucket = self._buckets[word % BUCKETS]
        try:
            return bucket[bucket.index(word) + 1]
        except ValueError:
            return None

    def numbers(self, key: str) -> Iterator[int]:
        """The numbers of the key and of all others that share its hash, in the order of coming."""
        word = hash(key) & (_MARK - 1) | _MARK
        bucket, place = self._buckets[word % BUCKETS], 0
        while True:
            try:
                place = bucket.index(word, place) + 2
            except ValueError:
                return
            yield bucket[place - 1]

"""Randomness as a function: every draw is a hash of what it is for.

``uniform(seed, stream, entity, attempt)`` has no state, so consumer 734 112 has the same patience
in every engine and two compared scenarios share their random numbers for free. The functions
below are plain Python on integers and give the *same bits* on Python integers, on numpy int64
arrays (``uniform``, ``pick_array`` and ``quantile_array``) and under ``numba.njit``: words have 32
bits and every product stays below 2**63, where all three agree.

Laws are tables of int64 quantiles, built once per scenario, so no floating-point function runs
when a draw is made.
"""

from __future__ import annotations

import hashlib
import struct
from bisect import bisect_right
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

WORD = 0xFFFFFFFF
SPAN = 1 << 32
"""Number of values a draw can take: draws lie in ``[0, SPAN)``."""

BLOCK = 1 << 15
"""Draws that :func:`uniform_array` makes at a time: 128 KiB, which a second-level cache holds."""
FEW = 64
"""Up to so many shares are counted off one by one rather than searched."""

# A quantile table is four runs of 1025 knots: the body (cells of probability 2**-10), the first
# cell again at 2**-20, the last cell again at 2**-20, and the last of those again at 2**-30.
CELLS = 1024
BODY, LOWER, UPPER, EXTREME = 0, CELLS + 1, 2 * (CELLS + 1), 3 * (CELLS + 1)
TABLE_LENGTH = 4 * (CELLS + 1)
VALUE_MAX = 1 << 40
"""Largest value of a law (12.7 days in microseconds): above it interpolation could overflow."""


def _mix(word: Any) -> Any:  # noqa: ANN401 - the same source serves int, int64 arrays and numba
    """Scramble one 32-bit word.

    The constants are the bias-0.107 two-round hash of the hash-prospector project; both multipliers
    are below 2**31, which keeps the products below 2**63.
    """
    word = ((word ^ (word >> 16)) * 0x21F0AAAD) & WORD
    word = ((word ^ (word >> 15)) * 0x735A2D97) & WORD
    return word ^ (word >> 15)


def key(seed: Any, stream: Any) -> Any:  # noqa: ANN401 - see _mix
    """Fold a seed and a stream into the 32-bit key of all the draws that belong to both."""
    word = _mix((seed & WORD) ^ 0x5EC09D5)
    word = _mix(word ^ (seed >> 32))
    return _mix(word ^ stream)


def draw(key: Any, entity: Any, attempt: Any) -> Any:  # noqa: ANN401 - see _mix
    """:func:`uniform` with its first two arguments already folded by :func:`key`.

    Four rounds of :func:`_mix`, written out: every leg of every journey is drawn with this, and in
    plain Python the calls took longer than the arithmetic.
    """
    word = key ^ (entity >> 32)
    word = ((word ^ (word >> 16)) * 0x21F0AAAD) & WORD
    word = ((word ^ (word >> 15)) * 0x735A2D97) & WORD
    word = word ^ (word >> 15) ^ (entity & WORD)
    word = ((word ^ (word >> 16)) * 0x21F0AAAD) & WORD
    word = ((word ^ (word >> 15)) * 0x735A2D97) & WORD
    word = word ^ (word >> 15) ^ ((attempt + 0x3C6EF372) & WORD)
    word = ((word ^ (word >> 16)) * 0x21F0AAAD) & WORD
    word = ((word ^ (word >> 15)) * 0x735A2D97) & WORD
    word = word ^ (word >> 15) ^ key
    word = ((word ^ (word >> 16)) * 0x21F0AAAD) & WORD
    word = ((word ^ (word >> 15)) * 0x735A2D97) & WORD
    return word ^ (word >> 15)


def drawer(key: int) -> Callable[[int, int], int]:
    """:func:`draw` with one key, for whoever draws with it often in plain Python.

    The first of the four rounds is the same for all entities below 2**32, and made here.
    """
    begun: int = _mix(key)

    def drawn(entity: int, attempt: int) -> int:
        if entity >> 32:
            return int(draw(key, entity, attempt))
        word = begun ^ entity
        word = ((word ^ (word >> 16)) * 0x21F0AAAD) & WORD
        word = ((word ^ (word >> 15)) * 0x735A2D97) & WORD
        word = word ^ (word >> 15) ^ ((attempt + 0x3C6EF372) & WORD)
        word = ((word ^ (word >> 16)) * 0x21F0AAAD) & WORD
        word = ((word ^ (word >> 15)) * 0x735A2D97) & WORD
        word = word ^ (word >> 15) ^ key
        word = ((word ^ (word >> 16)) * 0x21F0AAAD) & WORD
        word = ((word ^ (word >> 15)) * 0x735A2D97) & WORD
        return word ^ (word >> 15)

    return drawn


def drawers(keys: Sequence[int]) -> Callable[[int, int], tuple[int, ...]]:
    """:func:`draw` with several keys for one entity and attempt, hardly slower than with one.

    The words lie side by side in one long integer, 64 bits apart: a product stays below 2**63, and
    what a shift brings over from a neighbour is masked away.
    """
    ones = sum(1 << 64 * lane for lane in range(len(keys)))
    side_by_side = sum(key << 64 * lane for lane, key in enumerate(keys))
    begun = sum(_mix(key) << 64 * lane for lane, key in enumerate(keys))
    words, apart = ones * WORD, struct.Struct(f"<{len(keys)}Q")

    def drawn(entity: int, attempt: int) -> tuple[int, ...]:
        if entity >> 32:
            return tuple(draw(key, entity, attempt) for key in keys)
        word = begun ^ int(entity) * ones
        word = (((word ^ (word >> 16)) & words) * 0x21F0AAAD) & words
        word = (((word ^ (word >> 15)) & words) * 0x735A2D97) & words
        word = word ^ (word >> 15) ^ ((attempt + 0x3C6EF372) & WORD) * ones
        word = (((word ^ (word >> 16)) & words) * 0x21F0AAAD) & words
        word = (((word ^ (word >> 15)) & words) * 0x735A2D97) & words
        word = word ^ (word >> 15) ^ side_by_side
        word = (((word ^ (word >> 16)) & words) * 0x21F0AAAD) & words
        word = (((word ^ (word >> 15)) & words) * 0x735A2D97) & words
        return apart.unpack(((word ^ (word >> 15)) & words).to_bytes(apart.size, "little"))

    return drawn


def uniform(seed: Any, stream: Any, entity: Any, attempt: Any) -> Any:  # noqa: ANN401 - see _mix
    """Draw a whole number, uniform on ``[0, SPAN)``, that belongs to these four arguments alone.

    ``seed`` below 2**63, ``stream`` from :func:`stream`, ``entity`` below 2**63 and ``attempt``
    below 2**32 may be Python integers or int64 arrays (which broadcast).
    """
    return draw(key(seed, stream), entity, attempt)


def uniform_array(
    seed: int, stream: int, entities: NDArray[np.int64], attempt: int
) -> NDArray[np.uint32]:
    """:func:`uniform` for many entities of one attempt, several times as fast.

    The words have 32 bits, so for entities below 2**32 unsigned arithmetic wraps to the same bits;
    blocks that stay in the cache save most of the rest.
    """
    if len(entities) == 0 or int(entities.max()) > WORD:
        drawn: NDArray[np.int64] = uniform(seed, stream, entities, attempt)
        return drawn.astype(np.uint32)
    folded = key(seed, stream)
    # The upper half of every entity is 0, so its round gives one word for all of them.
    upper, tried = np.uint32(_mix(folded)), np.uint32((attempt + 0x3C6EF372) & WORD)
    last = np.uint32(folded)
    draws = np.empty(len(entities), np.uint32)
    spare = np.empty(min(BLOCK, len(entities)), np.uint32)
    for first in range(0, len(entities), BLOCK):
        words = draws[first : first + BLOCK]
        np.copyto(words, entities[first : first + BLOCK], casting="unsafe")
        for other in (upper, tried, last):
            words ^= other
            _mix_block(words, spare[: len(words)])
    return draws


def _mix_block(words: NDArray[np.uint32], spare: NDArray[np.uint32]) -> None:
    """:func:`_mix` in place; ``spare`` is as long as ``words``."""
    for shift, factor in ((16, 0x21F0AAAD), (15, 0x735A2D97), (15, 1)):
        np.right_shift(words, np.uint32(shift), out=spare)
        words ^= spare
        if factor > 1:
            words *= np.uint32(factor)


def stream(*names: object) -> int:
    """Turn a name (or its parts) into the 32-bit number of an independent stream of draws."""
    text = "\x1f".join(str(name) for name in names)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def threshold(probability: float) -> int:
    """The number below which a draw falls with ``probability``."""
    return round(probability * SPAN)


def cumulative(weights: Sequence[float]) -> list[int]:
    """Cumulative thresholds of relative ``weights``, for :func:`pick`; the last one is ``SPAN``."""
    total = float(sum(weights))
    running, edges = 0.0, []
    for weight in weights:
        running += weight
        edges.append(round(running / total * SPAN))
    edges[-1] = SPAN
    return edges


def pick(edges: Sequence[int], draw: int) -> int:
    """Index of the share that ``draw`` falls into; ``edges`` come from :func:`cumulative`."""
    return bisect_right(edges, draw)


def pick_array(edges: Sequence[int], draws: NDArray[Any]) -> NDArray[np.int64]:
    """:func:`pick` for an array of draws (int64, or uint32 from :func:`uniform_array`)."""
    below = [edge for edge in edges if edge < SPAN]
    if len(below) > FEW:
        return np.searchsorted(np.asarray(below, np.int64), draws, side="right").astype(np.int64)
    # Counting the edges passed takes a fraction of a search whose branches nobody can foresee.
    passed = np.zeros(len(draws), np.int8)
    for edge in below:
        passed += (draws >= edge).view(np.int8)
    return passed.astype(np.int64)


def last_refresh(seed: int, name: int, entity: int, attempt: int, persistence: int) -> int:
    """The latest attempt, not after ``attempt``, at which a slowly changing condition was redrawn.

    A condition (the pose of a hand, say) is carried over from one attempt to the next when its
    draw falls below ``persistence`` (a :func:`threshold`), so attempts that share the returned
    number share the condition: a first-order chain with correlation ``persistence / SPAN``.
    Attempts count from 1; the first is always a fresh one.
    """
    while attempt > 1 and uniform(seed, name, entity, attempt) < persistence:
        attempt -= 1
    return attempt


def _probabilities() -> NDArray[np.float64]:
    """Where a table has its knots, strictly between 0 and 1; shape ``(TABLE_LENGTH,)``."""
    body, fine, finest = 2.0**-10, 2.0**-20, 2.0**-30
    runs = ((0.0, body), (0.0, fine), (1.0 - body, fine), (1.0 - fine, finest))
    knots = [start + np.arange(CELLS + 1) * cell for start, cell in runs]
    return np.clip(np.concatenate(knots), 2.0**-33, 1.0 - 2.0**-33)


PROBABILITIES = _probabilities()


def quantile_table(inverse: Callable[[float], float]) -> tuple[int, ...]:
    """Tabulate a law from its quantile function, for :func:`quantile`.

    ``inverse`` takes a probability in ``(0, 1)`` and returns the value there, in the unit of the
    draws (microseconds).
    """
    return knots(np.array([inverse(probability) for probability in PROBABILITIES.tolist()]))


def knots(values: NDArray[np.float64]) -> tuple[int, ...]:
    """A table for :func:`quantile` from a law's values at :data:`PROBABILITIES`.

    Values are rounded (a half to the even number) and kept within ``[0, VALUE_MAX]``.
    """
    return tuple(np.rint(np.clip(values, 0.0, VALUE_MAX)).astype(np.int64).tolist())


def quantile(table: Sequence[int], draw: int) -> int:
    """The value of a law at ``draw``, interpolated between knots with whole numbers only."""
    cell = draw >> 22
    if 0 < cell < CELLS - 1:
        low = table[cell]
        return low + (((table[cell + 1] - low) * (draw & 0x3FFFFF)) >> 22)
    base, shift, rest = LOWER, 12, draw
    if cell != 0:
        base, rest = UPPER, draw - (cell << 22)
        if rest >> 12 == CELLS - 1:
            base, shift, rest = EXTREME, 2, rest - ((CELLS - 1) << 12)
    index = base + (rest >> shift)
    low = table[index]
    return low + (((table[index + 1] - low) * (rest & ((1 << shift) - 1))) >> shift)


def quantile_array(table: Sequence[int], draws: NDArray[np.int64]) -> NDArray[np.int64]:
    """:func:`quantile` for an array of draws."""
    knots = np.asarray(table, np.int64)
    cell = draws >> 22
    lower, upper = cell == 0, cell == CELLS - 1
    above = np.where(upper, draws - ((CELLS - 1) << 22), draws)
    extreme = upper & (above >> 12 == CELLS - 1)
    rest = np.where(extreme, above - ((CELLS - 1) << 12), above)
    shift = np.where(extreme, 2, np.where(lower | upper, 12, 22))
    base = np.where(extreme, EXTREME, np.where(upper, UPPER, np.where(lower, LOWER, BODY)))
    index = base + (rest >> shift)
    low = knots[index]
    part: NDArray[np.int64] = ((knots[index + 1] - low) * (rest & ((1 << shift) - 1))) >> shift
    return low + part

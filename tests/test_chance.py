"""Draws: the same bits everywhere, uniform and independent, and laws that keep their tails."""

from __future__ import annotations

import hashlib
import itertools
import types
from fractions import Fraction
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Self

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fewseconds import chance

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

COUNT = 20_000
WORD_MAX = 2**32 - 1
LONG_MAX = 2**63 - 1
# The smallest p-value that a test of uniformity may show. The draws never change, so a pass is a
# pass for ever; fifty tests on good draws would all lie above this with probability 0.995.
P_MIN = 1e-4

seeds = st.integers(0, LONG_MAX)
words = st.integers(0, WORD_MAX)


def whole_numbers(limit: int, salt: int) -> list[int]:
    """``COUNT`` numbers up to ``limit``: its extremes and powers of two, then spread at random."""
    edges = [0, 1, 2, limit, limit - 1, limit >> 1]
    edges += [near for power in range(1, 63) for near in (2**power - 1, 2**power) if near <= limit]
    spread = np.random.default_rng(salt).integers(0, limit, COUNT - len(edges), endpoint=True)
    return [*edges, *spread.tolist()]


@pytest.fixture(scope="module")
def arguments() -> list[list[int]]:
    """Seeds, streams, entities and attempts, each shuffled so that the extremes meet others."""
    columns = []
    for salt, limit in enumerate((LONG_MAX, WORD_MAX, LONG_MAX, WORD_MAX)):
        column = whole_numbers(limit, salt)
        np.random.default_rng(100 + salt).shuffle(column)
        columns.append(column)
    return columns


@pytest.fixture(scope="module")
def compiled() -> dict[str, Any]:
    """The functions of ``chance`` as numba compiles them, with each other in place of themselves.

    The module itself stays plain Python, so copies are made whose globals hold compiled names.
    """
    names: dict[str, Any] = dict(vars(chance))
    for name in ("_mix", "key", "draw", "uniform", "quantile"):
        plain = vars(chance)[name]
        names[name] = numba.njit(types.FunctionType(plain.__code__, names, name))
    return names


def int64(values: list[int]) -> NDArray[np.int64]:
    """Whole numbers as an array that would overflow where Python does not."""
    return np.array(values, np.int64)


def test_numpy_draws_the_bits_of_python(arguments: list[list[int]]) -> None:
    """Arrays of int64 give the very draws that Python's unlimited integers give."""
    plain = [chance.uniform(*row) for row in zip(*arguments, strict=True)]
    arrays: NDArray[np.int64] = chance.uniform(*map(int64, arguments))
    assert arrays.dtype == np.int64
    assert arrays.tolist() == plain


@given(seeds, words, words, st.sampled_from([1, 5, 40_000]))
def test_blocks_draw_the_same_bits(seed: int, stream: int, attempt: int, count: int) -> None:
    """Unsigned words in blocks give the draws of any entities, above 32 bits as well."""
    for first in (0, WORD_MAX - count + 1, WORD_MAX - count // 2, 2**40):
        entities = np.arange(first, first + count)
        blocks = chance.uniform_array(seed, stream, entities, attempt)
        assert blocks.dtype == np.uint32
        assert (blocks == chance.uniform(seed, stream, entities, attempt)).all()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=80).filter(sum), seeds)
def test_arrays_pick_what_numbers_pick(weights: list[float], seed: int) -> None:
    """However many shares there are, arrays of both widths fall into the share a number does."""
    edges = chance.cumulative(weights)
    luck = [
        0,
        WORD_MAX,
        *(min(max(edge + near, 0), WORD_MAX) for edge in edges for near in (-1, 0)),
    ]
    luck += chance.uniform(seed, 1, np.arange(50), 1).tolist()
    plain = [chance.pick(edges, one) for one in luck]
    assert chance.pick_array(edges, np.array(luck, np.uint32)).tolist() == plain
    assert chance.pick_array(edges, np.array(luck, np.int64)).tolist() == plain


def test_numba_draws_the_bits_of_python(
    arguments: list[list[int]], compiled: dict[str, Any]
) -> None:
    """Compiled code gives the very draws that Python's unlimited integers give."""
    uniform = compiled["uniform"]
    rows = zip(*arguments, strict=True)
    assert [row for row in rows if uniform(*row) != chance.uniform(*row)] == []


def test_a_folded_key_draws_the_same(arguments: list[list[int]], compiled: dict[str, Any]) -> None:
    """A draw from a key made once equals the draw from seed and stream, compiled or not."""
    for seed, stream, entity, attempt in zip(*arguments, strict=True):
        expected = chance.uniform(seed, stream, entity, attempt)
        folded = chance.key(seed, stream)
        assert chance.draw(folded, entity, attempt) == expected
        assert compiled["draw"](compiled["key"](seed, stream), entity, attempt) == expected


def test_a_drawer_draws_the_same(arguments: list[list[int]]) -> None:
    """What is worked out once for a key changes no draw, of small entities and of large ones."""
    for seed, stream, entity, attempt in zip(*arguments, strict=True):
        key = chance.key(seed, stream)
        drawn = chance.drawer(key)
        for one in (entity, entity & WORD_MAX):
            assert drawn(one, attempt) == chance.draw(key, one, attempt)


@given(
    st.lists(words, min_size=1, max_size=12),
    st.one_of(words, seeds, st.sampled_from([0, WORD_MAX, WORD_MAX + 1])),
    st.one_of(words, st.sampled_from([0, 1, WORD_MAX])),
)
def test_draws_side_by_side_do_not_touch_each_other(
    keys: list[int], entity: int, attempt: int
) -> None:
    """Many keys at once give what each of them gives alone, whatever its neighbours are."""
    alone = tuple(chance.draw(key, entity, attempt) for key in keys)
    assert chance.drawers(keys)(entity, attempt) == alone


def test_products_never_leave_63_bits(arguments: list[list[int]]) -> None:
    """Every intermediate value of a draw fits a signed 64-bit word, the ground of equal bits."""

    class Watched(int):
        """A whole number that refuses to grow beyond 63 bits under the operations of a draw."""

        def __new__(cls, value: int) -> Self:
            assert -(2**63) <= value < 2**63
            return super().__new__(cls, value)

        def __mul__(self, other: int) -> Watched:
            return Watched(int(self) * int(other))

        def __add__(self, other: int) -> Watched:
            return Watched(int(self) + int(other))

        def __xor__(self, other: int) -> Watched:
            return Watched(int(self) ^ int(other))

        def __and__(self, other: int) -> Watched:
            return Watched(int(self) & int(other))

        def __rshift__(self, other: int) -> Watched:
            return Watched(int(self) >> int(other))

    for row in itertools.islice(zip(*arguments, strict=True), 2_000):
        assert isinstance(chance.uniform(*map(Watched, row)), Watched)


def test_draws_are_those_of_the_first_release() -> None:
    """Fixtures and plans of an older version repeat, because these draws never change."""
    assert chance.stream("pay") == 2471528237
    assert [chance.uniform(0, 0, 0, attempt) for attempt in range(4)] == [
        3325409368,
        2377843453,
        3993080829,
        157887107,
    ]
    assert chance.uniform(LONG_MAX, WORD_MAX, LONG_MAX, WORD_MAX) == 2286909713
    assert chance.uniform(7, chance.stream("pay"), 734_112, 3) == 2726145066


def test_a_stream_is_the_head_of_a_sha256() -> None:
    """A stream's number is the first 32 bits of the hash of its parts, unit separators between."""
    expected = int(hashlib.sha256(b"bank\x1f3\x1fup").hexdigest()[:8], 16)
    assert chance.stream("bank", 3, "up") == expected
    assert chance.stream("bank", 3, "up") != chance.stream("bank", "3up")


@pytest.mark.parametrize("seed", [0, 1, 2, 7, 2**32, LONG_MAX])
@pytest.mark.parametrize("stream", ["pay", "scan", "name", 0])
def test_draws_of_consecutive_entities_are_uniform(seed: int, stream: object) -> None:
    """Entities counted from 0 draw values that Kolmogorov and Smirnov take for uniform."""
    draws = chance.uniform(seed, chance.stream(stream), np.arange(200_000), 1)
    assert stats.kstest(draws / chance.SPAN, "uniform").pvalue > P_MIN


@pytest.mark.parametrize("seed", [1, 7, 2**40])
def test_draws_of_consecutive_attempts_are_uniform(seed: int) -> None:
    """Attempts counted from 0 draw values that Kolmogorov and Smirnov take for uniform."""
    draws = chance.uniform(seed, chance.stream("pay"), 734_112, np.arange(200_000))
    assert stats.kstest(draws / chance.SPAN, "uniform").pvalue > P_MIN


def neighbours() -> dict[str, Callable[[Any], tuple[Any, Any]]]:
    """Pairs of draws that differ in one argument only, by what tells them apart."""
    pay, scan = chance.stream("pay"), chance.stream("scan")
    return {
        "entities": lambda n: (chance.uniform(7, pay, n, 1), chance.uniform(7, pay, n + 1, 1)),
        "attempts": lambda n: (chance.uniform(7, pay, n, 1), chance.uniform(7, pay, n, 2)),
        "streams": lambda n: (chance.uniform(7, pay, n, 1), chance.uniform(7, scan, n, 1)),
        "stream numbers": lambda n: (chance.uniform(7, 4, n, 1), chance.uniform(7, 5, n, 1)),
        "seeds": lambda n: (chance.uniform(7, pay, n, 1), chance.uniform(8, pay, n, 1)),
        "high words": lambda n: (
            chance.uniform(7, pay, n, 1),
            chance.uniform(7, pay, n + 2**32, 1),
        ),
        "entity and attempt": lambda n: (
            chance.uniform(7, pay, n, 1000),
            chance.uniform(7, pay, 1000, n),
        ),
    }


@pytest.mark.parametrize("apart", list(neighbours()))
@pytest.mark.parametrize("shift", [26, 0])
def test_neighbouring_draws_are_independent(apart: str, shift: int) -> None:
    """Draws that differ in one argument fill a 64 by 64 table evenly, by high bits and by low."""
    first, second = neighbours()[apart](np.arange(400_000))
    cells = ((first >> shift) & 63) * 64 + ((second >> shift) & 63)
    assert stats.chisquare(np.bincount(cells, minlength=4096)).pvalue > P_MIN


def test_entities_draw_without_repeating() -> None:
    """Entities below 2**32 draw distinct values: each attempt of a stream is a permutation."""
    draws = chance.uniform(7, chance.stream("pay"), np.arange(1_050_000), 1)
    assert len(np.unique(draws)) == 1_050_000


def normal(mean: float, deviation: float) -> Callable[[float], float]:
    """Quantile function of a normal law, from the standard library."""
    return NormalDist(mean, deviation).inv_cdf


LAWS: dict[str, tuple[Callable[[float], float], Any]] = {
    "lognormal": (
        lambda p: 800_000.0 * float(np.exp(0.9 * NormalDist().inv_cdf(p))),
        stats.lognorm(0.9, scale=800_000.0),
    ),
    "exponential": (
        lambda p: -2_000_000.0 * float(np.log1p(-p)),
        stats.expon(scale=2_000_000.0),
    ),
    "normal": (normal(5_000_000.0, 400_000.0), stats.norm(5_000_000.0, 400_000.0)),
    "uniform": (lambda p: 1_000_000.0 * (1.0 + p), stats.uniform(1_000_000.0, 1_000_000.0)),
}
TAILS = [1e-6, 1e-5, 1e-4, 1e-3]


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize(
    "probability", [*TAILS, 0.01, 0.1, 0.5, 0.9, 0.95, 0.99, *(1.0 - tail for tail in TAILS)]
)
def test_a_table_keeps_the_quantiles_of_its_law(law: str, probability: float) -> None:
    """A law's table lies within half a percent of SciPy's quantiles, down to tails of 1e-6."""
    inverse, oracle = LAWS[law]
    value = chance.quantile(chance.quantile_table(inverse), chance.threshold(probability))
    assert value == pytest.approx(oracle.ppf(probability), rel=5e-3, abs=2.0)


@pytest.mark.parametrize("law", LAWS)
def test_drawn_values_follow_their_law(law: str) -> None:
    """Values drawn through a table are taken by Kolmogorov and Smirnov for the law itself."""
    inverse, oracle = LAWS[law]
    draws = chance.uniform(7, chance.stream(law), np.arange(200_000), 1)
    values = chance.quantile_array(chance.quantile_table(inverse), draws)
    assert stats.kstest(values, oracle.cdf).pvalue > P_MIN
    assert values.mean() == pytest.approx(oracle.mean(), abs=4 * oracle.std() / 200_000**0.5)


@pytest.mark.parametrize("law", LAWS)
def test_quantiles_are_the_same_bits_everywhere(law: str, compiled: dict[str, Any]) -> None:
    """Python, numpy and numba interpolate a law to the very same microsecond."""
    table = chance.quantile_table(LAWS[law][0])
    knots = np.array(table, np.int64)
    draws = whole_numbers(WORD_MAX, 5)
    plain = [chance.quantile(table, draw) for draw in draws]
    assert chance.quantile_array(table, int64(draws)).tolist() == plain
    assert [compiled["quantile"](knots, draw) for draw in draws] == plain


@pytest.mark.parametrize("draw", [0, 1 << 22, 5 << 22, 1 << 31, 1023 << 22, (1 << 32) - 4096])
def test_a_table_is_exact_at_its_knots(draw: int) -> None:
    """Between knots a table interpolates, at a knot it gives the law's own value."""
    inverse = LAWS["lognormal"][0]
    expected = round(inverse(max(draw / chance.SPAN, 2.0**-33)))
    assert chance.quantile(chance.quantile_table(inverse), draw) == expected


@given(words, words)
def test_quantiles_never_fall(one: int, other: int) -> None:
    """A greater draw never gives a smaller value."""
    table = chance.quantile_table(normal(2_000_000.0, 300_000.0))
    low, high = sorted((one, other))
    assert chance.quantile(table, low) <= chance.quantile(table, high)


def test_values_stay_within_what_can_be_interpolated() -> None:
    """A law is cut at zero and at the greatest value whose interpolation cannot overflow."""
    table = chance.quantile_table(lambda p: (p - 0.5) * 1e30)
    assert len(table) == chance.TABLE_LENGTH
    assert min(table) == 0
    assert max(table) == chance.VALUE_MAX
    assert chance.VALUE_MAX << 22 < 2**63


@given(st.floats(0.0, 1.0))
def test_a_threshold_is_its_probability(probability: float) -> None:
    """The share of draws below a threshold is its probability, to one draw in 2**32."""
    assert abs(Fraction(chance.threshold(probability), chance.SPAN) - Fraction(probability)) <= (
        Fraction(1, 2 * chance.SPAN)
    )


@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=12))
def test_shares_have_the_width_of_their_weights(weights: list[float]) -> None:
    """The widths of shares are in the ratio of the weights, and together they hold every draw."""
    edges = chance.cumulative(weights)
    exact = sum(map(Fraction, weights))
    widths = [high - low for low, high in itertools.pairwise([0, *edges])]
    assert sum(widths) == chance.SPAN
    for width, weight in zip(widths, weights, strict=True):
        assert abs(width - Fraction(weight) / exact * chance.SPAN) <= 2


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=8), st.lists(words, min_size=1))
def test_picks_are_the_same_one_by_one_and_in_arrays(
    weights: list[float], draws: list[int]
) -> None:
    """A draw falls into the share whose range holds it, in Python and in arrays alike."""
    edges = chance.cumulative([*weights, 0.5])
    picked = [chance.pick(edges, draw) for draw in draws]
    assert chance.pick_array(edges, int64(draws)).tolist() == picked
    for draw, index in zip(draws, picked, strict=True):
        assert draw < edges[index]
        assert index == 0 or edges[index - 1] <= draw


@given(seeds, words, st.integers(0, LONG_MAX), st.integers(1, 40), words)
def test_a_condition_is_as_old_as_its_last_fresh_draw(
    seed: int, name: int, entity: int, attempt: int, persistence: int
) -> None:
    """A condition dates from the last attempt whose draw did not fall below its persistence."""
    fresh = [
        number
        for number in range(1, attempt + 1)
        if number == 1 or chance.uniform(seed, name, entity, number) >= persistence
    ]
    assert chance.last_refresh(seed, name, entity, attempt, persistence) == fresh[-1]


def test_a_condition_lasts_as_long_as_a_geometric_law_says() -> None:
    """The share of conditions still the same three attempts on is the persistence cubed."""
    count, persistence = 20_000, 0.8
    kept = sum(
        chance.last_refresh(7, 1, entity, 9, chance.threshold(persistence)) <= 6
        for entity in range(count)
    )
    low, high = stats.binom(count, persistence**3).interval(0.9999)
    assert low <= kept <= high

"""Which key matters most: indices of Sobol or of Morris, with SALib.

Sobol's indices (Saltelli et al., Computer Physics Communications 181, 2010) share out the variance
of an answer over the keys: ``first`` is what a key does by itself, ``total`` what it does together
with others. Morris' method (Technometrics 33, 1991; Campolongo et al., 2007) is cheaper: mu* is
the mean size of the effect of one step, sigma how much that depends on the other keys.
Intervals are SALib's own: bootstrap, 95 %.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec
import numpy as np

from fewseconds.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from sim.variants import Vary

Method = Literal["sobol", "morris"]
COUNT_MIN: Final = 2
LEVELS: Final = 4
"""Morris' grid has so many levels a key (SALib's default, and Morris' own choice)."""


class Index(msgspec.Struct, frozen=True):
    """What one key does to one answer."""

    key: str
    total: float | None
    """Sobol's total index, or Morris' mu* in the unit of the answer; None if nothing changes."""
    total_half: float | None
    """Half-width of its 95 % interval."""
    first: float | None
    """Sobol's first-order index; Morris' sigma."""
    first_half: float | None


def problem(varied: Sequence[Vary]) -> dict[str, Any]:
    """The keys as SALib describes them."""
    return {
        "num_vars": len(varied),
        "names": [vary.key for vary in varied],
        "bounds": [[vary.low, vary.high] for vary in varied],
    }


def design(varied: Sequence[Vary], count: int, method: Method, seed: int) -> NDArray[np.float64]:
    """The points to walk; shape (points, keys). Raises UsageError if ``count`` cannot be.

    Sobol takes ``count * (keys + 2)`` points, Morris ``count * (keys + 1)``.
    """
    found: NDArray[np.float64]
    if method == "sobol":
        from SALib.sample import sobol  # noqa: PLC0415 - half a second, for this method alone

        if count < COUNT_MIN or count & (count - 1):
            near = 2 ** max(round(math.log2(max(count, 2))), 1)
            message = f"--sobol {count}: Sobol's sequence needs a power of two; write {near}"
            raise UsageError(message)
        found = sobol.sample(problem(varied), count, calc_second_order=False, seed=seed % 2**32)
        return found
    from SALib.sample import morris  # noqa: PLC0415

    if count < COUNT_MIN:
        message = f"--morris {count}: one way through the keys has no spread; write 10 or more"
        raise UsageError(message)
    found = morris.sample(problem(varied), count, num_levels=LEVELS, seed=seed % 2**32)
    return found


def ranking(
    varied: Sequence[Vary],
    points: NDArray[np.float64],
    answers: NDArray[np.float64],
    method: Method,
    seed: int,
) -> list[Index]:
    """The keys, the one that matters most first; ``answers`` has one value a point."""
    if not np.isfinite(answers).all() or np.ptp(answers) == 0:
        return [Index(vary.key, None, None, None, None) for vary in varied]
    names = [vary.key for vary in varied]
    if method == "sobol":
        from SALib.analyze import sobol  # noqa: PLC0415

        # Sobol's estimator loses digits when the mean is far from 0.
        centred = (answers - answers.mean()) / answers.std()
        said = sobol.analyze(problem(varied), centred, calc_second_order=False, seed=seed % 2**32)
        columns = (said["ST"], said["ST_conf"], said["S1"], said["S1_conf"])
    else:
        from SALib.analyze import morris  # noqa: PLC0415

        said = morris.analyze(
            problem(varied), points, answers, num_levels=LEVELS, seed=seed % 2**32
        )
        none = [math.nan] * len(names)
        columns = (said["mu_star"], said["mu_star_conf"], said["sigma"], none)
    found = [
        Index(name, *(None if math.isnan(x) else float(x) for x in row))
        for name, *row in zip(names, *columns, strict=True)
    ]
    return sorted(found, key=lambda index: -(index.total or 0.0))

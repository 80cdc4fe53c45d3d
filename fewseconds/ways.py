"""By which way everybody pays: a draw that belongs to the consumer, so that no other moves it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fewseconds import chance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fewseconds.scenario import Scenario


def draws(seed: int, name: str, consumers: NDArray[np.int64]) -> NDArray[np.uint32]:
    """A draw a consumer, out of a stream of its own."""
    return chance.uniform_array(seed, chance.stream("plan", name), consumers, 1)


def picked(shares: Sequence[float], luck: NDArray[np.uint32]) -> NDArray[np.int16]:
    """Which of some shares each draw falls into."""
    return chance.pick_array(chance.cumulative(shares), luck).astype(np.int16)


def kinds_of(scenario: Scenario, seed: int, consumers: NDArray[np.int64]) -> NDArray[np.int16]:
    """The kind of journey of each consumer, as its place among the scenario's.

    Who pays digitally has a draw of its own: a change of that share moves nobody else.

    Those who turn digital come from the channel that loses, and those who turn away go there.
    """
    adoption, luck = scenario.adoption, draws(seed, "digital", consumers)
    # Two streams, or those who leave a channel would all arrive in the same one.
    digital = _side(scenario, draws(seed, "kind", consumers), digital=True)
    other = _side(scenario, draws(seed, "kind of other", consumers), digital=False)
    loser, loses = scenario.channels.get(adoption.loses), list(scenario.journeys).index
    gained = scenario.digital_share - adoption.share
    is_digital = luck < chance.threshold(adoption.share + min(gained, 0.0))
    if loser is not None and gained > 0:
        limit = chance.threshold(adoption.share + gained / loser.share)
        is_digital |= (luck < limit) & (other == loses(adoption.loses))
    elif loser is not None and gained < 0:
        other[luck < chance.threshold(adoption.share)] = loses(adoption.loses)
    return np.where(is_digital, digital, other)


def _side(scenario: Scenario, luck: NDArray[np.uint32], *, digital: bool) -> NDArray[np.int16]:
    """The kind that everybody would take who pays digitally, or who does not."""
    known = list(scenario.journeys)
    shares = {k: c.share for k, c in scenario.channels.items() if c.digital is digital}
    codes = np.array([known.index(kind) for kind in shares] or [0], np.int16)
    side: NDArray[np.int16] = codes[picked(list(shares.values()) or [1.0], luck)]
    return side

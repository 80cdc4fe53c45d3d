"""What a walk in virtual time comes to in money: what its journeys set out to pay.

That is what is owed on the day on which a journey begins, as a load run pays it: with ``[billing]``
less the discount of an early bill, plus the charge of a late one. Who is overtaken by the midnight
that changes the amount is declined by a real biller, and pays in virtual time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fewseconds import columns
from fewseconds.measures import ENDS
from fewseconds.plan import names
from fixtures import funding

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fewseconds.plan import Plan
    from fewseconds.scenario import Scenario

Paise = dict[str, dict[str, int]]
"""Sums by kind of journey and by how it ended."""


class Sums:
    """Sums of a plan that goes by in parts.

    What a journey owes is kept from its beginning until all that began before it have ended.
    """

    def __init__(self, scenario: Scenario, seed: int) -> None:
        """Nothing has gone by."""
        self._scenario, self._seed = scenario, seed
        self._kinds = names(scenario)["kind"]
        self._sums = np.zeros((len(self._kinds), len(ENDS)), np.int64)
        self._first = 0
        """Place in the plan of the first journey that is kept."""
        self._owed = np.zeros(0, np.int64)
        self._kind = np.zeros(0, np.int16)
        self._open = np.zeros(0, bool)

    def begin(self, part: Plan) -> None:
        """Take the next journeys of the plan."""
        bills = columns.values(part.table["bill"])
        owed = funding.owed_paise(self._scenario, self._seed, bills, part.starts_us)
        over = int(self._open.argmax()) if self._open.any() else len(self._open)
        self._first += over
        self._owed = np.concatenate([self._owed[over:], owed])
        self._kind = np.concatenate([self._kind[over:], part.codes("kind")])
        self._open = np.concatenate([self._open[over:], np.ones(len(part), bool)])

    def end(self, places: NDArray[np.int64], ends: NDArray[np.int8]) -> None:
        """Add what some journeys owed, by their places in the plan and in ``measures.ENDS``."""
        rows = places - self._first
        np.add.at(self._sums, (self._kind[rows], ends), self._owed[rows])
        self._open[rows] = False

    def paise(self) -> Paise:
        """The sums of what has ended."""
        return {
            kind: {end: int(paise) for end, paise in zip(ENDS, sums, strict=True) if paise}
            for kind, sums in zip(self._kinds, self._sums, strict=True)
            if sums.any()
        }


def money(plan: Plan, ends: NDArray[np.int8]) -> Paise:
    """Paise by kind of journey and by how it ended; every bill of the plan is in one of the sums.

    ``ends``: of the journey in each row of the plan, places in ``measures.ENDS``. What the biller
    gives back is not walked, and who pays a stranger's bill counts with the own one.
    """
    sums = Sums(plan.scenario, plan.seed)
    sums.begin(plan)
    sums.end(np.arange(len(plan)), ends)
    return sums.paise()

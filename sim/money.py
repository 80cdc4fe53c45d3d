"""What a walk in virtual time comes to in money: the bills that journeys set out to pay."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from fewseconds import columns
from fewseconds.measures import ENDS
from fewseconds.plan import names
from fixtures import bills

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fewseconds.plan import Plan


def money(plan: Plan, ends: NDArray[np.int8]) -> dict[str, dict[str, int]]:
    """Paise by kind of journey and by how it ended; every bill of the plan is in one of the sums.

    ``ends``: of the journey in each row of the plan, places in ``measures.ENDS``. Amounts are those
    on the bills: discounts, late charges and what the biller gives back are not walked, and who
    pays a stranger's bill counts with the own one.
    """
    scenario = plan.scenario
    amounts = bills.amounts_paise(
        plan.seed, columns.values(plan.table["bill"]), scenario.first_day, scenario.season.amounts
    )
    table = pl.DataFrame({"kind": plan.codes("kind"), "end": ends, "paise": amounts})
    sums = table.group_by("kind", "end").agg(pl.col("paise").sum()).sort("kind", "end")
    kinds, found = list(names(scenario)["kind"]), dict[str, dict[str, int]]()
    for kind, end, paise in sums.iter_rows():
        found.setdefault(kinds[kind], {})[ENDS[end]] = paise
    return found

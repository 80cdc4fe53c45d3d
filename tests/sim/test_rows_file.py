"""All rows of a walk, as a file: what is in it, and what is left when something goes wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from fewseconds import outcomes, scenario_file
from fewseconds.errors import UsageError
from fewseconds.measures import frame
from fewseconds.plan import plan
from sim import engines
from sim.rows_file import RowsFile

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(300)


def test_the_file_holds_the_rows_of_the_walk(tmp_path: Path) -> None:
    """Read by polars or as any run's rows, it holds what SimPy writes into memory, in order."""
    walk = plan(scenario_file.load("smoke", {"consumers": 500}))
    path = tmp_path / "run" / "rows.parquet"
    with RowsFile(path) as file:
        engines.walk(walk, "numba", sink=lambda rows: [file.take(rows.slice(0, 999)),
                                                       file.take(rows.slice(999))])  # fmt: skip
    expected = frame(engines.walk(walk, "simpy").outcomes).drop("sojourn_us")
    assert file.rows == len(expected) > 1000
    words = [name for name, kind in expected.schema.items() if kind == pl.Categorical]
    read = pl.read_parquet(path)
    assert [read.schema[name] for name in words] == [pl.Categorical] * len(words)
    as_texts = pl.col(words).cast(pl.String)
    assert_frame_equal(read.with_columns(as_texts), expected.with_columns(as_texts))
    assert_frame_equal(
        frame(outcomes.read(path.parent)).drop("sojourn_us").with_columns(as_texts),
        expected.with_columns(as_texts),
    )


def test_a_walk_that_fails_leaves_no_file(tmp_path: Path) -> None:
    """Half a file would be taken for the rows of a shorter month."""

    def fail(_: int) -> None:
        raise RuntimeError("walk")

    walk = plan(scenario_file.load("smoke", {"consumers": 10}))
    with pytest.raises(RuntimeError, match="walk"), RowsFile(tmp_path / "rows.parquet") as file:
        engines.walk(walk, "numba", fail, sink=file.take)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_is_said_so(tmp_path: Path) -> None:
    """The option is named that helps."""
    (tmp_path / "taken").write_text("")
    with pytest.raises(UsageError, match=r"taken.*cannot be written.*--rows"):
        RowsFile(tmp_path / "taken" / "rows.parquet")

"""All rows of a walk, as a file: what is in it, and what is left when something goes wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
import pyarrow as pa
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

        def take(rows: pa.Table) -> None:
            file.take(rows.slice(0, 999))
            file.take(rows.slice(999))

        engines.walk(walk, "numba", sink=take)
    expected = frame(engines.walk(walk, "simpy").outcomes)
    assert file.rows == len(expected) > 1000
    assert_frame_equal(frame(outcomes.read(path.parent)), expected)
    read = pl.read_parquet(path)
    words = [field.name for field in outcomes.SCHEMA if pa.types.is_dictionary(field.type)]
    assert all(read.schema[name] == pl.Categorical for name in words)
    assert_frame_equal(read.cast(dict.fromkeys(words, pl.String)), expected.drop("sojourn_us"))


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

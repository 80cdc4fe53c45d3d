"""Real arrivals: the moments of a file, as they are, and every row that cannot be one."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewseconds import scenario_file
from fewseconds.errors import UsageError
from fewseconds.plan import Plan, chunks, plan

if TYPE_CHECKING:
    from pathlib import Path

IST = ZoneInfo("Asia/Kolkata")
MIDNIGHT = dt.datetime(2026, 11, 1, tzinfo=IST)

moments = st.datetimes(
    # Hypothesis adds the zone itself.
    dt.datetime(2026, 11, 1),  # noqa: DTZ001
    dt.datetime(2026, 11, 30, 23),  # noqa: DTZ001
    timezones=st.just(IST),
)
offsets = st.sampled_from([0, 330, -480, 60])


def made(folder: Path, text: str, name: str = "real.csv", consumers: int = 50) -> Plan:
    """The plan of a scenario in a folder whose arrivals come from a file beside it."""
    (folder / name).write_text(text)
    return planned(folder, name, consumers)


def planned(folder: Path, name: str, consumers: int = 50) -> Plan:
    """The plan of a scenario in a folder with a file of arrivals."""
    path = folder / "mine.toml"
    text = f'extends = "mumbai"\nconsumers = {consumers}\n[arrivals]\nfrom = "{name}"\n'
    path.write_text(text + 'source = "our log"\n')
    return plan(scenario_file.load(str(path)), 7)


@given(st.lists(st.tuples(moments, offsets), min_size=1, max_size=60))
def test_moments_are_taken_as_they_are(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[dt.datetime, int]]
) -> None:
    """Whatever offset a moment is written with, it is the microseconds since midnight in India."""
    written = [
        moment.astimezone(dt.timezone(dt.timedelta(minutes=offset))).isoformat()
        for moment, offset in rows
    ]
    folder = tmp_path_factory.mktemp("real")
    found = made(folder, "timestamp\n" + "\n".join(written) + "\n")
    wanted = sorted((moment - MIDNIGHT) // dt.timedelta(microseconds=1) for moment, _ in rows)
    assert found.starts_us.tolist() == wanted
    journeys = found.table["journey_id"].to_pylist()
    assert len(set(journeys)) == len(rows)
    # Nobody pays an older bill while somebody has not paid this month's.
    assert max(journeys) < 50 * -(-len(rows) // 50)


def test_kinds_are_kept_and_the_rest_is_drawn(tmp_path: Path) -> None:
    """A column of kinds decides; apps and banks are those of the consumers, as ever."""
    kinds = ["portal", "qr_counter", "counter_cash"] * 10
    lines = [f"2026-11-02T10:{i:02d}:00Z,{kind}" for i, kind in enumerate(kinds)]
    found = made(tmp_path, "timestamp,kind\n" + "\n".join(lines))
    assert found.table["kind"].to_pylist() == kinds
    everybody = {
        row.consumer: row for row in plan(scenario_file.load("mumbai", {"consumers": 50}), 7).rows()
    }
    for row in found.rows():
        assert (row.app, row.bank) == (everybody[row.consumer].app, everybody[row.consumer].bank)
    assert {row.medium for row in found.rows() if row.kind == "qr_counter"} == {"placard"}
    pieces = [row for piece in chunks(found.scenario, 7, 7) for row in piece.rows()]
    assert pieces == list(found.rows())


def test_parquet_is_read_with_its_time_zone(tmp_path: Path) -> None:
    """A column of moments in Parquet means the same as the text of it."""
    zoned = [MIDNIGHT + dt.timedelta(hours=hour) for hour in (30, 5, 100)]
    frame = pl.DataFrame({"timestamp": zoned}, schema={"timestamp": pl.Datetime("us", "UTC")})
    frame.write_parquet(tmp_path / "real.parquet")
    hours = [start // 3_600_000_000 for start in planned(tmp_path, "real.parquet").starts_us]
    assert hours == [5, 30, 100]
    frame.with_columns(pl.col("timestamp").dt.replace_time_zone(None)).write_parquet(
        tmp_path / "naive.parquet"
    )
    with pytest.raises(UsageError, match=r"row 1: .*without a time zone"):
        planned(tmp_path, "naive.parquet")


def test_the_content_of_the_file_is_part_of_the_scenario(tmp_path: Path) -> None:
    """Other moments make another digest; another place of the same file does not."""
    one = made(tmp_path, "timestamp\n2026-11-02T10:00:00+05:30\n").scenario.digest
    other = made(tmp_path, "timestamp\n2026-11-02T10:00:01+05:30\n").scenario.digest
    (tmp_path / "elsewhere").mkdir()
    again = made(tmp_path / "elsewhere", "timestamp\n2026-11-02T10:00:00+05:30\n").scenario.digest
    assert one == again != other


GOOD = "2026-11-02T10:00:00+05:30"
BAD = {
    "naive": (
        f"timestamp\n{GOOD}\n2026-11-02 10:00:00\n",
        "row 3: 2026-11-02 10:00:00: without an",
    ),
    "no moment": (f"timestamp\n{GOOD}\n{GOOD}\nsoon+05:30\n", "row 4: soon.05:30: no moment"),
    "empty": (f"timestamp,kind\n,portal\n{GOOD},portal\n", "row 2: .*no moment"),
    "outside": (f"timestamp\n2027-01-01T00:00:00Z\n{GOOD}\n", "row 2: .*outside 2026-11-01 to"),
    "a day early": ("timestamp\n2026-10-31T18:29:59Z\n", "row 2: .*outside"),
    "unknown kind": (f"timestamp,kind\n{GOOD},portal\n{GOOD},portl\n", "row 3: portl: no kind of"),
    "no column": (f"time\n{GOOD}\n", "hold no 'timestamp'"),
    "no rows": ("timestamp\n", "has no rows"),
    "nothing": ("", "cannot be read"),
    "many": ("timestamp\n" + "x1\n" * 9, "row 6: x1 and 4 more"),
}


@pytest.mark.parametrize("name", BAD)
def test_rows_that_are_no_payments_are_named(name: str, tmp_path: Path) -> None:
    """An error says which row it is, what stands there and what to do."""
    text, told = BAD[name]
    with pytest.raises(UsageError, match=told) as caught:
        made(tmp_path, text)
    assert str(caught.value).startswith("arrivals.from: real.csv: ")
    assert ";" in str(caught.value)


def test_a_file_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    """The path is named, and nothing is planned."""
    with pytest.raises(UsageError, match=r"arrivals.from: .*none.csv: cannot be read"):
        planned(tmp_path, "none.csv")

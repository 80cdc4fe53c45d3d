"""Real arrivals: moments read from a CSV or Parquet file instead of being drawn.

The file has a column ``timestamp`` and, if it is known, ``kind``. A moment carries its offset from
UTC (``2026-11-17T18:03:12.5+05:30``; in Parquet a time zone); one without is refused, because half
of Indian logs are written in UTC and half in IST.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from fewseconds.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

IST: Final = dt.timezone(dt.timedelta(hours=5, minutes=30))
DAY_US: Final = 86_400_000_000
TOLD_MAX: Final = 5
"""Bad rows that are named; the others are counted."""
OFFSET: Final = r"(?:[Zz]|[+-]\d{2}:?\d{2})$"


def read(
    path: Path, first_day: dt.date, days: int, kinds: Sequence[str]
) -> tuple[NDArray[np.int64], NDArray[np.int16] | None]:
    """Microseconds since the midnight (IST) of ``first_day``, ascending, and codes of ``kinds``.

    The kinds are None if the file does not know them. Raises UsageError with the rows that are
    wrong (counted as the file's reader counts them: the first line of a CSV is row 1, its head).
    """
    table, first_row = _table(path)
    moments = _moments(path, table, first_row)
    midnight = dt.datetime.combine(first_day, dt.time(), IST)
    starts = (moments - int(midnight.timestamp()) * 1_000_000).to_numpy()
    outside = (starts < 0) | (starts >= days * DAY_US)
    if outside.any():
        last = first_day + dt.timedelta(days=days - 1)
        what = f"outside {first_day} to {last} (IST); set arrivals.first_day and arrivals.days"
        _refuse(path, outside, first_row, table["timestamp"], what)
    order = np.argsort(starts, kind="stable")
    if "kind" not in table.columns:
        return starts[order].astype(np.int64), None
    places = {kind: place for place, kind in enumerate(kinds)}
    codes = table["kind"].cast(pl.String).replace_strict(places, default=-1).cast(pl.Int16)
    unknown = codes.fill_null(-1).to_numpy() < 0
    if unknown.any():
        what = f"no kind of journey; use one of {', '.join(map(repr, kinds))}"
        _refuse(path, unknown, first_row, table["kind"], what)
    return starts[order].astype(np.int64), codes.to_numpy()[order]


def _table(path: Path) -> tuple[pl.DataFrame, int]:
    """The file's columns, and the number of its first row of data."""
    try:
        if path.suffix == ".parquet":
            table, first_row = pl.read_parquet(path), 1
        else:
            table, first_row = pl.read_csv(path, infer_schema=False), 2
    except (OSError, pl.exceptions.PolarsError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        message = f"arrivals.from: {path.name}: cannot be read: {first}; write CSV or Parquet"
        raise UsageError(message) from None
    if "timestamp" not in table.columns:
        message = (
            f"arrivals.from: {path.name}: columns {table.columns!r} hold no 'timestamp'; "
            "name the column of the moments so"
        )
        raise UsageError(message)
    if table.is_empty():
        message = f"arrivals.from: {path.name}: has no rows; write one for each payment"
        raise UsageError(message)
    return table, first_row


def _moments(path: Path, table: pl.DataFrame, first_row: int) -> pl.Series:
    """Microseconds since 1970 in UTC."""
    column = table["timestamp"]
    if isinstance(column.dtype, pl.Datetime):
        if column.dtype.time_zone is None:
            naive = np.ones(len(column), bool)
            _refuse(
                path, naive, first_row, column, "without a time zone; store one with the column"
            )
        missing = column.is_null().to_numpy()
        if missing.any():
            _refuse(path, missing, first_row, column, "missing; every row is a payment")
        return column.dt.convert_time_zone("UTC").dt.timestamp("us")
    texts = column.cast(pl.String).fill_null("").str.strip_chars()
    parsed = texts.str.replace(r"[Zz]$", "+00:00").str.to_datetime(
        "%+", time_unit="us", time_zone="UTC", strict=False
    )
    unread = parsed.is_null().to_numpy()
    naive = unread & ~texts.str.contains(OFFSET).to_numpy() & texts.str.contains(r"\d").to_numpy()
    if naive.any():
        what = "without an offset from UTC; write +05:30 for IST"
        _refuse(path, naive, first_row, column, what)
    if unread.any():
        _refuse(path, unread, first_row, column, "no moment; write 2026-11-17T18:03:12+05:30")
    return parsed.dt.timestamp("us")


def _refuse(
    path: Path, bad: NDArray[np.bool_], first_row: int, column: pl.Series, what: str
) -> None:
    """Raise UsageError that names the first bad rows."""
    rows = np.flatnonzero(bad)
    told = [f"row {first_row + int(row)}: {column[int(row)]!s}" for row in rows[:TOLD_MAX]]
    more = f" and {len(rows) - TOLD_MAX} more" if len(rows) > TOLD_MAX else ""
    message = f"arrivals.from: {path.name}: {', '.join(told)}{more}: {what}"
    raise UsageError(message)

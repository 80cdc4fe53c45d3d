"""What happened: one row per attempt of a step, and one per leg of that attempt.

All engines and the mock services write this schema, one Parquet file per process. Sojourn, wait,
lag and service time are derived and never stored:

* sojourn = ``end_us - intended_us``: ``intended_us`` is the moment the step before it ended, the
  attempt before it ended, or (first step) the plan's intended start, so waits between attempts
  are part of it;
* lag = ``start_us - intended_us`` of a journey's first step: the generator's own fault;
* wait = ``service_start_us - start_us`` and service = ``end_us - service_start_us`` of a leg.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fewseconds import columns
from fewseconds.journey import STEP_ROW

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

__all__ = ["SCHEMA", "STEP_ROW", "Outcome", "Writer", "read", "table"]

_CODE = pa.dictionary(pa.int32(), pa.string())
SCHEMA: Final = pa.schema(
    [
        ("observer", _CODE),
        ("process", _CODE),
        ("journey_id", pa.int64()),
        ("branch", _CODE),
        ("step", _CODE),
        ("leg", pa.int32()),
        ("attempt", pa.int32()),
        ("station", _CODE),
        ("intended_us", pa.int64()),
        ("start_us", pa.int64()),
        ("service_start_us", pa.int64()),
        ("end_us", pa.int64()),
        ("outcome", _CODE),
        ("code", _CODE),
        ("queue_length", pa.int32()),
        ("overrun_us", pa.int64()),
    ]
)
_FEW_VALUES: Final = [field.name for field in SCHEMA if field.type == _CODE] + [
    "leg", "attempt", "queue_length"
]  # fmt: skip
"""Columns that a dictionary makes small; to look up every moment in one only costs."""
PART_ROWS: Final = 50_000
TURN_S: Final = 0.25
TURNS: Final = 8
"""In a flush: one every two seconds."""
JOIN_EVERY: Final = 64
"""Parts; at one flush in two seconds, a file of rows every two minutes."""


class Outcome(NamedTuple):
    """One row; times are microseconds on the clock of the plan."""

    observer: str
    """``client``, ``server`` or ``sim``."""
    process: str
    journey_id: int
    branch: str
    step: str
    leg: int
    """Position of the leg in its step, or :data:`STEP_ROW` for the whole attempt."""
    attempt: int
    station: str
    """Empty in the row of a whole attempt."""
    intended_us: int
    start_us: int
    service_start_us: int
    end_us: int
    outcome: str
    code: str = ""
    queue_length: int = 0
    """How many were waiting when this visit arrived."""
    overrun_us: int = 0
    """By how much real work outlasted the time it stood for."""


def table(rows: Iterable[Outcome | tuple[Any, ...]]) -> pa.Table:
    """Rows as an Arrow table of :data:`SCHEMA`.

    ``pa.array`` would import pandas (see :mod:`fewseconds.columns`), and a service that writes its
    first rows would stand still for as long as that takes.
    """
    read: list[tuple[Any, ...]] = list(zip(*rows, strict=True)) or [() for _ in SCHEMA]
    arrays = [
        _codes(column) if field.type == _CODE else _numbers(column, field.type)
        for field, column in zip(SCHEMA, read, strict=True)
    ]
    return pa.table(arrays, schema=SCHEMA)


def _numbers(column: Sequence[int], kind: pa.DataType) -> pa.Array:
    """Whole numbers of 32 or 64 bits; raises OverflowError for one that does not fit."""
    return columns.numbers(np.array(column, kind.to_pandas_dtype()))


def _codes(column: Sequence[str]) -> pa.DictionaryArray:
    """Strings, each kept once."""
    if column and column.count(column[0]) == len(column):
        # Most columns of most batches; counting takes a twentieth of the time.
        return columns.words(np.zeros(len(column), np.int32), [column[0]])
    places = {text: place for place, text in enumerate(dict.fromkeys(column))}
    codes = np.fromiter(map(places.__getitem__, column), np.int32, len(column))
    return columns.words(codes, list(places))


def write(rows: pa.Table, path: Path) -> None:
    """Write a table of outcomes as one file."""
    pq.write_table(rows, path, compression="zstd", use_dictionary=_FEW_VALUES)


class Writer:
    """Collects the rows of one process.

    What was flushed survives a crash: flushed rows are whole Parquet files of their own, each
    named after the flushes it holds. Every so many are joined into a bigger one, so that hours
    leave few files, and ``close`` joins all into the one file of the process, a part at a time.

    Rows become columns under Python's lock, two milliseconds a thousand, in which nobody else in
    the process runs. So that nobody is late for it, a thread of a process that has to be on time
    calls ``turn`` every :data:`TURN_S`: a few rows each time, and a flush now and then.
    """

    def __init__(self, folder: Path, process: str) -> None:
        """Write ``<folder>/<process>.parquet``; the folder is made if need be."""
        self.folder = Path(folder)
        self.process = process
        self.folder.mkdir(parents=True, exist_ok=True)
        self._rows: list[Outcome] = []
        self._gathered: list[pa.Table] = []
        self._parts: list[Path] = []
        self._turns = self._flushes = 0
        self._closed = False
        self._lock = threading.Lock()

    def add(self, row: Outcome) -> None:
        """Keep a row; it is on disk after the next flush."""
        self._rows.append(row)
        if len(self._rows) >= PART_ROWS:
            self.flush()

    def turn(self) -> None:
        """Turn the rows added so far into columns; every :data:`TURNS` times, flush them."""
        self._turns += 1
        if self._turns % TURNS == 0:
            self.flush()
            return
        with self._lock:
            self._gather()

    def _gather(self) -> None:
        rows, self._rows = self._rows, []
        if rows:
            self._gathered.append(table(rows))

    def flush(self) -> None:
        """Put everything added so far on disk, readable by itself."""
        with self._lock:
            self._gather()
            tables, self._gathered = self._gathered, []
            if not tables:
                return
            whole = pa.concat_tables(tables).unify_dictionaries()
            self._put(whole, self._flushes, self._flushes)
            self._flushes += 1
            if self._flushes % JOIN_EVERY == 0:
                small, self._parts = self._parts[-JOIN_EVERY:], self._parts[:-JOIN_EVERY]
                joined = pa.concat_tables([_part(one) for one in small])
                # Now readable twice, so whoever reads takes the bigger one.
                self._put(
                    joined.unify_dictionaries(), self._flushes - JOIN_EVERY, self._flushes - 1
                )
                for one in small:
                    one.unlink()

    def _put(self, rows: pa.Table, first: int, last: int) -> None:
        part = self.folder / f"{self.process}.part{first:07d}-{last:07d}.parquet"
        half = part.with_suffix(".writing")
        write(rows, half)
        half.rename(part)
        self._parts.append(part)

    def close(self) -> Path:
        """Flush and join the parts; returns the file of this process.

        Closing again does no harm: rows added since then join the others.
        """
        self.flush()
        whole = self.folder / f"{self.process}.parquet"
        if self._closed and not self._parts:
            return whole
        half = whole.with_suffix(".writing")
        with pq.ParquetWriter(
            half, SCHEMA, compression="zstd", use_dictionary=_FEW_VALUES
        ) as writer:
            for part in [whole] * self._closed + self._parts:
                writer.write_table(_part(part))
        half.rename(whole)
        for part in self._parts:
            part.unlink()
        self._parts, self._closed = [], True
        return whole


def _part(path: Path) -> pa.Table:
    """What a writer has written; ``pq.read_table``, which reads anybody's, imports pandas too."""
    with pq.ParquetFile(path) as file:
        return file.read()


def _held_elsewhere(file: Path, files: list[Path]) -> bool:
    """Whether another file holds the rows of this one.

    A process that was killed while it tidied up leaves parts beside the file that holds them.
    """
    process, _, span = file.stem.partition(".part")
    if not span:
        return False
    first, last = map(int, span.split("-"))
    for other in files:
        name, _, wider = other.stem.partition(".part")
        if name != process or other == file:
            continue
        if not wider:
            return True
        begin, end = map(int, wider.split("-"))
        if begin <= first and last <= end:
            return True
    return False


def files(folder: Path) -> list[Path]:
    """The files that together hold every row of a run once."""
    found = sorted(Path(folder).glob("*.parquet"))
    return [file for file in found if not _held_elsewhere(file, found)]


def groups(
    folder: Path, journeys: NDArray[np.int64], rows_max: int
) -> Iterator[tuple[pa.Table, NDArray[np.bool_]]]:
    """All rows of some journeys, then of others: however many there are, not all are in memory.

    A group has about ``rows_max`` rows, and with them which of ``journeys`` (their numbers) are in
    it: those with the same last bits of the number. There is always one group.
    """
    # Only whoever reads runs that do not fit needs it.
    import pyarrow.dataset as ds  # noqa: PLC0415

    found = files(folder)
    total = sum(pq.ParquetFile(file).metadata.num_rows for file in found)
    count = 1
    while total > count * rows_max:
        count *= 2
    if not found:
        yield SCHEMA.empty_table(), np.ones(len(journeys), bool)
        return
    import pyarrow.compute as pc  # noqa: PLC0415 - a tenth of a second that no engine needs

    data = ds.dataset([str(file) for file in found], schema=SCHEMA, format="parquet")
    for group in range(count):
        mine = pc.equal(pc.bit_wise_and(pc.field("journey_id"), pc.scalar(count - 1)), group)
        yield data.to_table(filter=mine).unify_dictionaries(), journeys & (count - 1) == group


def read(folder: Path, observer: str | None = None) -> pa.Table:
    """All rows that the processes of a run have written to ``folder`` so far."""
    tables = [pq.read_table(file, schema=SCHEMA).unify_dictionaries() for file in files(folder)]
    if not tables:
        return SCHEMA.empty_table()
    whole = pa.concat_tables(tables)
    if observer is not None:
        import pyarrow.compute as pc  # noqa: PLC0415 - as above

        whole = whole.filter(pc.equal(whole["observer"].cast(pa.string()), observer))
    return whole

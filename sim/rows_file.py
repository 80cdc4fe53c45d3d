"""All rows of a walk in one Parquet file, written while the walk goes on."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, Self

import pyarrow as pa
import pyarrow.parquet as pq

from fewseconds.errors import UsageError
from fewseconds.outcomes import SCHEMA

if TYPE_CHECKING:
    from pathlib import Path

RISING: Final = ("journey_id", "intended_us", "start_us", "service_start_us", "end_us")
"""Columns of which every value is near the one before: differences take least time to write."""


class RowsFile:
    """A Parquet file that takes rows of outcomes as they come, a group of rows each time.

    A thread of its own writes one piece while the engine walks the next; there are never more than
    two in memory. The file has its name only once it is whole.
    """

    def __init__(self, path: Path) -> None:
        """Begin the file at ``path``. Raises UsageError if it cannot be written."""
        self._path, self._half = path, path.with_name(f"{path.name}.writing")
        words = [field.name for field in SCHEMA if field.name not in RISING]
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = pq.ParquetWriter(
                self._half, SCHEMA, compression="zstd", compression_level=1,
                use_dictionary=words, column_encoding=dict.fromkeys(RISING, "DELTA_BINARY_PACKED"),
            )  # fmt: skip
        except OSError as error:
            message = f"{path}: cannot be written: {error.strerror}; choose another file for --rows"
            raise UsageError(message) from None
        self._thread = ThreadPoolExecutor(1)
        self._last: Future[None] | None = None
        self.rows = 0

    def __enter__(self) -> Self:
        """Take rows until the end of the block."""
        return self

    def take(self, rows: pa.Table) -> None:
        """Write some rows, once those before them have been written."""
        self.rows += rows.num_rows
        if self._last is not None:
            self._last.result()
        self._last = self._thread.submit(self._writer.write_table, rows)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Finish the file, or leave none behind if something went wrong."""
        try:
            if self._last is not None:
                self._last.result()
        finally:
            self._thread.shutdown()
            self._writer.close()
        if kind is None:
            self._half.replace(self._path)
        else:
            self._half.unlink()

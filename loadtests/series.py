"""What the generator counted of its journeys, for the record and for whoever draws it over time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from loadtests.histogram import Histogram
from loadtests.journey_recorder import JourneyReport
from loadtests.probe import quantiles

if TYPE_CHECKING:
    from pathlib import Path

    from loadtests.probe import Latency
    from loadtests.seconds import Second

SERIES: Final = "series.parquet"
SHARES: Final = {"p50_us": 0.5, "p95_us": 0.95, "p99_us": 0.99}
SCHEMA: Final = pa.schema(
    [
        ("measure", pa.string()),
        ("second", pa.int32()),
        ("count", pa.int64()),
        ("never", pa.int64()),
        *((name, pa.float64()) for name in SHARES),
    ]
)
"""One row a measure and second of the window; a quantile that falls among ``never`` is infinite."""


def keep(report: JourneyReport, path: Path) -> None:
    """Write a report down at ``path``, and :data:`SERIES` beside it."""
    path.write_bytes(msgspec.msgpack.encode(report))
    with pq.ParquetWriter(path.with_name(SERIES), SCHEMA, compression="zstd") as writer:
        for name, kept in report.kept.items():
            rows = [_row(name, second) for second in kept.seconds]
            writer.write_table(pa.Table.from_pylist(rows, SCHEMA))


def latencies(path: Path) -> dict[str, Latency]:
    """Quantiles of every measure over a whole run, from what :func:`keep` wrote at ``path``.

    Empty if the generator did not come to its end.
    """
    if not path.exists():
        return {}
    report = msgspec.msgpack.decode(path.read_bytes(), type=JourneyReport)
    return {
        name: quantiles(Histogram.unpacked(kept.histogram)) for name, kept in report.kept.items()
    }


def _row(name: str, second: Second) -> dict[str, object]:
    histogram = second.histogram()
    found = {word: histogram.quantile_us(share) for word, share in SHARES.items()}
    return {
        "measure": name,
        "second": second.second,
        "count": second.total - second.never,
        "never": second.never,
        **found,
    }

"""What other tools left behind, as a baseline: JMeter's ``.jtl`` and Locust's CSV files.

Both measure from the actual send, as a closed model does: what a request waited for a thread to
become free is not in their figures. Our run is counted in the same way here, attempt by attempt.
"""

from __future__ import annotations

import csv
import math
import re
from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree as ET

import numpy as np
import polars as pl

from fewseconds.baseline.effect import MEAN, Series
from fewseconds.baseline.side import MEASURE, SENT, Of, Side, Told
from fewseconds.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

FROM_THE_SEND: Final = (
    "{tool} counts from the actual send, so waits of its own are not in its figures; the run is "
    "counted in the same way here, attempt by attempt."
)
HALF_MS: Final = 0.5
"""JMeter writes whole milliseconds; what took none of them took less than a half."""
Z_TWICE: Final = 2.24
"""Two-sided 97.5 % point of the normal law: two such intervals hold together at 95 %."""


def read(path: Path, labels: Mapping[str, str], known: Iterable[Of]) -> Side:
    """The baseline in ``path``. ``labels`` says which of its labels stands for which step.

    A label that reads like a step or a measure of ``known`` (``Check status``) needs no saying.
    Raises UsageError for a file of another kind, and if nothing in it can be compared.
    """
    try:
        with path.open("rb") as file:
            head = file.read(4096).decode("utf-8", "replace").lstrip("\ufeff \t\r\n")
    except OSError as error:
        message = f"{path}: cannot be read: {error.strerror}; name a run's folder or a file"
        raise UsageError(message) from None
    places = {(of.kind, of.name) for of in known}
    wanted = _Labels(str(path), labels, places)
    if head.startswith("<"):
        return _jmeter(path, _xml(path), wanted)
    first = head.splitlines()[0] if head else ""
    if "elapsed" in first and "label" in first:
        return _jmeter(path, _csv(path, first), wanted)
    if "Total Request Count" in first:
        return _locust_history(path, wanted)
    if "Request Count" in first and "Failure Count" in first:
        return _locust_stats(path, wanted)
    message = (
        f"{path}: is neither a .jtl of JMeter (CSV with its line of names, or XML) nor a "
        "_stats.csv or _stats_history.csv of Locust; name one of those, or a run's folder"
    )
    raise UsageError(message)


class _Labels:
    """Which label of a foreign file stands for which step or measure of ours."""

    def __init__(self, place: str, said: Mapping[str, str], known: set[tuple[str, str]]) -> None:
        self._place, self._said, self._known = place, said, known
        self._names = {name: kind for kind, name in sorted(known) if kind in (MEASURE, SENT)}
        self._seen: set[str] = set()
        strange = sorted(set(said.values()) - self._names.keys())
        if strange:
            message = (
                f"--label {strange[0]!r}: the run has no such step or measure; it has "
                f"{', '.join(sorted(self._names))}"
            )
            raise UsageError(message)

    def of(self, label: str) -> tuple[str, str] | None:
        """Kind and name, or None for a label that stands for nothing of ours."""
        self._seen.add(label)
        name = self._said.get(label) or re.sub(r"[^a-z0-9]+", "_", label.casefold()).strip("_")
        kind = self._names.get(name)
        return None if kind is None else (kind, name)

    def require(self, found: object) -> None:
        """Raises UsageError if nothing was found."""
        if not found:
            seen = ", ".join(map(repr, sorted(self._seen)[:12])) or "none"
            message = (
                f"{self._place}: no label is a step of the run (labels: {seen}; steps: "
                f"{', '.join(sorted(self._names))}); say which is which with --label 'LABEL=STEP'"
            )
            raise UsageError(message)


Samples = tuple[list[str], "NDArray[np.float64]", "NDArray[np.float64]", "NDArray[np.bool_]"]
"""Labels, starts, milliseconds and success, one a sample."""


def _csv(path: Path, first: str) -> Samples:
    separator = next((mark for mark in (",", ";", "\t") if mark in first), ",")
    columns = ["timeStamp", "elapsed", "label", "success"]
    try:
        rows = pl.read_csv(
            path,
            separator=separator,
            infer_schema=False,
            columns=columns,
            truncate_ragged_lines=True,
        )
        took = rows["elapsed"].cast(pl.Float64)
    except (pl.exceptions.PolarsError, OSError) as error:
        message = f"{path}: cannot be read as a .jtl: {error}; write it with {', '.join(columns)}"
        raise UsageError(message) from None
    # A moment may have been written in words: then the order of the file is that of the ends.
    when = rows["timeStamp"].cast(pl.Float64, strict=False)
    moments = np.arange(rows.height, dtype=float) if when.null_count() else when.to_numpy()
    success = rows["success"].str.to_lowercase() == "true"
    return rows["label"].fill_null("").to_list(), moments, took.to_numpy(), success.to_numpy()


def _xml(path: Path) -> Samples:
    labels, moments, took, success = [], [], [], []
    try:
        # The parser resolves no entities from outside, and refuses bombs made of inner ones.
        for _, element in ET.iterparse(path):  # noqa: S314 - see above
            if element.tag in ("httpSample", "sample"):
                labels.append(element.get("lb", ""))
                moments.append(float(element.get("ts", "0")))
                took.append(float(element.get("t", "nan")))
                success.append(element.get("s", "").lower() == "true")
            if element.tag != "testResults":
                element.clear()
    except (ET.ParseError, ValueError) as error:
        message = f"{path}: cannot be read as JMeter's XML: {error}; let JMeter finish the file"
        raise UsageError(message) from None
    return labels, np.array(moments), np.array(took), np.array(success, bool)


def _jmeter(path: Path, samples: Samples, wanted: _Labels) -> Side:
    labels, moments, took_ms, success = samples
    names, codes = np.unique(np.array(labels, dtype=object), return_inverse=True)
    series: dict[Of, list[Series]] = {}
    for code, label in enumerate(names):
        place = wanted.of(str(label))
        if place is None:
            continue
        rows = np.flatnonzero((codes == code) & np.isfinite(took_ms))
        rows = rows[np.argsort(moments[rows], kind="stable")]
        series[Of(*place)] = [Series(np.maximum(took_ms[rows], HALF_MS) / 1e3)]
        if place[0] == SENT:
            series[Of(*place, share=True)] = [Series((~success[rows]).astype(float))]
    wanted.require(series)
    return Side(
        name=path.name,
        tool="JMeter",
        series=series,
        notes=(FROM_THE_SEND.format(tool="JMeter"),),
    )


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def _locust_history(path: Path, wanted: _Labels) -> Side:
    """Requests between one line and the next, and the mean of their times, which do add up."""
    by_name: dict[str, list[tuple[int, int, float]]] = {}
    for row in _rows(path):
        try:
            count, failed = int(row["Total Request Count"]), int(row["Total Failure Count"])
            total_ms = count * float(row["Total Average Response Time"])
        except (ValueError, TypeError, KeyError):
            # Before the first request there is no average.
            continue
        by_name.setdefault(row["Name"], []).append((count, failed, total_ms))
    series: dict[Of, list[Series]] = {}
    for name, lines in by_name.items():
        place = wanted.of(name)
        if place is None:
            continue
        counts, failures, totals = (
            np.diff(np.array(column), prepend=0) for column in zip(*lines, strict=True)
        )
        some = counts > 0
        counts, failures = counts[some].astype(np.int64), failures[some].astype(np.int64)
        means_s = totals[some] / counts / 1e3
        series[Of(*place)] = [Series(np.repeat(means_s, counts))]
        if place[0] == SENT:
            told = [np.arange(n) < k for n, k in zip(counts, failures, strict=True)]
            series[Of(*place, share=True)] = [Series(np.concatenate(told).astype(float))]
    wanted.require(series)
    return Side(
        name=path.name,
        tool="Locust",
        series=series,
        statistics=(MEAN,),
        notes=(
            FROM_THE_SEND.format(tool="Locust"),
            (
                "A history of Locust's holds percentiles of the last ten seconds, which cannot be "
                "added up to those of the run: only means and failures are compared."
            ),
        ),
    )


def _rounding_ms(value_ms: float) -> float:
    """Half the width of what Locust rounds to this figure (``bucket_response_time``)."""
    if value_ms < 100:  # noqa: PLR2004 - whole milliseconds, then two digits
        return 0.5
    return 0.5 * 10.0 ** (math.floor(math.log10(value_ms)) - 1)


def _locust_stats(path: Path, wanted: _Labels) -> Side:
    """Percentiles as printed, with the ends between which they bound the true ones."""
    told: dict[Of, Told] = {}
    series: dict[Of, list[Series]] = {}
    for row in _rows(path):
        place = wanted.of(row["Name"])
        try:
            count, failed = int(row["Request Count"]), int(row["Failure Count"])
            printed = _printed(row)
        except (ValueError, TypeError, KeyError):
            continue
        if place is None or not count:
            continue
        told[Of(*place)] = Told(count, _bounded(printed, count))
        if place[0] == SENT:
            # Which of them failed is not known, so they are taken to be spread evenly.
            even = np.floor(np.arange(1, count + 1) * failed / count)
            series[Of(*place, share=True)] = [Series(np.diff(even, prepend=0.0))]
    wanted.require(told)
    return Side(
        name=path.name,
        tool="Locust",
        series=series,
        told=told,
        notes=(
            FROM_THE_SEND.format(tool="Locust"),
            (
                "Locust prints percentiles rounded to two digits, and not how they came about: "
                "each is taken to lie between the listed percentiles around it, as of independent "
                "requests would have it. Whether they were independent the file cannot say."
            ),
        ),
    )


def _printed(row: dict[str, str]) -> list[tuple[float, float]]:
    """Probabilities and milliseconds, ascending, with the ends of the sample."""
    found = [
        (float(name.rstrip("%")) / 100, float(text))
        for name, text in row.items()
        if name and name.endswith("%") and text not in (None, "", "N/A")
    ]
    ends = (0.0, float(row["Min Response Time"])), (1.0, float(row["Max Response Time"]))
    return sorted([*found, *ends])


def _bounded(
    printed: list[tuple[float, float]], count: int
) -> dict[str, tuple[float, float, float]]:
    bounded = {}
    for name, probability in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        here = [value for p, value in printed if math.isclose(p, probability)]
        if not here:
            continue
        reach = Z_TWICE * math.sqrt(probability * (1 - probability) / count)
        low = max(value for p, value in printed if p <= probability - reach or p == 0)
        high = min(value for p, value in printed if p >= probability + reach or p == 1)
        ends = low - _rounding_ms(low), high + _rounding_ms(high)
        bounded[name] = (
            max(here[0], HALF_MS) / 1e3,
            max(ends[0], HALF_MS) / 1e3,
            ends[1] / 1e3,
        )
    return bounded

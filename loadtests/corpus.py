"""A corpus: the scans of a plan, really photographed and decoded once and kept for many runs.

A Parquet file with a row a scan, in the plan's order: what was read (or that nothing was), the
processor time of every frame, which is what a run charges to *scan*, and a digest of everything
that the scan was of. In its metadata stands what it was made for (:class:`Made`). A run takes a
corpus only if each of its own scans is in it, so a corpus may be larger than a run, never another.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import statistics
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fewseconds.commit import commit, versions
from fewseconds.errors import HarnessError, MalformedError, UsageError
from fixtures.scanning import Scan
from loadtests import decoders

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from fewseconds.identity import Bill
    from fewseconds.plan import Plan, Row
    from fixtures import scanning

SCHEMA: Final = pa.schema(
    [
        ("journey_id", pa.int64()),
        ("asked", pa.binary(16)),
        ("text", pa.string()),
        ("decoder", pa.string()),
        ("decode_us", pa.list_(pa.int64())),
        ("misread", pa.bool_()),
    ]
)
"""``text`` is null where no frame was read; ``decode_us`` has an entry a frame, in microseconds."""
KEY: Final = b"fewseconds.corpus"
REMEDY: Final = "make one with `fewseconds load corpus` and the options of this run"


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """What a corpus was made for, and where."""

    scenario: str
    scenario_hash: str
    seed: int
    plan_hash: str
    """Of the whole plan, with the bills that it pays."""
    scans: int
    made_at: dt.datetime
    commit: str
    """Of the camera, as of everything else here."""
    versions: dict[str, str]
    machine: dict[str, str | int]
    """Decoding took as long as it takes there."""

    def says(self, path: str) -> str:
        """A sentence for the reader of a run's result."""
        return (
            f"The scans are those of {path}: {self.scans} bills, photographed and decoded on "
            f"{self.made_at:%Y-%m-%d} at commit {self.commit} on {self.machine['cpu']}."
        )


class Decoded(msgspec.Struct, frozen=True, kw_only=True):
    """What came of the scans of a corpus."""

    scans: int
    unread: int
    """Nothing was read, so the consumer number will be typed."""
    misread: int
    frames: int
    decode_ms_median: float
    """Processor time of all frames of a scan."""


def make(
    path: Path, plan: Plan, plan_hash: str, own: tuple[Bill, ...], processes: int,
    say: Callable[[str, float], None],
) -> tuple[Made, Decoded]:  # fmt: skip
    """Photograph and decode every bill of ``plan``, a window, and write ``path`` when all is done.

    Raises UsageError if nothing is to be scanned or the file cannot be written, and HarnessError if
    a decoding process ends early; then no file is left.
    """
    from fixtures import bench  # noqa: PLC0415 - it brings the camera with it

    rows = decoders.work(plan, own)
    if not rows:
        raise UsageError(f"{path}: no journey of this window scans a code; choose another scenario")
    made = Made(
        scenario=plan.scenario.name, scenario_hash=plan.scenario.digest, seed=plan.seed,
        plan_hash=plan_hash, scans=len(rows), made_at=dt.datetime.now(dt.UTC), commit=commit(),
        versions=versions(), machine=bench.machine(),
    )  # fmt: skip
    schema = SCHEMA.with_metadata({KEY: msgspec.json.encode(made)})
    half = path.with_name(f"{path.name}.writing")
    lines = []
    try:
        # Whoever cannot write should not hear of it after an hour of decoding.
        half.touch()
        for row, scan in zip(rows, _scanned(plan, rows, processes), strict=True):
            lines.append(_line(plan, row, scan))
            say("photographing and decoding", len(lines) / len(rows))
        table = pa.Table.from_pylist(lines, schema)
        pq.write_table(table, half, compression="zstd", write_page_checksum=True)
        half.replace(path)
    except OSError as error:
        message = f"{path}: cannot be written: {error}; choose another file"
        raise UsageError(message) from None
    finally:
        half.unlink(missing_ok=True)
    return made, _decoded(table)


def _scanned(plan: Plan, rows: list[scanning.Row], processes: int) -> Iterator[Scan]:
    """The scans in the order of ``rows``, which are dealt out to so many processes."""
    started = [decoders.started(plan, rows[n::processes]) for n in range(processes)]
    try:
        for number, row in enumerate(rows):
            pipe = started[number % processes].stdout
            line = pipe.readline() if pipe is not None else b""
            if not line.endswith(b"\n"):
                message = (
                    f"corpus: a decoding process ended before journey {row.journey_id}; its last "
                    "words are above"
                )
                raise HarnessError(message)
            yield msgspec.json.decode(line, type=Scan)
    finally:
        for process in started:
            process.terminate()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


def _asked(plan: Plan, row: scanning.Row) -> bytes:
    """What tells this scan from every other: seed, month, and all that the camera is told."""
    world = (plan.seed, plan.scenario.first_day.isoformat(), plan.scenario.season.amounts, row)
    return hashlib.sha256(msgspec.json.encode(world)).digest()[:16]


def _line(plan: Plan, row: scanning.Row, scan: Scan) -> dict[str, Any]:
    told = msgspec.structs.asdict(scan)
    return {name: told[name] for name in SCHEMA.names if name in told} | {
        "asked": _asked(plan, row)
    }


def _decoded(table: pa.Table) -> Decoded:
    times_us = table["decode_us"].to_pylist()
    return Decoded(
        scans=len(table),
        unread=table["text"].null_count,
        misread=sum(table["misread"].to_pylist()),
        frames=sum(map(len, times_us)),
        decode_ms_median=statistics.median(map(sum, times_us)) / 1e3,
    )


def read(path: Path) -> tuple[Made, pa.Table]:
    """A corpus; raises MalformedError if the file is none, not whole, or damaged."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            told = (file.schema_arrow.metadata or {}).get(KEY)
            if told is None:
                raise MalformedError(str(path), f"is no corpus of scans; {REMEDY}")
            made = msgspec.json.decode(told, type=Made)
            table = file.read()
    except (OSError, pa.ArrowException, msgspec.MsgspecError) as error:
        cause = " ".join(str(error).split())
        what = f"cannot be read, it is not whole or damaged ({cause}); {REMEDY}"
        raise MalformedError(str(path), what) from None
    if table.schema.remove_metadata() != SCHEMA or len(table) != made.scans:
        raise MalformedError(str(path), f"is a corpus of another form; {REMEDY}")
    return made, table


def fitting(path: Path, window: Plan, plan_hash: str, own: tuple[Bill, ...]) -> Made:
    """What a corpus was made for, once it is sure that it holds every scan of ``window``.

    Raises UsageError if it was made for something else.
    """
    made, table = read(path)
    if made.seed != window.seed:
        message = f"{path}: was made for seed {made.seed}, this run has {window.seed}; {REMEDY}"
        raise UsageError(message)
    if made.plan_hash != plan_hash:
        message = (
            f"{path}: was made for another plan ({made.scenario}, {made.plan_hash[:12]}) than this "
            f"run's ({window.scenario.name}, {plan_hash[:12]}); {REMEDY}"
        )
        raise UsageError(message)
    rows = decoders.work(window, own)
    asked = dict(zip(table["journey_id"].to_pylist(), table["asked"].to_pylist(), strict=True))
    missing = [row.journey_id for row in rows if row.journey_id not in asked]
    if missing:
        message = (
            f"{path}: has no scan of {len(missing)} of the {len(rows)} journeys that scan, such as "
            f"{missing[0]}; {REMEDY}"
        )
        raise UsageError(message)
    other = [row for row in rows if asked[row.journey_id] != _asked(window, row)]
    if other:
        message = (
            f"{path}: {len(other)} scans are of another bill, medium, decoder or number of frames, "
            f"such as that of journey {other[0].journey_id}; {REMEDY}"
        )
        raise UsageError(message)
    return made


def share(table: pa.Table, plan: Plan) -> bytes:
    """The scans of a worker's rows, as they are sent to it."""
    mine = pc.is_in(table["journey_id"], plan.table["journey_id"].combine_chunks())
    buffer = io.BytesIO()
    pq.write_table(table.filter(mine), buffer, compression="zstd")
    return buffer.getvalue()


class Corpus:
    """Scans that were decoded before: each is there at once."""

    def __init__(self, data: bytes) -> None:
        """Take what :func:`share` has made."""
        table = pq.read_table(io.BytesIO(data)).combine_chunks()
        self._place = {one: place for place, one in enumerate(table["journey_id"].to_pylist())}
        columns = ("text", "decoder", "decode_us", "misread")
        self._text, self._decoder, self._decode_us, self._misread = map(table.column, columns)
        self.typed = table["text"].null_count
        self.misreads = int(pc.sum(table["misread"]).as_py() or 0)

    def wait_until_ahead(self, window_s: float) -> None:
        """There is nothing to wait for."""

    def of(self, row: Row) -> Scan:
        """The scan of one journey."""
        place = self._place[row.journey_id]
        decode_us = tuple(self._decode_us[place].as_py())
        return Scan(
            journey_id=row.journey_id,
            text=self._text[place].as_py(),
            decoder=self._decoder[place].as_py(),
            decode_us=decode_us,
            misread=self._misread[place].as_py(),
            frames=len(decode_us),
        )

    def close(self) -> None:
        """Nothing was started."""

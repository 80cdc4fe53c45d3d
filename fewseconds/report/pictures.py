"""The photographed QR codes of a run as pictures inside the page, and what decoded them."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import polars as pl

from fewseconds import journey as j
from fewseconds import slo
from fewseconds.report import words

if TYPE_CHECKING:
    from fewseconds.record import Evidence
    from fewseconds.scenario import Scenario

INDEX_NAME: Final = "strip.json"
TYPES: Final = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png"}


class Picture(msgspec.Struct, frozen=True):
    """One frame in the index of a strip."""

    file: str
    frame: int
    read_by: tuple[str, ...] = ()


class Entry(msgspec.Struct, frozen=True):
    """One scan in the index of a strip; other fields are of no interest here."""

    medium: str
    decoder: str
    frames: int
    text: str | None
    pictures: tuple[Picture, ...]
    misread: bool = False


class Shown(msgspec.Struct, frozen=True):
    """A picture ready for the page."""

    source: str
    """A ``data:`` address, so that the report stays one file."""
    alt: str
    frame: str
    readers: str


class Scan(msgspec.Struct, frozen=True):
    """One scan with its pictures."""

    medium: str
    result: str
    read: bool
    pictures: tuple[Shown, ...]


def strip(folder: Path | None) -> tuple[Scan, ...]:
    """The scans in ``folder``; empty if there is none, or nothing in it.

    A picture that is missing or of an unknown type is left out: a report is drawn from what is
    there. Raises msgspec.DecodeError if the index is not one.
    """
    if folder is None or not (folder / INDEX_NAME).exists():
        return ()
    entries = msgspec.json.decode((folder / INDEX_NAME).read_bytes(), type=list[Entry])
    entries.sort(key=lambda entry: (entry.medium, entry.frames, entry.decoder))
    scans = []
    for entry in entries:
        pictures = tuple(
            _shown(folder / Path(picture.file).name, entry, picture)
            for picture in entry.pictures
            if _usable(folder / Path(picture.file).name)
        )
        if pictures:
            medium = words.label(entry.medium, words.MEDIA)
            scans.append(Scan(medium, _result(entry), entry.text is not None, pictures))
    return tuple(scans)


def _usable(path: Path) -> bool:
    return path.suffix in TYPES and path.is_file()


def _shown(path: Path, entry: Entry, picture: Picture) -> Shown:
    data = base64.b64encode(path.read_bytes()).decode()
    medium = words.label(entry.medium, words.MEDIA)
    readers = ", ".join(picture.read_by) or "none"
    return Shown(
        f"data:{TYPES[path.suffix]};base64,{data}",
        f"QR code of a bill as a phone saw it: {medium}, frame {picture.frame}",
        f"frame {picture.frame} of {entry.frames}" if entry.frames > 1 else "first frame",
        f"readable by {readers}",
    )


def _result(entry: Entry) -> str:
    if entry.text is None:
        return f"not read by {entry.decoder} in {words.counted(entry.frames, 'frame')}"
    wrong = ", but wrongly" if entry.misread else ""
    if entry.frames == 1:
        return f"read at once by {entry.decoder}{wrong}"
    return f"read by {entry.decoder} in frame {entry.frames}{wrong}"


class ReadRate(msgspec.Struct, frozen=True):
    """How well one decoder, or one medium, was read."""

    name: str
    scans: int
    at_once: float
    in_the_end: float
    frames_p50: float
    decode_s_p50: float | None
    """Median time that one frame took to decode."""


def read_rates(
    scenario: Scenario, evidence: Evidence
) -> tuple[tuple[ReadRate, ...], tuple[ReadRate, ...]]:
    """Read rates of the measured scans by decoder, and by medium.

    The decoder is the one that the consumer's app names; frames are the attempts of the scan.
    """
    scanner = {name: app.scanner for name, app in scenario.apps.items()}
    plan = evidence.measured_journeys.select(
        "journey_id", "medium", decoder=pl.col("app").replace_strict(scanner, default="")
    )
    frames = evidence.measured.filter((pl.col("step") == "scan") & (pl.col("leg") == j.STEP_ROW))
    frames = frames.filter(~pl.col("outcome").is_in(["dropped", "unfinished"]))
    scans = (
        frames.with_columns(took=(pl.col("end_us") - pl.col("start_us")) / 1e6)
        .group_by("journey_id")
        .agg(
            frames=pl.col("attempt").max(),
            read=(pl.col("outcome") == "ok").any(),
            took=pl.col("took"),
        )
        .join(plan, "journey_id")
    )
    return _rates(scans, "decoder", {}), _rates(scans, "medium", words.MEDIA)


def _rates(scans: pl.DataFrame, column: str, known: dict[str, str]) -> tuple[ReadRate, ...]:
    rates = []
    for (name,), own in scans.group_by(column, maintain_order=True):
        at_once = own.filter((pl.col("frames") == 1) & pl.col("read"))
        took = own["took"].explode().drop_nulls().to_numpy()
        rates.append(
            ReadRate(
                words.label(str(name), known),
                len(own),
                len(at_once) / len(own),
                float(own["read"].sum()) / len(own),
                slo.quantile(own["frames"].to_numpy().astype(float), 0.5)[0],
                slo.quantile(took, 0.5)[0] if len(took) else None,
            )
        )
    return tuple(sorted(rates, key=lambda rate: (-rate.scans, rate.name)))

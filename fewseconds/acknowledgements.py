"""What payers were told about their payments, as their phones saw it: one JSON line each.

It is the one record of a run that no party of it wrote, so an audit can start from it where no
database can be read.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

KEPT: Final = 500
"""Lines that are written together."""


class Acknowledgement(msgspec.Struct, frozen=True):
    """A payment's state on a payer's screen."""

    at_us: int
    """Microseconds on the plan's clock."""
    journey_id: int
    attempt: int
    transaction_id: str
    bill_number: str
    amount_paise: int
    """What the screen says was paid."""
    printed_paise: int
    """What the bill in the payer's hand asked for; 0 if it is not known."""
    status: str
    """``SUCCESS``, ``FAILURE`` or ``PENDING``."""
    code: str = ""
    rrn: str = ""


class Acknowledgements:
    """A file of one process of the generator."""

    def __init__(self, folder: Path, process: str) -> None:
        """Nothing is written before the first line."""
        self.path = Path(folder) / f"{process}.jsonl"
        self._lines: list[Acknowledgement] = []
        self._file: BinaryIO | None = None

    def add(self, line: Acknowledgement) -> None:
        """Keep one line, and write when there are many."""
        self._lines.append(line)
        if len(self._lines) >= KEPT:
            self.flush()

    def flush(self) -> None:
        """Write what is kept."""
        if not self._lines:
            return
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("ab", buffering=0)
        self._file.write(b"".join(msgspec.json.encode(line) + b"\n" for line in self._lines))
        self._lines.clear()

    def close(self) -> Path:
        """Write the rest; the file, which is not there if nobody was told anything."""
        self.flush()
        if self._file is not None:
            self._file.close()
            self._file = None
        return self.path


def read(place: Path) -> Iterator[Acknowledgement]:
    """The lines of a file, or of all files of a folder; a last line cut short is left out."""
    paths = sorted(place.glob("*.jsonl")) if place.is_dir() else [place]
    decoder = msgspec.json.Decoder(Acknowledgement)
    for path in paths:
        with path.open("rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    yield decoder.decode(line)

"""The payer side's journal: every debit, credit and reversal, one JSON line each, only ever added.

It is written without a buffer, so what happened before a kill is there after it (the page cache
survives the process; only a power cut would need fsync, and the banks are not what is tested).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something that happened to a payment."""

    at_us: int
    """Microseconds on the plan's clock."""
    entry: Literal["debit", "credit", "reversal", "shown", "acknowledged"]
    """``shown``: the payer's screen was told ``status``; ``acknowledged``: the biller took the
    callback."""
    transaction_id: str
    journey_id: int
    attempt: int
    amount_paise: int
    bill_number: str
    rrn: str = ""
    status: str = ""


class Journal:
    """An append-only file of entries."""

    def __init__(self, path: Path) -> None:
        """Open the file, or go on with it after a crash."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._descriptor = os.open(path, flags, 0o600)
        self._encoder = msgspec.json.Encoder()

    def write(self, entry: Entry) -> None:
        """Add one entry."""
        os.write(self._descriptor, self._encoder.encode(entry) + b"\n")

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def entries(path: Path) -> Iterator[Entry]:
    """What a journal holds; a last line that a kill has cut short is left out."""
    if not path.exists():
        return
    decoder = msgspec.json.Decoder(Entry)
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield decoder.decode(line)

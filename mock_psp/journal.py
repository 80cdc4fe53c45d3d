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


Kind = Literal["debit", "credit", "reversal", "shown", "acknowledged", "refund"]


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something that happened to a payment."""

    at_us: int
    """Microseconds on the plan's clock."""
    entry: Kind
    """``shown``: the payer's screen was told ``status``; ``acknowledged``: the biller took the
    callback; ``refund``: the payee's bank gave money back."""
    transaction_id: str
    journey_id: int
    attempt: int
    amount_paise: int
    bill_number: str
    rrn: str = ""
    status: str = ""
    code: str = ""
    created_s: int = 0
    """Seconds since 1970 on the calendar, of a payment that ended and of a refund."""
    reference: str = ""
    """Of a refund: its id."""
    trace: str = ""
    """Of a credit: the header of the callback's trace, so that a restart can go on with it."""


class Journal:
    """An append-only file of entries."""

    def __init__(self, path: Path, payers: Path) -> None:
        """Open the files, or go on with them after a crash.

        Who paid is personal and is kept apart, in ``payers``, so that the journal may be shown.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._descriptor = os.open(path, flags, 0o600)
        self._payers = os.open(payers, flags, 0o600)
        self._encoder = msgspec.json.Encoder()

    def write_payer(self, transaction_id: str, payer_vpa: str) -> None:
        """Note whose account a payment is from."""
        os.write(self._payers, f"{transaction_id} {payer_vpa}\n".encode())

    def write(self, entry: Entry) -> None:
        """Add one entry."""
        os.write(self._descriptor, self._encoder.encode(entry) + b"\n")

    def close(self) -> None:
        """Close the files."""
        os.close(self._descriptor)
        os.close(self._payers)


def payer_addresses(path: Path) -> dict[str, str]:
    """Transaction id → address of the payer, as far as the file exists."""
    if not path.exists():
        return {}
    lines = path.read_text("utf-8").splitlines(keepends=True)
    return dict(line.split() for line in lines if line.endswith("\n"))


def entries(path: Path) -> Iterator[Entry]:
    """What a journal holds; a last line that a kill has cut short is left out."""
    if not path.exists():
        return
    decoder = msgspec.json.Decoder(Entry)
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield decoder.decode(line)

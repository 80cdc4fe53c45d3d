"""The payer side's journal: every debit, credit and reversal, one JSON line each, only ever added.

Whatever moves money is written at once, so what happened before a kill is there after it (the page
cache survives the process; only a power cut would need fsync, and the banks are not what is
tested). So is that a payer was told to wait, because money is then owed to somebody for days. What
else was shown and what was acknowledged goes along with the next such line, or after a moment: if a
kill takes it, a callback comes twice, which billers have to bear anyway.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from mock_psp.line_file import line_at, opened, placed, whole_lines
from mock_psp.messages import NO_MODE, Passed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


Kind = Literal["debit", "credit", "reversal", "checked", "shown", "acknowledged", "refund"]


AT_ONCE: Final = frozenset({"debit", "credit", "reversal", "checked", "refund"})
FLUSH_S: Final = 0.05
LOOK_S: Final = 0.2


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something that happened to a payment."""

    at_us: int
    """Microseconds on the plan's clock."""
    entry: Kind
    """``checked``: the switch was asked; ``shown``: the payer's screen was told ``status``;
    ``acknowledged``: the biller took the callback; ``refund``: the payee's bank gave money back."""
    transaction_id: str
    journey_id: int
    attempt: int
    amount_paise: int
    bill_number: str
    rrn: str = ""
    status: str = ""
    code: str = ""
    created_s: int = 0
    """Seconds since 1970 on the calendar, of a debit, a credit, a check, a failure that was shown
    and a refund."""
    reference: str = ""
    """Of a refund: its id."""
    trace: str = ""
    """Of a debit, and of a failure without one: the header of the callback's trace, so that a
    restart knows whose payment it is."""
    outcome: str = ""
    """Of a failure that was shown."""
    mode: str = NO_MODE
    """Beside ``trace``: the initiation mode of the link that was paid, …"""
    funding: Literal["account", "wallet"] = "account"
    """… where the money is from, …"""
    forced: str = ""
    """… and the response code that a test has asked for, which a restart must not forget."""
    passed: tuple[Passed, ...] = ()
    """The stations that it has passed since its last entry: what its messages are made from."""


def await_callbacks(path: Path, limit_s: float) -> int:
    """Wait until every credit is acknowledged, for at most so long; how many are not."""
    deadline_s = time.monotonic() + limit_s
    while True:
        left: set[str] = set()
        told: set[str] = set()
        for entry in entries(path):
            if entry.entry == "credit":
                left.add(entry.transaction_id)
            elif entry.entry == "acknowledged":
                told.add(entry.transaction_id)
        left -= told
        if not left or time.monotonic() > deadline_s:
            return len(left)
        time.sleep(LOOK_S)


class Journal:
    """An append-only file of entries."""

    def __init__(self, path: Path, payers: Path) -> None:
        """Open the files, or go on with them after a crash.

        Who paid is personal and is kept apart, in ``payers``, so that the journal may be shown.
        """
        self._descriptor, self._payers = opened(path), opened(payers)
        self._end = os.fstat(self._descriptor).st_size
        self.latest = 0
        """The place of the entry that was added last."""
        self._encoder, self._decoder = msgspec.json.Encoder(), msgspec.json.Decoder(Entry)
        self._lines: list[bytes] = []
        self._addresses: list[bytes] = []
        self._alarm: asyncio.TimerHandle | None = None

    def write_payer(self, transaction_id: str, payer_vpa: str) -> None:
        """Note whose account a payment is from."""
        self._addresses.append(f"{transaction_id} {payer_vpa}\n".encode())

    def write(self, entry: Entry) -> None:
        """Add one entry."""
        line = self._encoder.encode(entry) + b"\n"
        self._lines.append(line)
        self.latest = placed(self._end, len(line))
        self._end += len(line)
        deemed = entry.entry == "shown" and entry.status == "PENDING"
        if deemed or entry.entry in AT_ONCE:
            # A credit may have to be told to the biller after a kill, with the payer's address.
            self._write(addresses=deemed or entry.entry == "credit")
        elif self._alarm is None:
            self._alarm = asyncio.get_running_loop().call_later(FLUSH_S, self.flush)

    def flush(self) -> None:
        """Write what has been put off."""
        self._alarm = None
        self._write(addresses=True)

    def at(self, place: int) -> Entry:
        """The entry that stands at a place, also if it has been put off."""
        if self._lines:
            self._write(addresses=True)
        return self._decoder.decode(line_at(self._descriptor, place))

    def _write(self, *, addresses: bool) -> None:
        if addresses and self._addresses:
            os.write(self._payers, b"".join(self._addresses))
            self._addresses.clear()
        if self._lines:
            os.write(self._descriptor, b"".join(self._lines))
            self._lines.clear()

    def close(self) -> None:
        """Close the files."""
        if self._alarm is not None:
            self._alarm.cancel()
        self.flush()
        os.close(self._descriptor)
        os.close(self._payers)


def payer_addresses(path: Path) -> dict[str, str]:
    """Transaction id → address of the payer, as far as the file exists."""
    return dict(line.decode().split() for line in whole_lines(path))


def entries(path: Path) -> Iterator[Entry]:
    """What a journal holds; a last line that a kill has cut short is left out."""
    return (entry for _, entry in placed_entries(path))


def placed_entries(path: Path) -> Iterator[tuple[int, Entry]]:
    """What a journal holds, and the place of each."""
    decoder, begin = msgspec.json.Decoder(Entry), 0
    for line in whole_lines(path):
        yield placed(begin, len(line)), decoder.decode(line)
        begin += len(line)

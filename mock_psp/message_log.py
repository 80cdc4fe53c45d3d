"""The SMS gateway's log: what it accepted and what arrived, one JSON line each, only ever added.

Written without a buffer, so a killed gateway remembers after its restart what it had accepted.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final, Literal, get_args

import msgspec

from mock_psp.compact import Index

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


Entry = Literal["accepted", "duplicate", "scrubbed", "delivered", "undelivered", "stopped"]
"""``stopped``: the gateway was told to stop while the message was on its way; the next start goes
on with it."""
ENDS: Final[frozenset[Entry]] = frozenset({"scrubbed", "delivered", "undelivered"})
ENTRIES: Final[tuple[Entry, ...]] = get_args(Entry)
_NAME: Final = re.compile(r"SMS[0-9]{9,12}")


class LogEntry(msgspec.Struct, frozen=True):
    """What became of a message; the number is masked, the text is not kept."""

    at_us: int
    entry: Entry
    message_id: str
    reference: str
    to: str
    code: str = ""
    """Why it was scrubbed."""


class Messages:
    """Every message that was accepted and what became of it: some twenty bytes each."""

    def __init__(self) -> None:
        """None yet."""
        self._numbers = Index()
        self._latest = bytearray(1)

    def known(self, reference: str) -> str | None:
        """The message with the sender's reference, if it has been accepted."""
        number = self._numbers.get(reference)
        return None if number is None else f"SMS{number:09d}"

    def accept(self, reference: str) -> str:
        """The name of a new message."""
        number = len(self._latest)
        self._numbers.add(reference, number)
        self._latest.append(ENTRIES.index("accepted"))
        return f"SMS{number:09d}"

    def note(self, message_id: str, entry: Entry) -> None:
        """Something has become of a message."""
        self._latest[int(message_id[3:])] = ENTRIES.index(entry)

    def latest(self, message_id: str) -> Entry | None:
        """What became of a message last; None if there is no such message."""
        if _NAME.fullmatch(message_id) is None:
            return None
        number = int(message_id[3:])
        return ENTRIES[self._latest[number]] if 0 < number < len(self._latest) else None


class MessageLog:
    """The gateway's append-only log."""

    def __init__(self, path: Path) -> None:
        """Open the log, or go on with it after a crash."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._descriptor = os.open(path, flags, 0o600)

    def write(self, entry: LogEntry) -> None:
        """Add one line."""
        os.write(self._descriptor, msgspec.json.encode(entry) + b"\n")

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def log_entries(path: Path) -> Iterator[LogEntry]:
    """What a log holds; a last line that a kill has cut short is left out."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield msgspec.json.decode(line, type=LogEntry)

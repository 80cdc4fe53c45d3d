"""The SMS gateway's log: what it accepted and what arrived, one JSON line each, only ever added.

Written without a buffer, so a killed gateway remembers after its restart what it had accepted.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


Entry = Literal["accepted", "duplicate", "scrubbed", "delivered", "undelivered"]


class LogEntry(msgspec.Struct, frozen=True):
    """What became of a message; the number is masked, the text is not kept."""

    at_us: int
    entry: Entry
    message_id: str
    reference: str
    to: str
    code: str = ""
    """Why it was scrubbed."""


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

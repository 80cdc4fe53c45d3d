"""The SMS gateway's log: what it accepted and what arrived, one JSON line each, only ever added.

Written without a buffer, so a killed gateway remembers after its restart what it had accepted.
"""

from __future__ import annotations

import hashlib
import os
import re
from array import array
from typing import TYPE_CHECKING, Final, Literal, get_args

import msgspec

from mock_psp.compact import Index
from mock_psp.line_file import opened, whole_lines

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fewseconds.contracts import SmsRequest

Entry = Literal[
    "accepted", "duplicate", "scrubbed", "delivered", "undelivered", "stopped", "conflict"
]
"""``stopped``: the gateway was told to stop while the message was on its way; the next start goes
on with it. ``duplicate`` and ``conflict``: its reference came again, with the same message or with
another one; neither is taken."""
REPEATS: Final[frozenset[Entry]] = frozenset({"duplicate", "conflict"})
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
    digest: str = ""
    """Of one that was accepted: :func:`digest_of` it."""


def digest_of(request: SmsRequest) -> str:
    """What tells a message from another one with its reference: 64 bits in hexadecimal (BLAKE2b).

    Where its report goes is no part of the message.
    """
    parts = (request.to, request.sender, request.entity_id, request.template_id, request.text)
    return hashlib.blake2b(msgspec.json.encode(parts), digest_size=8).hexdigest()


class Messages:
    """Every message that was accepted and what became of it: some thirty bytes each."""

    def __init__(self) -> None:
        """None yet."""
        self._numbers = Index()
        self._latest, self._digests = bytearray(1), array("Q", (0,))

    def known(self, reference: str) -> str | None:
        """The message with the sender's reference, if it has been accepted."""
        number = self._numbers.get(reference)
        return None if number is None else f"SMS{number:09d}"

    def accept(self, reference: str, digest: str) -> str:
        """The name of a new message."""
        number = len(self._latest)
        self._numbers.add(reference, number)
        self._latest.append(ENTRIES.index("accepted"))
        self._digests.append(int(digest, 16))
        return f"SMS{number:09d}"

    def is_same(self, message_id: str, digest: str) -> bool:
        """Whether a message is the one that was accepted by this name."""
        return self._digests[int(message_id[3:])] == int(digest, 16)

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
        self._descriptor = opened(path)

    def write(self, entry: LogEntry) -> None:
        """Add one line."""
        os.write(self._descriptor, msgspec.json.encode(entry) + b"\n")

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def log_entries(path: Path) -> Iterator[LogEntry]:
    """What a log holds; a last line that a kill has cut short is left out."""
    decoder = msgspec.json.Decoder(LogEntry)
    yield from map(decoder.decode, whole_lines(path))

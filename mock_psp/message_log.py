"""The SMS gateway's log: what it accepted and what arrived, one JSON line each, only ever added.

Written without a buffer, so a killed gateway remembers after its restart what it had accepted. Only
that a report has been taken goes along with the next line, or after a moment: if a kill takes it,
the report comes twice, which is what whoever takes reports has to bear anyway.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from array import array
from collections import deque
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, get_args

import msgspec

from mock_psp.compact import Index
from mock_psp.line_file import opened, whole_lines

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fewseconds.contracts import SmsRequest

Entry = Literal[
    "accepted", "duplicate", "scrubbed", "delivered", "undelivered", "stopped", "conflict",
    "reported", "unreported",
]  # fmt: skip
"""``stopped``: the gateway was told to stop while the message was on its way; the next start goes
on with it. ``duplicate`` and ``conflict``: its reference came again, with the same message or with
another one; neither is taken. ``reported``: whoever asked for its delivery report has taken it;
``unreported``: nobody did, and it is given up."""
REPEATS: Final[frozenset[Entry]] = frozenset({"duplicate", "conflict"})
ENDS: Final[frozenset[Entry]] = frozenset({"scrubbed", "delivered", "undelivered"})
SETTLED: Final[frozenset[Entry]] = frozenset({"reported", "unreported"})
ENTRIES: Final[tuple[Entry, ...]] = get_args(Entry)
FLUSH_S: Final = 0.05
_NAME: Final = re.compile(r"SMS[0-9]{9,12}")


class LogEntry(msgspec.Struct, frozen=True):
    """What became of a message; the number is masked, the text is not kept."""

    at_us: int
    entry: Entry
    message_id: str
    reference: str
    to: str
    code: str = ""
    """Why it was scrubbed, or did not arrive."""
    digest: str = ""
    """Of one that was accepted: :func:`digest_of` it."""
    door: str = ""
    """Of one that was accepted: at which door somebody waits for its delivery report."""


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
        self._encoder = msgspec.json.Encoder()
        self._put_off: list[bytes] = []
        self._alarm: asyncio.TimerHandle | None = None

    def write(self, entry: LogEntry) -> None:
        """Add one line, and those that have been put off."""
        line = self._encoder.encode(entry) + b"\n"
        if self._put_off:
            line = b"".join((*self._put_off, line))
            self._put_off.clear()
        os.write(self._descriptor, line)

    def put_off(self, entry: LogEntry) -> None:
        """Add one line with the next that is written, or after :data:`FLUSH_S`."""
        if self._descriptor < 0:
            return
        self._put_off.append(self._encoder.encode(entry) + b"\n")
        if self._alarm is None:
            self._alarm = asyncio.get_running_loop().call_later(FLUSH_S, self._flush)

    def close(self) -> None:
        """Close the file; what is put off after that is lost."""
        if self._alarm is not None:
            self._alarm.cancel()
        self._flush()
        os.close(self._descriptor)
        self._descriptor = -1

    def _flush(self) -> None:
        self._alarm = None
        if self._put_off:
            os.write(self._descriptor, b"".join(self._put_off))
            self._put_off.clear()


class Left(NamedTuple):
    """What a log leaves to the next process."""

    on_their_way: set[str]
    """Accepted, and nothing has become of them."""
    owed: dict[str, LogEntry]
    """What became of those whose report nobody has taken."""
    arrived: deque[str]
    """The latest that were delivered, in that order."""

    def wants(self, message_id: str) -> bool:
        """Whether the next process has to send or to report a message."""
        return message_id in self.on_their_way or message_id in self.owed


def left_by(path: Path, messages: Messages, arrived_max: int) -> Left:
    """Read a log into ``messages``; what it leaves."""
    left = Left(set(), {}, deque(maxlen=arrived_max))
    awaited: set[str] = set()
    for entry in log_entries(path):
        name = entry.message_id
        if entry.entry == "accepted":
            messages.accept(entry.reference, entry.digest)
            left.on_their_way.add(name)
            if entry.door:
                awaited.add(name)
        elif entry.entry in SETTLED:
            left.owed.pop(name, None)
        elif entry.entry not in REPEATS:
            messages.note(name, entry.entry)
        if entry.entry in ENDS:
            left.on_their_way.discard(name)
            # A message that scrubbing swallows is never told of.
            if name in awaited and entry.entry != "scrubbed":
                left.owed[name] = entry
            awaited.discard(name)
        if entry.entry == "delivered":
            left.arrived.append(name)
    return left


def log_entries(path: Path) -> Iterator[LogEntry]:
    """What a log holds; a last line that a kill has cut short is left out."""
    decoder = msgspec.json.Decoder(LogEntry)
    yield from map(decoder.decode, whole_lines(path))

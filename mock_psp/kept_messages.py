"""Messages that the SMS gateway has taken over, as long as somebody may still need them.

A sender who was told that a message is accepted does not send it again, so a gateway that is killed
has to go on with it after its restart, and to report what became of it to whoever asked for that;
and its handsets have to hold what they held. What a message says and whom it goes to is personal
and is no business of the log's: it is kept apart, in private files, one line of JSON each, written
before the log says that the message was accepted.

When the file has grown by :data:`ROOM_BYTES` it takes the place of the older one, and a new one
begins with those messages that have not come to their end. So the two hold at least the latest
16 MiB of all that was accepted, and nothing is copied for that.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import msgspec

from fewseconds.contracts import SmsRequest
from mock_psp.line_file import opened, whole_lines
from mock_psp.spec import write_private

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

ROOM_BYTES: Final = 16 << 20
"""The file may grow by so much, some 40 000 messages, before the next one begins."""


class Kept(msgspec.Struct, frozen=True, omit_defaults=True):
    """A message on its way."""

    message_id: str
    request: SmsRequest
    trace: str = ""
    """Header of the trace that it came with."""
    door: str = ""
    """At which door somebody waits for its delivery report, if anybody does."""


class KeptMessages:
    """The messages that have not come to their end: sent, and reported to who asked for that."""

    def __init__(self, path: Path, left: Iterable[Kept] = ()) -> None:
        """Go on with the file; ``left`` are those that a process before this one had not ended."""
        self._path, self._fresh, self._older = path, path.with_suffix(".new"), _older(path)
        self._encoder = msgspec.json.Encoder()
        self._lines = {one.message_id: self._encoder.encode(one) + b"\n" for one in left}
        if not path.exists() and self._fresh.exists():
            # The kill came while the next file was taking the place of this one.
            os.replace(self._fresh, path)  # noqa: PTH105 - one system call, no resolving
        self._descriptor = opened(path)
        self._room = ROOM_BYTES - path.stat().st_size

    def keep(self, message: Kept) -> None:
        """Write a message down; returns when a kill cannot lose it any more."""
        line = self._encoder.encode(message) + b"\n"
        self._lines[message.message_id] = line
        os.write(self._descriptor, line)
        self._room -= len(line)
        if self._room < 0:
            self._begin_anew()

    def over(self, message_id: str) -> None:
        """A message has come to its end."""
        self._lines.pop(message_id, None)

    def unended(self) -> list[Kept]:
        """All that have not come to their end, in the order in which they were accepted."""
        return [msgspec.json.decode(line, type=Kept) for line in self._lines.values()]

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _begin_anew(self) -> None:
        """Begin the next file. At every moment, what has not ended is in one that is read again."""
        content = b"".join(self._lines.values())
        write_private(self._fresh, content)
        os.close(self._descriptor)
        os.replace(self._path, self._older)  # noqa: PTH105 - one system call, no resolving
        os.replace(self._fresh, self._path)  # noqa: PTH105 - as above
        self._descriptor = opened(self._path)
        self._room = max(ROOM_BYTES, len(content))


def kept_before(path: Path) -> Iterator[Kept]:
    """What a killed process had kept, in the order in which it came.

    One that came to no acknowledgement may be there as well, and then another one of its name: the
    later one counts, and only if the log has accepted it.
    """
    decoder = msgspec.json.Decoder(Kept)
    for file in (_older(path), path):
        yield from map(decoder.decode, whole_lines(file))


def _older(path: Path) -> Path:
    return path.with_suffix(f".older{path.suffix}")

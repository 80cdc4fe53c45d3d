"""Messages that the SMS gateway has taken over and that have not come to their end.

A sender who was told that a message is accepted does not send it again, so a gateway that is killed
has to go on with it after its restart. What a message says and whom it goes to is personal and is
no business of the log's: it is kept apart, in a private file, one line of JSON each, written before
the log says that the message was accepted. Whenever the file has grown, those that have come to
their end are left out of it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import msgspec

from fewseconds.contracts import SmsRequest
from mock_psp.spec import write_private

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ROOM_BYTES: Final = 16 << 20
"""The file may grow by so much, some 40 000 messages, before it is written anew."""


class Kept(msgspec.Struct, frozen=True, omit_defaults=True):
    """A message on its way."""

    message_id: str
    request: SmsRequest
    trace: str = ""
    """Header of the trace that it came with."""
    door: str = ""
    """At which door somebody waits for its delivery report, if anybody does."""


class KeptMessages:
    """The messages that are on their way."""

    def __init__(self, path: Path, left: Mapping[str, str]) -> None:
        """Find what a killed process had on its way.

        ``left`` are the messages that the log leaves open, with their references; a message that it
        does not know was never accepted.
        """
        self._path = path
        self._encoder = msgspec.json.Encoder()
        self._lines: dict[str, bytes] = {}
        if path.exists():
            decoder = msgspec.json.Decoder(Kept)
            for line in path.read_bytes().splitlines(keepends=True):
                # A kill may have cut the last line short.
                if line.endswith(b"\n"):
                    one = decoder.decode(line)
                    if left.get(one.message_id) == one.request.reference:
                        self._lines[one.message_id] = line
        self._descriptor = -1
        self._write_anew()

    def keep(self, message: Kept) -> None:
        """Write a message down; returns when a kill cannot lose it any more."""
        line = self._encoder.encode(message) + b"\n"
        self._lines[message.message_id] = line
        os.write(self._descriptor, line)
        self._room -= len(line)
        if self._room < 0:
            self._write_anew()

    def over(self, message_id: str) -> None:
        """A message has come to its end."""
        self._lines.pop(message_id, None)

    def on_their_way(self) -> list[Kept]:
        """All that have not come to their end, in the order in which they were accepted."""
        return [msgspec.json.decode(line, type=Kept) for line in self._lines.values()]

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _write_anew(self) -> None:
        """Leave out what is over, whole or not at all: a kill may come at any moment."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        content = b"".join(self._lines.values())
        fresh = self._path.with_suffix(".new")
        write_private(fresh, content)
        os.replace(fresh, self._path)  # noqa: PTH105 - one system call, no resolving
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND)
        self._room = max(ROOM_BYTES, len(content))

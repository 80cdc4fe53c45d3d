"""Accounts of the portal that a kill must not lose: new ones, and those with a password set anew.

Whoever was told that an account is made, or a password changed, relies on it, so it stands in a
file first: one line of JSON each, only ever added, of which the last one of a login counts. The
file is private and holds hashes, never a password. An account from before the run needs no line,
because it follows from the seed. Sessions are in memory alone: after a kill people log in again.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from mock_psp.line_file import opened, whole_lines

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Kept(msgspec.Struct, frozen=True):
    """An account as it is written down."""

    login: str
    consumer_number: str
    """Whose bills may be seen."""
    password_hash: str


class KeptAccounts:
    """The file of accounts."""

    def __init__(self, path: Path) -> None:
        """What an earlier process has written stays."""
        self._path, self._descriptor = path, opened(path)

    def found(self) -> Iterator[Kept]:
        """All lines, the oldest first."""
        yield from map(msgspec.json.Decoder(Kept).decode, whole_lines(self._path))

    def keep(self, account: Kept) -> None:
        """Write an account down; returns when a kill cannot lose it any more."""
        os.write(self._descriptor, msgspec.json.encode(account) + b"\n")

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

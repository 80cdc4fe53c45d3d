"""Parties of a run that are not ours, as they are written at the command line."""

from __future__ import annotations

from pathlib import Path

import msgspec

from fewseconds.concealed import recorded


class Parties(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says."""

    psp_url: str = ""
    biller_url: str = ""
    sms_url: str = ""
    adapter: Path | None = None
    secret_file: Path | None = None
    credentials: Path | None = None
    bills: Path | None = None
    bbps_url: str = ""
    reset: str = ""
    allow_host: tuple[str, ...] = ()

    @property
    def named(self) -> bool:
        """Whether anything is not ours, or not made from the seed."""
        return msgspec.structs.replace(self, allow_host=()) != Parties()

    def words(self) -> list[str]:
        """The same as words of a command line; no secret is in it."""
        found = []
        for name, value in msgspec.structs.asdict(self).items():
            for one in value if isinstance(value, tuple) else (value,):
                if one:
                    found += [f"--{name.replace('_', '-')}", str(one)]
        return recorded(found)
